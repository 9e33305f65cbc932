/**
 * A limited resource (memory of a host, moves at once on a link, members of a guest cluster that may be disturbed),
 * with the move that gave each unit back: a move that takes a unit which another move gave back must come after that
 * move. So in every order of moves in which each waits for its predecessors, no more is taken than there is.
 */

interface Token {
  amount: number;
  readonly givers: readonly number[];
}

/** See the module's comment. */
export class TokenPool {
  readonly #tokens: Token[] = [];
  /** More was held at the beginning than there is: what is given back pays for that first. */
  #debt: number;
  readonly #payers: number[] = [];
  #left: number;

  /** `free`: what is there at the beginning; below 0 where more is held than there is. */
  constructor(free: number) {
    this.#left = free;
    this.#debt = Math.max(0, -free);
    if (free > 0) this.#tokens.push({ amount: free, givers: [] });
  }

  /** Returns true if so much can be taken now. */
  has(amount: number): boolean {
    return amount <= 0 || this.#left >= amount;
  }

  /** Takes this much, oldest first; adds the moves that must have ended before to `after`. `has` was true. */
  take(amount: number, after: Set<number>): void {
    this.#left -= amount;
    let wanted = amount;
    while (wanted > 0) {
      const token = this.#tokens[0];
      if (token === undefined) throw new Error(`${wanted} more was taken than there is.`);
      for (const giver of token.givers) after.add(giver);
      const taken = Math.min(wanted, token.amount);
      wanted -= taken;
      token.amount -= taken;
      if (token.amount === 0) this.#tokens.shift();
    }
  }

  /** Gives this much back: the move `giver` has ended. */
  give(amount: number, giver: number): void {
    this.#left += amount;
    const paid = Math.min(this.#debt, amount);
    this.#debt -= paid;
    if (paid > 0) this.#payers.push(giver);
    if (amount > paid) this.#tokens.push({ amount: amount - paid, givers: [...new Set([...this.#payers, giver])] });
  }
}
