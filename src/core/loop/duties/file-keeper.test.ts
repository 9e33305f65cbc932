import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageName, Sha256, StorageName, Term } from '../../../base/ids.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import { diskRecord } from '../../plan/testing/sample-records.ts';
import type { FileCopy } from '../../ports/file-link.ts';
import type { Change, Snapshot } from '../../ports/store.ts';
import { FileKeeper } from './file-keeper.ts';

const EVERY_MS = 15_000;
const MINUTE_MS = 60_000;
const sha = (digit: string): Sha256 => digit.repeat(64) as Sha256;
const image = (name: string, digit: string, nodes: readonly string[]) =>
  [name as ImageName, { revision: 1, value: { name, nodes, disk: imageDisk(digit), direct: null } }] as const;
const imageDisk = (digit: string) => ({
  sha256: sha(digit),
  sizeBytes: 1,
  format: 'raw',
  virtualSizeBytes: 1,
});

/** Storage nodes with files, images, and a keeper that leads. `copies`: what becomes of each copy. */
class World {
  readonly clock = new SimClock();
  readonly nodes = new Map<string, Set<Sha256>>();
  readonly images = new Map<ImageName, unknown>();
  readonly disks = new Map<string, unknown>();
  readonly vms = new Map<string, unknown>();
  readonly unreadable = new Map<string, string>();
  readonly copied: string[] = [];
  readonly deleted: string[] = [];
  readonly commits: Change[] = [];
  readonly cancelled: string[] = [];
  copies: (copy: FileCopy) => Promise<void> = async ({ sha256, to }) => void this.nodes.get(to)?.add(sha256);
  leads = true;
  readonly keeper: FileKeeper;

  constructor(nodes: Readonly<Record<string, string>>) {
    for (const [name, digits] of Object.entries(nodes)) this.nodes.set(name, new Set(digits.split('').map(sha)));
    const { images, disks, vms, unreadable } = this;
    const storage = new Map([...this.nodes.keys()].map((name) => [name, { revision: 1, value: { name } }]));
    this.keeper = new FileKeeper({
      clock: this.clock,
      log: { info: () => undefined, warn: () => undefined },
      store: {
        term: 4 as Term,
        snapshot: { images, disks, vms, unreadable, storage } as unknown as Snapshot,
        leads: () => this.leads,
        commit: async ({ changes }) => {
          this.commits.push(...changes);
          return 'committed';
        },
      },
      files: {
        copy: (copy) => {
          const what = `${copy.sha256[0]} ${copy.from} to ${copy.to}`;
          this.copied.push(what);
          return { done: this.copies(copy), cancel: () => void this.cancelled.push(what) };
        },
        remove: async (node, sha256, { term }) => {
          this.deleted.push(`${sha256[0]} on ${node} in term ${term}`);
          this.nodes.get(node)?.delete(sha256);
        },
      },
      observer: {
        answers: () => true,
        report: (node: StorageName) => ({
          artifacts: [...(this.nodes.get(node) ?? [])],
          pool: { totalBytes: 1, freeBytes: 1 },
        }),
      },
    });
    this.keeper.start();
  }

  pass(ms: number): Promise<void> {
    return this.clock.run(this.clock.monotonicMs() + ms);
  }
}

test('what nothing names for ten minutes goes; the seed of a disk that is still to be made stays', async () => {
  const world = new World({ s1: '12', s2: '1' });
  const seeded = (phase: string): unknown => ({
    revision: 1,
    value: { ...diskRecord(), source: { kind: 'content', artifact: sha('2') }, phase },
  });
  world.disks.set('d', seeded('creating'));
  await world.pass(12 * MINUTE_MS);
  assert.deepEqual(world.deleted, ['1 on s1 in term 4', '1 on s2 in term 4']);
  world.disks.set('d', seeded('ready'));
  world.unreadable.set('/gp/vm/vm-1', 'is no object');
  await world.pass(12 * MINUTE_MS);
  assert.equal(world.deleted.length, 2, 'a VM that cannot be read may name it');
  world.unreadable.clear();
  await world.pass(12 * MINUTE_MS);
  assert.deepEqual(world.deleted.slice(2), ['2 on s1 in term 4', '2 on s2 in term 4']);
  world.keeper.stop();
});

test('a node gets the files that it lacks, from another holder where one copy failed, and the record says who has them', async () => {
  const world = new World({ s1: '1', s2: '1', s3: '' });
  world.images.set(...image('web', '1', ['s1', 's2']));
  const { copies } = world;
  world.copies = (copy) => (copy.from === 's1' ? Promise.reject(new Error('another hash')) : copies(copy));
  await world.pass(5 * MINUTE_MS);
  assert.deepEqual(world.copied, ['1 s1 to s3'], 'not again at once');
  await world.pass(6 * MINUTE_MS);
  assert.deepEqual(world.copied, ['1 s1 to s3', '1 s2 to s3']);
  assert.deepEqual(
    world.commits.slice(-1).map(({ value }) => (value as unknown as { nodes: readonly string[] }).nodes),
    [['s1', 's2', 's3']],
  );
  world.keeper.stop();
});

test('the end of a term ends the copy under way, and nothing begins after it or while it is not certain to lead', async () => {
  const world = new World({ s1: '12', s2: '' });
  world.images.set(...image('web', '1', ['s1']));
  world.leads = false;
  await world.pass(12 * MINUTE_MS);
  assert.deepEqual([world.copied, world.deleted, world.commits], [[], [], []]);
  world.leads = true;
  world.copies = () => new Promise(() => undefined);
  await world.pass(2 * EVERY_MS);
  assert.deepEqual(world.copied, ['1 s1 to s2']);
  world.keeper.stop();
  assert.deepEqual(world.cancelled, ['1 s1 to s2']);
  await world.pass(60 * MINUTE_MS);
  assert.deepEqual([world.copied.length, world.deleted.length], [1, 2]);
});
