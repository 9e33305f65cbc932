import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostRow, VmRow } from '../api/types.ts';
import { findEntries, paletteEntries } from './palette-entries.ts';

const host = (name: string) => ({ name, rack: 'r1' }) as HostRow;
const vm = (name: string) => ({ name, host: 'h1' }) as VmRow;
const ENTRIES = paletteEntries({
  ...{ hosts: [host('h1'), host('h10')], vms: [vm('web1'), vm('db1')], clusters: [] },
  ...{ networks: [{ name: 'lan' }], storage: [{ name: 's1' }], images: [{ name: 'tiny' }] },
});
const texts = (typed: string): string[] => findEntries(ENTRIES, typed).map(({ text }) => text);

test('an object comes before its namesakes and its actions', () => {
  assert.deepEqual(texts('h1').slice(0, 2), ['h1', 'h10']);
  assert.ok(texts('h1').includes('Drain host h1'));
});

test('an action is found by its words in any order', () => {
  assert.deepEqual(texts('db1 migrate'), ['Migrate VM db1']);
});

test('without anything typed the pages come first', () => {
  assert.equal(texts('')[0], 'Cluster');
});

test('every entry has a key of its own', () => {
  assert.equal(new Set(ENTRIES.map(({ key }) => key)).size, ENTRIES.length);
});
