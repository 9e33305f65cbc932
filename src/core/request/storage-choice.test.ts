import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSha256, parseStorageName, type StorageName } from '../../base/ids.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE } from '../model/ports.ts';
import { diskRecord } from '../plan/testing/sample-records.ts';
import type { Observed } from './basis.ts';
import { chooseNode, demandPoolFile, portsFree, roomForShared } from './storage-choice.ts';
import { RecordWorld } from './testing/record-world.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const IMAGE = parseSha256('a'.repeat(64));
const ROOM = { artifacts: [], neededBytes: 64 * MIB, largest: [] };

interface Node {
  readonly freeBytes: number;
  readonly artifacts?: readonly (typeof IMAGE)[];
  readonly largestFileBytes?: number;
  readonly answers?: boolean;
}

function have(nodes: Readonly<Record<string, Node>>) {
  const world = new RecordWorld();
  world.apply(world.storageNodes(Object.keys(nodes)));
  const observed: Pick<Observed, 'storageObserver'> = {
    storageObserver: {
      answers: (node) => nodes[node]?.answers ?? true,
      isSilent: (node) => nodes[node]?.answers === false,
      report: (node) => {
        const { freeBytes = 0, artifacts = [], largestFileBytes = 2 ** 53 - 1 } = nodes[node] ?? {};
        return { pool: { totalBytes: 2 ** 50, freeBytes, largestFileBytes }, artifacts };
      },
    },
  };
  return { basis: world.basis(), observed };
}

test('the node with the most room that holds every image; the preferred one where it has room', () => {
  const { basis, observed } = have({
    s1: { freeBytes: GIB, artifacts: [IMAGE] },
    s2: { freeBytes: 3 * GIB },
    s3: { freeBytes: 9 * GIB, answers: false },
    s4: { freeBytes: 2 * GIB, artifacts: [IMAGE] },
  });
  assert.equal(chooseNode(basis, observed, ROOM), 's2');
  assert.equal(chooseNode(basis, observed, { ...ROOM, artifacts: [IMAGE] }), 's4');
  assert.equal(chooseNode(basis, observed, ROOM, parseStorageName('s1')), 's1');
  assert.equal(chooseNode(basis, observed, ROOM, parseStorageName('s3')), 's2', 'the preferred one does not answer');
});

test('where no node can hold the disks, each is named with why', () => {
  const { basis, observed } = have({
    s1: { freeBytes: MIB },
    s2: { freeBytes: 0, answers: false },
    s3: { freeBytes: GIB, largestFileBytes: GIB },
  });
  const room = roomForShared([{ sizeBytes: 2 * GIB }]);
  assert.throws(() => chooseNode(basis, observed, room), {
    code: 'no-capacity',
    message: /s1 has 1 MiB free, s2 does not answer, the file system of s3 has disks of at most \d+ bytes/,
  });
  assert.throws(() => chooseNode(new RecordWorld().basis(), observed, room), /no storage node has joined/);
  assert.throws(() => demandPoolFile(observed, 's3' as StorageName, 2 * GIB), { code: 'no-capacity' });
  demandPoolFile(null, 's3' as StorageName, 2 * GIB);
});

test('ports are the lowest free ones of a node, until it has no more', () => {
  const world = new RecordWorld();
  const disk = diskRecord({ port: DISK_PORT_BASE + 1 });
  world.apply([{ kind: 'disk', id: disk.id, value: disk }]);
  assert.deepEqual(portsFree(world.basis(), disk.node, 2), [DISK_PORT_BASE, DISK_PORT_BASE + 2]);
  assert.deepEqual(portsFree(world.basis(), parseStorageName('s9'), 1), [DISK_PORT_BASE]);
  assert.throws(() => portsFree(world.basis(), disk.node, DISK_PORTS_PER_NODE), { code: 'no-capacity' });
});
