import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyOrder } from '../../base/key-order.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { pageOf } from './pages.ts';

const NEVER = new AbortController().signal;
const names = Array.from({ length: 12 }, (_, index) => `n${String(index).padStart(2, '0')}`);
const someNames = fc.subarray(names);

/** Reads all pages one after the other; `between` runs after each. */
async function readAll(
  order: KeyOrder,
  options: { readonly limit: number; readonly isNewestFirst: boolean; readonly isWanted?: (name: string) => boolean },
  between: () => void = () => undefined,
): Promise<string[][]> {
  const { limit, isNewestFirst, isWanted = () => true } = options;
  const pages: string[][] = [];
  let after: string | null = null;
  do {
    const view = (name: string): string | null => (isWanted(name) ? name : null);
    const page: Awaited<ReturnType<typeof pageOf<string>>> = await pageOf(
      { order, isNewestFirst, view },
      { limit, ...(after === null ? {} : { after }) },
      NEVER,
    );
    pages.push([...page.items]);
    after = page.next;
    between();
  } while (after !== null);
  return pages;
}

test('what is there all the time is on exactly one page, in order, while others come and go', async () => {
  const changes = fc.array(someNames, { maxLength: 6 });
  const limits = fc.integer({ min: 1, max: 5 });
  await fc.assert(
    fc.asyncProperty(someNames, changes, limits, fc.boolean(), async (first, later, limit, isNewestFirst) => {
      const order = new KeyOrder(first);
      const always = new Set(first);
      const ever = new Set(first);
      const states = [...later];
      const pages = await readAll(order, { limit, isNewestFirst }, () => {
        const state = states.shift();
        if (state === undefined) return;
        for (const name of names) {
          if (state.includes(name)) order.add(name);
          else order.delete(name);
          if (state.includes(name)) ever.add(name);
          else always.delete(name);
        }
      });
      const read = isNewestFirst ? pages.toReversed().flat() : pages.flat();
      assert.deepEqual(read, [...new Set(read)].sort(), 'each once, in order');
      for (const name of always) assert.ok(read.includes(name), `${name} was there all the time`);
      for (const name of read) assert.ok(ever.has(name), `${name} was never there`);
      for (const page of pages) assert.ok(page.length <= limit);
    }),
  );
});

test('a filter works with pages, and a last page says so even where it is full', async () => {
  const order = new KeyOrder(names);
  const isEven = (name: string): boolean => Number(name.slice(1)) % 2 === 0;
  const pages = await readAll(order, { limit: 3, isNewestFirst: false, isWanted: isEven });
  assert.deepEqual(pages, [
    ['n00', 'n02', 'n04'],
    ['n06', 'n08', 'n10'],
  ]);
  const latest = await readAll(order, { limit: 4, isNewestFirst: true, isWanted: isEven });
  assert.deepEqual(latest, [
    ['n04', 'n06', 'n08', 'n10'],
    ['n00', 'n02'],
  ]);
  assert.deepEqual(await readAll(new KeyOrder(), { limit: 3, isNewestFirst: false }), [[]]);
});

test('a token that nobody gave out begins somewhere and is no error', async () => {
  const view = (name: string): string => name;
  const page = await pageOf({ order: new KeyOrder(names), view }, { after: 'bm9uc2Vuc2U', limit: 1 }, NEVER);
  assert.deepEqual(page, { items: [], next: null });
});

test('a long pass over what nobody wants leaves the event loop to others, and ends with its request', async () => {
  const order = new KeyOrder(Array.from({ length: 200 }, (_, index) => String(index).padStart(4, '0')));
  const abort = new AbortController();
  let looked = 0;
  const view = (): null => {
    const until = monotonicMs() + 1;
    while (monotonicMs() < until);
    looked++;
    return null;
  };
  setImmediate(() => setImmediate(() => abort.abort(new Error('gone'))));
  await assert.rejects(pageOf({ order, view }, {}, abort.signal), /gone/);
  assert.ok(looked < 100, `${looked} looks in three turns of some milliseconds`);
});
