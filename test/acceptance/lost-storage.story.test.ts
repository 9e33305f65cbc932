/**
 * A storage node burns down: what was on it is given up by a command, everything else goes on. Another one is empty and
 * is taken out. On a real cluster of two hosts and three storage nodes.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Event, Image, StorageNode } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { StoryCluster } from '../stories/story-cluster.ts';
import { acknowledged, createTiny, deleteVms, gp, gpJson, growsBeyond, until, untilVm, vmOf } from './case.ts';

const NODES = ['s1', 's2', 's3'] as const;
type Node = (typeof NODES)[number];
/** Both addresses of a storage node. */
const ADDRESSES: Readonly<Record<Node, readonly string[]>> = {
  s1: ['10.77.1.1', '10.78.1.1'],
  s2: ['10.77.1.2', '10.78.1.2'],
  s3: ['10.77.1.3', '10.78.1.3'],
};
const SEQUENCE = ['--append', 'gp.workload=sequence'];

let cluster: StoryCluster;

before(async () => {
  cluster = await StoryCluster.start({ hosts: 2, controlNodes: 1, storageNodes: NODES.length });
});
after(() => cluster?.end());

const nodes = () => gpJson<readonly StorageNode[]>(cluster, ['storage', 'list']);

async function untilState(wanted: Readonly<Record<string, StorageNode['state']>>): Promise<void> {
  let last: readonly StorageNode[] = [];
  const look = async (): Promise<true | undefined> => {
    last = await nodes();
    const isAs = ([name, state]: [string, string]): boolean => last.find((node) => node.name === name)?.state === state;
    return Object.entries(wanted).every(isAs) ? true : undefined;
  };
  await until(`storage nodes are ${JSON.stringify(wanted)}`, look, { seen: () => last });
}

/** Makes something while only one storage node takes new disks; what the others serve goes on. */
async function on(node: Node, make: () => Promise<unknown>): Promise<void> {
  const standing = (await nodes()).filter(({ state }) => state !== 'lost').map(({ name }) => name);
  const others = standing.filter((other) => other !== node);
  for (const target of others) await cluster.lab('kill-storage', { target, serviceOnly: true });
  await untilState(Object.fromEntries(others.map((other) => [other, 'dead'])));
  await make();
  for (const target of others) await cluster.lab('restore', { target });
  await untilState(Object.fromEntries(standing.map((name) => [name, 'alive'])));
}

/** The text of a machine's packet filter. */
async function filterOf(target: string): Promise<string> {
  const argv = ['nft', 'list', 'table', 'inet', 'groundplane_ports'];
  return ((await cluster.lab('exec', { target, argv })) as { readonly stdout: string }).stdout;
}

/** Waits until no machine's packet filter names the node. */
async function untilForgotten(node: Node, machines: readonly string[]): Promise<void> {
  for (const machine of machines) {
    let last = '';
    await until(
      `the filter of ${machine} names ${node} no more`,
      async () => {
        last = await filterOf(machine);
        return ADDRESSES[node].some((address) => last.includes(address)) ? undefined : true;
      },
      { seen: () => last },
    );
  }
}

const eventsOf = (vm: string) => gpJson<readonly Event[]>(cluster, ['vm', 'events', vm]);

