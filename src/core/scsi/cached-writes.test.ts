import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CacheKeeper } from './cache-keeper.ts';
import { type CachedWrites, carried, isEntered, NOTHING_CACHED, standingOf, UNKNOWN_CACHED } from './cached-writes.ts';
import { MemoryCachedWrites } from './testing/memory-unit.ts';

const VM = 'iqn.2026-11.test:vm';

const record = (generations: readonly number[], bootId: string | null): CachedWrites => ({
  writers: [{ nexus: VM, generations, bootId }],
  isComplete: true,
});

test('L1 L2: who lost what, for every floor and boot', () => {
  const at = (of: CachedWrites, floor: number, bootId: string): string => standingOf(of, VM, { floor, bootId });
  assert.equal(at(NOTHING_CACHED, 1, 'b'), 'none');
  assert.equal(at(UNKNOWN_CACHED, 7, 'b'), 'lost');
  for (const generations of [[1], [2], [1, 2], [2, 3]])
    for (const floor of [1, 2, 3, 4])
      for (const bootId of ['a', null])
        for (const now of ['a', 'b']) {
          const isForgotten = Math.max(...generations) < floor;
          const wanted = isForgotten ? 'none' : bootId === now ? 'cached' : 'lost';
          assert.equal(at(record(generations, bootId), floor, now), wanted, `${generations} ${floor} ${bootId} ${now}`);
          assert.equal(isEntered(record(generations, bootId), VM, floor), !isForgotten);
        }
});

test('L3: who is admitted beside one that wrote takes it over, who comes after all that wrote were fenced does not', () => {
  const over = carried(record([1], 'a'), VM, { floor: 1, generations: [1, 2] });
  assert.deepEqual(over, record([1, 2], 'a'));
  assert.equal(carried(over, VM, { floor: 2, generations: [2] }), over, 'nothing to be saved');
  assert.deepEqual(carried(over, VM, { floor: 2, generations: [2, 3] }), record([2, 3], 'a'));
  const fenced = record([1], 'a');
  assert.equal(carried(fenced, VM, { floor: 2, generations: [2] }), fenced);
  // The destination's grant may come before the source's is restored.
  assert.deepEqual(carried(record([1], 'a'), VM, { floor: 1, generations: [2] }), record([1, 2], 'a'));
});

test('L4: of a record that cannot be read everybody is told once, whether he writes before or not', async () => {
  for (const writesFirst of [true, false]) {
    const store = new MemoryCachedWrites();
    store.saved = UNKNOWN_CACHED;
    const keeper = await CacheKeeper.open(store, 'b');
    await keeper.admit(VM, { floor: 4, generations: [4] });
    if (writesFirst) await keeper.enter(VM);
    assert.equal(keeper.standingOf(VM), 'lost');
    await keeper.told(VM);
    assert.equal(keeper.standingOf(VM), 'cached');
    await keeper.admit(VM, { floor: 5, generations: [5] });
    assert.equal(keeper.standingOf(VM), 'none');
    assert.equal((await CacheKeeper.open(store, 'b')).standingOf('iqn.2026-11.test:other'), 'lost');
  }
});

test('one save for an initiator, its generation and the boot, none for further writes; a save that failed is tried again', async () => {
  const store = new MemoryCachedWrites();
  const keeper = await CacheKeeper.open(store, 'a');
  await keeper.admit(VM, { floor: 1, generations: [1] });
  store.fails = true;
  await assert.rejects(keeper.enter(VM));
  assert.equal(keeper.isEntered(VM), false);
  store.fails = false;
  await Promise.all([keeper.enter(VM), keeper.enter(VM), keeper.enter(VM)]);
  assert.equal(keeper.isEntered(VM), true);
  assert.equal(store.saves, 1);
});

test('a generation that starts while its predecessor is being entered is not taken for it', async () => {
  const keeper = await CacheKeeper.open(new MemoryCachedWrites(), 'a');
  await keeper.admit(VM, { floor: 1, generations: [1] });
  const entering = keeper.enter(VM);
  const admitted = keeper.admit(VM, { floor: 2, generations: [2] });
  assert.equal(keeper.isEntered(VM), false);
  await Promise.all([entering, admitted]);
  // Entered or not, what it writes from here on is in the record under its own generation.
  await keeper.enter(VM);
  assert.equal(keeper.standingOf(VM), 'cached');
});

/** The true history of one VM; the order of everything is random. */
class Life {
  readonly #store = new MemoryCachedWrites();
  #keeper!: CacheKeeper;
  #boot = 0;
  #floor = 1;
  #generations = [1];
  #highest = 1;
  /** The running guest believes that the write is done; it was in the cache only, and is gone. */
  #isCached = false;
  #isLost = false;
  /** Since the last loss of power the guest was told, or forgot the write. */
  #isTold = true;

  async start(): Promise<void> {
    this.#keeper = await CacheKeeper.open(this.#store, `boot ${this.#boot}`);
    await this.#admit();
  }

  readonly events: readonly (() => Promise<void>)[] = [
    async () => {
      if (!this.#keeper.isEntered(VM)) await this.#keeper.enter(VM);
      this.#isCached = true;
    },
    async () => {
      const isFailing = this.#keeper.standingOf(VM) === 'lost';
      assert.ok(isFailing || !this.#isLost, 'a flush succeeds though a write was lost');
      assert.ok(!isFailing || !this.#isTold, 'a flush fails for nothing');
      if (isFailing) await this.#keeper.told(VM);
      this.#isCached = false;
      this.#isLost = false;
      this.#isTold ||= isFailing;
    },
    async () => {
      this.#boot += 1;
      this.#isLost ||= this.#isCached;
      this.#isCached = false;
      this.#isTold = false;
      await this.start();
    },
    // The target alone dies.
    () => this.start(),
    // A migration: begun, then ended either way.
    async () => {
      if (this.#generations.length > 1) return;
      this.#generations.push(++this.#highest);
      await this.#admit();
    },
    async () => {
      const destination = this.#generations[1];
      if (destination === undefined) return;
      this.#generations = [destination];
      this.#floor = destination;
      await this.#admit();
    },
    async () => {
      this.#generations.length = 1;
      await this.#admit();
    },
    // A new start.
    async () => {
      this.#generations = [++this.#highest];
      this.#floor = this.#highest;
      this.#isCached = false;
      this.#isLost = false;
      this.#isTold = true;
      await this.#admit();
    },
  ];

  async #admit(): Promise<void> {
    await this.#keeper.admit(VM, { floor: this.#floor, generations: [...this.#generations] });
  }
}

test('a flush never succeeds after a write that it covers was lost, and never fails without a loss of power, in any life', async () => {
  const lives = fc.array(fc.nat(7), { minLength: 1, maxLength: 40, size: 'max' });
  await fc.assert(
    fc.asyncProperty(lives, async (steps) => {
      const life = new Life();
      await life.start();
      for (const step of steps) await life.events[step]?.();
    }),
    { numRuns: 500 },
  );
});
