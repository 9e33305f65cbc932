import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../../base/errors.ts';
import { type DiskId, parseDiskId, parseVmId, type StorageName } from '../../../base/ids.ts';
import { until } from '../../../os/testing/until.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { UnknownWatch, type UnknownWatchPorts } from './unknown-watch.ts';

const S1 = 's1' as StorageName;
const OWNER = parseVmId('vm-00000000aaaa');
const [FIRST, SECOND] = ['01', '02'].map((end) => parseDiskId(`disk-0000000000${end}`)) as [DiskId, DiskId];
const LOOK_MS = 3_000;

/** A restored cluster with one storage node, which holds what a test says. */
function setUp() {
  const clock = new ManualClock();
  const world = { disks: [FIRST], owners: new Map([[FIRST, OWNER]]), asked: [] as DiskId[], isStale: false };
  let report: object | null = null;
  const reportOf = () => {
    const disks = world.disks.map((disk) => ({ disk, port: 30_001, grants: [] }));
    if (report === null || !world.isStale) report = { epoch: 1, disks };
    return report;
  };
  const snapshot = {
    ...{ vms: new Map(), disks: new Map(), hosts: new Map(), unreadable: new Map() },
    storage: new Map([[S1, { value: { name: S1 }, revision: 1 }]]),
    epoch: { ...FIRST_EPOCH, number: 1 },
  };
  const ports = {
    ...{ clock, log: { info: () => undefined, warn: assert.fail }, store: { snapshot, term: 1_000_000_000_005 } },
    observer: { report: () => undefined },
    storageObserver: { report: reportOf, answers: () => true },
    storage: {
      diskFacts: async (_node: StorageName, disk: DiskId) => {
        world.asked.push(disk);
        const vm = world.owners.get(disk);
        if (vm === undefined) throw new CodedError('unavailable', 'It does not say.');
        return { vm, sizeBytes: 64 };
      },
    },
  } as unknown as UnknownWatchPorts;
  const watch = new UnknownWatch(ports);
  /** Time passes until something is so. */
  const pass = (what: string, isSo: () => boolean): Promise<void> =>
    until(what, async () => {
      await clock.advance(LOOK_MS);
      return isSo();
    });
  return { world, watch, pass, clock, snapshot };
}

test('a disk is told of once two reports have shown it and its node said whose it is; it is asked once', async (t) => {
  const { world, watch, pass, snapshot } = setUp();
  t.after(() => watch.stop());
  world.isStale = true;
  let looks = 0;
  watch.start();
  await pass('five looks at the same report', () => ++looks > 5);
  assert.deepEqual([watch.list(), world.asked], [[], []], 'that report may be from before its record went');
  world.isStale = false;
  await pass('it is told of', () => watch.list().length === 1);
  const [{ vm, disks, unheard } = assert.fail()] = watch.list();
  assert.deepEqual([vm, disks.map(({ disk }) => disk), unheard], [OWNER, [FIRST], []]);
  world.disks = [FIRST, SECOND];
  await pass('its node may have more of it', () => watch.list()[0]?.unheard[0] === S1);
  world.owners.set(SECOND, OWNER);
  await pass('both are told of', () => watch.list()[0]?.disks.length === 2 && watch.list()[0]?.unheard.length === 0);
  assert.equal(world.asked.filter((disk) => disk === FIRST).length, 1);
  world.disks = [SECOND];
  await pass('one is gone', () => watch.list()[0]?.disks.length === 1);
  snapshot.vms.set(OWNER, {});
  assert.deepEqual(watch.list(), [], 'one that has a record since is told of no more');
});
