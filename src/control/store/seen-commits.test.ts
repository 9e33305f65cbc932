import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Term } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { Change, SeenCommit } from '../../core/ports/store.ts';
import { vmRecord } from '../testing/records.ts';
import type { Changed } from './cluster-store.ts';
import { SeenCommits } from './seen-commits.ts';

const TERM = 7 as Term;
const vm = vmRecord(1);
const other = vmRecord(2);
const key = keyOf.vm(vm.id);
const change: Change = { kind: 'vm', id: vm.id, value: vm };
const changed = (value: object | null, more: Partial<Changed> = {}): Changed => ({
  key,
  revision: 1,
  deleted: value === null,
  value,
  isReadable: true,
  isOneTransaction: true,
  ...more,
});

/**
 * The changes that are reported when the store notes them while the leader's own commit of `change` is under way, or
 * while none is.
 */
async function told(isUnderWay: boolean, ...batches: readonly Changed[][]): Promise<readonly SeenCommit[]> {
  const seen = new SeenCommits(TERM);
  const commits: SeenCommit[] = [];
  seen.onCommit((commit) => commits.push(commit));
  const note = async (): Promise<void> => {
    for (const batch of batches) seen.noted(batch);
  };
  if (isUnderWay) await seen.sending([change], [{ key, value: vm, expect: null }], note);
  else await note();
  return commits;
}

test('an own commit is told once, as a whole, at its first trace; what others wrote afterwards is of nobody known', async () => {
  const copy = JSON.parse(JSON.stringify(vm)) as object;
  assert.deepEqual(await told(true, [changed(copy)], [changed(vm)]), [{ by: TERM, changes: [change] }]);
  const theirs: Change = { ...change, value: { ...vm, intent: 'running' } };
  assert.deepEqual(await told(true, [changed(copy), changed(theirs.value)]), [
    { by: TERM, changes: [change] },
    { by: 'unknown', changes: [theirs] },
  ]);
});

test('what the watch shows is of people, what a listing shows may sum up anything', async () => {
  const second: Change = { kind: 'vm', id: other.id, value: null };
  const gone = changed(null, { key: keyOf.vm(other.id) });
  assert.deepEqual(await told(false, [changed(vm), gone]), [{ by: 'people', changes: [change, second] }]);
  assert.deepEqual(await told(false, [changed(vm), { ...gone, isOneTransaction: false }]), [
    { by: 'people', changes: [change] },
    { by: 'unknown', changes: [second] },
  ]);
});

test('a value that cannot be read, and keys that are of no object, are no change', async () => {
  const spoiled = changed(null, { isReadable: false });
  assert.deepEqual(await told(false, [spoiled], [changed('x' as never, { key: '/gp/vm-name/x' })]), []);
});

test('whoever mends a value that could not be read may put back a record of any age: it is of nobody known', async () => {
  const commits = await told(
    false,
    [changed(null, { isReadable: false })],
    [changed(vm)],
    [changed({ ...vm, name: 'b' })],
  );
  assert.deepEqual(
    commits.map(({ by }) => by),
    ['unknown', 'people'],
  );
});