test('a storage node burns down: its VMs end and can be deleted, a VM that shared a disk there goes on without it, others notice nothing', async () => {
  await on('s2', async () => {
    await createTiny(cluster, 'burnt', SEQUENCE);
    await gp(cluster, ['shared-disk', 'create', 'burnt-too:8M']);
  });
  await on('s1', async () => {
    await createTiny(cluster, 'shares', SEQUENCE);
    await createTiny(cluster, 'other', SEQUENCE);
  });
  await gp(cluster, ['shared-disk', 'attach', 'burnt-too', 'shares']);
  const before_ = await Promise.all(['shares', 'other'].map((name) => vmOf(cluster, name)));
  assert.deepEqual(
    (await vmOf(cluster, 'burnt')).disks.map(({ node }) => node),
    ['s2'],
  );
  assert.deepEqual(
    before_.map(({ disks }) => disks[0]?.node),
    ['s1', 's1'],
  );
  for (const name of ['burnt', 'shares', 'other']) await growsBeyond(cluster, name, 4);

  const alive = await gp(cluster, ['storage', 'remove', 's2', '--lost', '--yes'], 5);
  assert.match(alive.stderr, /s2 answers: it is not lost/);
  await cluster.lab('kill-storage', { target: 's2' });
  const pool = labLayout(cluster.dir).machine('s2').poolDir;
  for (const entry of await readdir(pool)) await rm(join(pool, entry), { recursive: true });
  await untilState({ s2: 'dead' });
  const named = await gp(cluster, ['storage', 'remove', 's2', '--lost'], 5);
  assert.match(named.stderr, /Lost with it: 1 VM \(burnt\), 1 disk \(disk-[0-9a-f]{12}\), 1 shared disk \(burnt-too/);
  assert.match((await gp(cluster, ['storage', 'remove', 's2'], 5)).stderr, /It does not answer.*--lost/s);
  assert.equal((await nodes()).find(({ name }) => name === 's2')?.state, 'dead', 'nothing was changed');
  const lost = await gp(cluster, ['storage', 'remove', 's2', '--lost', '--yes']);
  assert.match(lost.stdout, /^Lost: +s2\nVMs: +burnt$/m);

  await untilVm(cluster, 'burnt', { verdict: 'stopped' });
  const [ended] = (await eventsOf('burnt')).filter(({ kind }) => kind === 'disk-lost');
  assert.match(present(ended, 'event').message, /was on storage node s2, which is lost.*gp vm delete burnt/);
  assert.match((await gp(cluster, ['vm', 'start', 'burnt'], 5)).stderr, /s2, which is lost/);
  await gp(cluster, ['vm', 'delete', 'burnt']);
  await createTiny(cluster, 'burnt');
  assert.notEqual((await vmOf(cluster, 'burnt')).disks[0]?.node, 's2');

  for (const name of ['shares', 'other']) await growsBeyond(cluster, name, (await acknowledged(cluster, name)) + 4);
  const now = await Promise.all(['shares', 'other'].map((name) => vmOf(cluster, name)));
  assert.deepEqual(
    now.map(({ verdict, generation, host }) => [verdict, generation, host]),
    before_.map(({ generation, host }) => ['running', generation, host]),
  );
  await gp(cluster, ['vm', 'migrate', 'shares']);
  await growsBeyond(cluster, 'shares', (await acknowledged(cluster, 'shares')) + 4);
  await gp(cluster, ['shared-disk', 'detach', 'burnt-too', 'shares']);
  await gp(cluster, ['shared-disk', 'delete', 'burnt-too']);
  await gp(cluster, ['vm', 'stop', 'shares', '--hard']);
  await gp(cluster, ['vm', 'start', 'shares']);

  await until('no image names the lost node', async () => {
    const images = await gpJson<readonly Image[]>(cluster, ['image', 'list']);
    return images.every((image) => !image.nodes.includes('s2') && image.nodes.length === 2) ? true : undefined;
  });
  await untilForgotten('s2', ['h1', 'h2', 's1', 's3', 'c1']);
});

test('the machine of a lost node that comes back with its certificate reads nothing of the cluster, and stays lost', async () => {
  const log = join(labLayout(cluster.dir).machine('s2').logDir, 'storage.log');
  const before_ = (await readFile(log, 'utf8')).length;
  await cluster.lab('restore', { target: 's2' });
  let said = '';
  await until(
    'it cannot read etcd',
    async () => {
      said = (await readFile(log, 'utf8')).slice(before_);
      return said.includes('etcd cannot be read') ? true : undefined;
    },
    { seen: () => said },
  );
  assert.doesNotMatch(said, /generations that etcd admits are served/);
  assert.equal((await nodes()).find(({ name }) => name === 's2')?.state, 'lost');
  const { verdict, generation } = await vmOf(cluster, 'other');
  assert.deepEqual([verdict, generation], ['running', 1]);
});

test('a storage node that is empty is taken out; one with disks is not, and what is there is named', async () => {
  await on('s1', async () => createTiny(cluster, 'stays'));
  const full = await gp(cluster, ['storage', 'remove', 's1'], 5);
  assert.match(full.stderr, /s1 is not empty\. On it: \d VMs \([^)]*stays[^)]*\)/);
  await deleteVms(cluster, ['burnt']);
  const removed = await gp(cluster, ['storage', 'remove', 's3']);
  assert.equal(removed.stdout, 'Removed: s3\n');
  assert.deepEqual(
    (await nodes()).map(({ name, state }) => [name, state]),
    [
      ['s1', 'alive'],
      ['s2', 'lost'],
    ],
  );
  await untilForgotten('s3', ['h1', 'h2', 's1', 'c1']);
  await createTiny(cluster, 'last');
  assert.equal((await vmOf(cluster, 'last')).disks[0]?.node, 's1');
});
