/**
 * A partial order of moves, and what it guarantees for every possible order of execution: how many moves may run at
 * once, and whether the resources that they take are always free. Pure; exact, not by trying orders.
 */

/** See the module's comment. Moves are numbers from 0; `after[n]` names moves below `n`. */
export class PartialOrder {
  readonly #before: Uint32Array[] = [];

  constructor(after: readonly (readonly number[])[]) {
    const words = Math.ceil(after.length / 32);
    for (const [move, earlier] of after.entries()) {
      const row = new Uint32Array(words);
      for (const other of earlier) {
        row[other >> 5] = (row[other >> 5] ?? 0) | (1 << (other & 31));
        const theirs = this.#before[other];
        if (theirs === undefined) throw new Error(`Move ${move} comes after ${other}, which is not before it.`);
        for (let word = 0; word < words; word += 1) row[word] = (row[word] ?? 0) | (theirs[word] ?? 0);
      }
      this.#before.push(row);
    }
  }

  /** Returns true if `a` has always ended before `b` begins. */
  isBefore(a: number, b: number): boolean {
    return (((this.#before[b]?.[a >> 5] ?? 0) >>> (a & 31)) & 1) === 1;
  }

  /**
   * Returns how many of the moves may run at the same time: the largest set of which none is before another (Dilworth).
   */
  widest(moves: readonly number[]): number {
    const partner = new Map<number, number>();
    const join = (move: number, seen: Set<number>): boolean => {
      for (const later of moves) {
        if (seen.has(later) || !this.isBefore(move, later)) continue;
        seen.add(later);
        const taken = partner.get(later);
        if (taken === undefined || join(taken, seen)) {
          partner.set(later, move);
          return true;
        }
      }
      return false;
    };
    return moves.length - moves.filter((move) => join(move, new Set())).length;
  }

  /**
   * Returns true if what `takes` take when they begin is there in every order, with `free` at the beginning and what
   * `gives` give back when they have ended. Where `free` is below 0, that much must have been given back before the
   * first one takes. By maximum flow: a set of moves may begin only when enough of what they have all waited for has
   * been given back.
   */
  isAlwaysThere(free: number, takes: readonly Amount[], gives: readonly Amount[]): boolean {
    const demands = takes.map(({ move, amount }) => ({
      amount,
      from: gives.map((give) => this.isBefore(give.move, move)),
    }));
    if (free < 0 && takes.length > 0) {
      const from = gives.map((give) => takes.every(({ move }) => this.isBefore(give.move, move)));
      demands.unshift({ amount: -free, from });
    }
    const wanted = demands.reduce((sum, { amount }) => sum + amount, 0);
    if (wanted <= Math.max(0, free)) return true;
    const supplies = [Math.max(0, free), ...gives.map(({ amount }) => amount)];
    const isDebt = (number: number): boolean => free < 0 && number === 0;
    const reaches = demands.map(({ from }, number) => [!isDebt(number), ...from]);
    return flow(supplies, { wanted: demands.map(({ amount }) => amount), reaches }) === wanted;
  }
}

/** The amount that a move takes when it begins, or gives back when it has ended. */
export interface Amount {
  readonly move: number;
  readonly amount: number;
}

/** The most that supplies can give to demands, where `reaches[demand][supply]`. */
function flow(
  supplies: readonly number[],
  { wanted, reaches }: { readonly wanted: readonly number[]; readonly reaches: readonly (readonly boolean[])[] },
): number {
  const left = [...supplies];
  const given = wanted.map(() => supplies.map(() => 0));
  let total = 0;
  for (const [demand, amount] of wanted.entries()) {
    for (let missing = amount; missing > 0; ) {
      const path = pathTo(demand, { left, given, reaches });
      if (path === null) break;
      const last = path.at(-1);
      if (last === undefined) break;
      let pushed = Math.min(missing, left[last.supply] ?? 0);
      for (const [index, { demand: taker }] of path.entries()) {
        const before = path[index - 1];
        if (before !== undefined) pushed = Math.min(pushed, given[taker]?.[before.supply] ?? 0);
      }
      for (const [index, { demand: taker, supply }] of path.entries()) {
        const row = given[taker];
        if (row === undefined) continue;
        row[supply] = (row[supply] ?? 0) + pushed;
        const before = path[index - 1];
        if (before !== undefined) row[before.supply] = (row[before.supply] ?? 0) - pushed;
      }
      left[last.supply] = (left[last.supply] ?? 0) - pushed;
      missing -= pushed;
      total += pushed;
    }
  }
  return total;
}

interface PathStep {
  readonly demand: number;
  readonly supply: number;
}

/**
 * The shortest way to a supply with something left: a demand takes from a supply, whose taker takes from another, and
 * so on.
 */
function pathTo(
  demand: number,
  {
    left,
    given,
    reaches,
  }: { left: readonly number[]; given: readonly (readonly number[])[]; reaches: readonly (readonly boolean[])[] },
): PathStep[] | null {
  const seen = new Set<number>();
  const queue: PathStep[][] = [[{ demand, supply: -1 }]];
  for (const path of queue) {
    const taker = path.at(-1)?.demand ?? -1;
    for (const supply of left.keys()) {
      if (seen.has(supply) || reaches[taker]?.[supply] !== true) continue;
      seen.add(supply);
      const longer = [...path.slice(0, -1), { demand: taker, supply }];
      if ((left[supply] ?? 0) > 0) return longer;
      for (const [other, row] of given.entries())
        if ((row[supply] ?? 0) > 0) queue.push([...longer, { demand: other, supply: -1 }]);
    }
  }
  return null;
}
