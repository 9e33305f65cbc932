import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PacketFilter } from './packet-filter.ts';

/** A kernel that accepts scripts when the test says so. */
function setUp() {
  const failures: string[] = [];
  const loads: { readonly script: string; readonly end: PromiseWithResolvers<void> }[] = [];
  const filter = new PacketFilter(
    (reason) => failures.push(reason),
    (script) => {
      const end = Promise.withResolvers<void>();
      loads.push({ script, end });
      return end.promise;
    },
  );
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { filter, failures, loads, turn };
}

test('a filter that cannot be made, or is refused, keeps no later one from the kernel', async () => {
  const { filter, failures, loads, turn } = setUp();
  await filter.put(() => {
    throw new Error('no process list');
  });
  const refused = filter.put(() => 'a');
  await turn();
  loads[0]?.end.reject(new Error('refused'));
  await refused;
  const taken = filter.put(() => 'b');
  await turn();
  loads[1]?.end.resolve();
  await taken;
  assert.deepEqual(failures, ['no process list', 'refused']);
  assert.deepEqual(
    loads.map(({ script }) => script),
    ['a', 'b'],
  );
});

test('while the kernel is slow one change waits, the newest, and whoever asked is answered by it', async () => {
  const { filter, loads, turn } = setUp();
  const first = filter.put(() => '0');
  await turn();
  const later = Array.from({ length: 100 }, (_, index) => filter.put(() => String(index + 1)));
  loads[0]?.end.resolve();
  await first;
  await turn();
  loads[1]?.end.resolve();
  await Promise.all(later);
  assert.deepEqual(
    loads.map(({ script }) => script),
    ['0', '100'],
  );
});

test('what is in force is not set again, unless a failure since leaves that unknown', async () => {
  const { filter, loads, turn } = setUp();
  const put = async (script: string, outcome: 'resolve' | 'reject'): Promise<void> => {
    const done = filter.put(() => script);
    await turn();
    loads.at(-1)?.end[outcome]();
    await done;
  };
  await put('a', 'resolve');
  await put('a', 'resolve');
  await put('b', 'reject');
  await put('a', 'resolve');
  assert.deepEqual(
    loads.map(({ script }) => script),
    ['a', 'b', 'a'],
  );
});
