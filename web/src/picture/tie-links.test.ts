import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layoutOf, type PictureHost } from './layout.ts';
import { type PictureTie, tieLinks, tiesOf, toldTies } from './tie-links.ts';

const GIB = 2 ** 30;
const vm = (name: string, guestCluster: string | null = null) => ({
  ...({ id: `vm-${name}`, name, verdict: 'running', guestCluster } as const),
  memoryBytes: GIB,
});
const host = (name: string, vms: PictureHost['vms']): PictureHost => ({
  ...{ name, rack: null, memoryTotalBytes: 16 * GIB, memoryUsedBytes: 0, mood: 'normal', drain: true, vms },
});
const hosts = [host('h1', [vm('a'), vm('b', 'sql')]), host('h2', [vm('c', 'sql')]), host('h3', [])];
const layout = layoutOf(hosts, { width: 900, height: 400 });
const pin: PictureTie = { vms: ['a'], hosts: ['h1', 'h3'], guestCluster: null };
const cluster: PictureTie = { vms: ['b'], hosts: ['h2'], guestCluster: 'sql' };
const headOf = (name: string) => {
  const { x, y } = layout.tiles.find((tile) => tile.host.name === name) ?? { x: -1, y: -1 };
  return [x, y];
};
const sliceOf = (name: string) => {
  const { x, y } = layout.tiles.flatMap(({ slices }) => slices).find((each) => each.vm.name === name) ?? {
    x: -1,
    y: -1,
  };
  return [x, y];
};

test('from a VM lines lead to the hosts of its ties, its guest cluster’s among them', () => {
  const links = tieLinks(layout, { host: 'h1', vm: 'vm-a' }, [pin, cluster]);
  assert.deepEqual(
    links.map(({ from, to }) => [from.x, from.y, to.x, to.y]),
    ['h1', 'h3'].map((name) => [...sliceOf('a'), ...headOf(name)]),
  );
  const [link, ...others] = tieLinks(layout, { host: 'h2', vm: 'vm-c' }, [pin, cluster]);
  assert.deepEqual([link?.to.x, link?.to.y, others.length], [...headOf('h2'), 0]);
});

test('from a host lines lead to the VMs that stand in its way; what has no tie has no line', () => {
  const [link, ...others] = tieLinks(layout, { host: 'h3', vm: null }, [pin, cluster]);
  assert.deepEqual(
    [link?.from.x, link?.from.y, link?.to.x, link?.to.y, others.length],
    [...headOf('h3'), ...sliceOf('a'), 0],
  );
  assert.deepEqual(tieLinks(layout, { host: 'h3', vm: null }, [cluster]), []);
  assert.deepEqual(tieLinks(layout, { host: 'h1', vm: 'vm-gone' }, [pin]), []);
  assert.deepEqual(tiesOf('h1', [pin, cluster]), [pin]);
});

test('a tie of very many VMs is drawn in part', () => {
  const many = Array.from({ length: 500 }, (_, n) => vm(`m${n}`));
  const crowded = layoutOf([host('h1', many), host('h2', [])], { width: 900, height: 400 });
  const tie = { vms: many.map(({ name }) => name), hosts: ['h2'], guestCluster: null };
  assert.equal(tieLinks(crowded, { host: 'h2', vm: null }, [tie]).length, 200);
});

test('a screen reader is told the first ties of a host, and how many more there are', () => {
  assert.deepEqual(toldTies([pin, cluster]), { told: [pin, cluster], more: 0 });
  const many = Array.from({ length: 500 }, (_, n): PictureTie => ({ ...pin, vms: [`m${n}`] }));
  const { told, more } = toldTies(many);
  assert.deepEqual([told[0], told.length + more, told.length <= 10], [many[0], 500, true]);
});
