import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Generation, type HostName, parseDiskId, parseVmId, type StorageName } from '../../../base/ids.ts';
import { atOnce } from '../../maintenance/in-turns.ts';
import { keyOf } from '../../model/keys.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import { VM, vmRecord } from '../testing/sample-records.ts';
import { unknownDisks, unknownProcesses, unknownVms } from './unknown.ts';

const OTHER = parseVmId('vm-00000000bbbb');
const UNREADABLE = parseVmId('vm-00000000cccc');
const SNAPSHOT = parseVmId('vm-00000000dddd');
const H1 = 'h1' as HostName;
const S1 = 's1' as StorageName;
const [KNOWN_DISK, OTHER_DISK] = ['01', '02'].map((end) => parseDiskId(`disk-0000000000${end}`)) as [never, never];
const records = {
  vms: new Map([[VM, { value: vmRecord({ kind: 'stopped' }), revision: 1 }]]),
  disks: new Map([[KNOWN_DISK, { value: {} as never, revision: 1 }]]),
  unreadable: new Map([[keyOf.vm(UNREADABLE), 'is no JSON']]),
  epoch: { ...FIRST_EPOCH, number: 1, vms: new Set([SNAPSHOT]) },
};
const process = (vm: typeof VM, generation: number) => ({ vm, generation: generation as Generation, slot: 1 }) as never;

test('a process counts that was begun before the epoch, and whose VM neither a record nor the snapshot names', () => {
  const incarnations = [
    ...[process(VM, 3), process(UNREADABLE, 3), process(SNAPSHOT, 3), process(OTHER, 3)],
    process(parseVmId('vm-00000000eeee'), 1_000_000_000_001),
  ];
  assert.deepEqual(unknownProcesses(records, H1, { incarnations }), [{ vm: OTHER, host: H1, generation: 3, slot: 1 }]);
});

test('disks are put to the VM that their node keeps them for; those of a VM with a record are its own', () => {
  const grants = [{ vm: OTHER, generation: 3 as Generation, connections: [] }];
  const reported = [
    { disk: KNOWN_DISK, grants: [] },
    { disk: OTHER_DISK, port: 30_001, grants },
  ];
  const [report, ...none] = unknownDisks(records, reported);
  assert.deepEqual([report?.disk, none], [OTHER_DISK, []]);
  const seen = { node: S1, report: report as never };
  const processes = unknownProcesses(records, H1, { incarnations: [process(OTHER, 3)] });
  const disks = [
    { ...seen, facts: { vm: OTHER, sizeBytes: 64 } },
    { ...seen, facts: { vm: VM, sizeBytes: 64 } },
  ];
  assert.deepEqual(atOnce(unknownVms(records, processes, disks, [S1])), [
    {
      ...{ vm: OTHER, processes: [{ host: H1, generation: 3, slot: 1 }], unheard: [S1] },
      disks: [{ disk: OTHER_DISK, node: S1, port: 30_001, sizeBytes: 64, generations: [3] }],
    },
  ]);
});

test('twenty thousand VMs are put together in pieces: none holds the leader up', () => {
  const id = (n: number): string => n.toString(16).padStart(12, '0');
  const vms = Array.from({ length: 20_000 }, (_, n) => parseVmId(`vm-${id(n * 7_919)}`));
  const disks = vms.flatMap((vm, n) =>
    [0, 1].map((more) => {
      const report = { disk: parseDiskId(`disk-${id(2 * n + more)}`), port: 30_000, grants: [] };
      return { node: S1, report, facts: { vm, sizeBytes: 64 } };
    }),
  );
  const work = unknownVms(
    records,
    vms.map((vm) => ({ vm, host: H1, generation: 3 as Generation, slot: 1 })),
    disks,
    [],
  );
  const { user, system } = globalThis.process.threadCpuUsage();
  let [lastUs, longestUs] = [user + system, 0];
  for (let piece = work.next(), pieces = 0; ; piece = work.next(), pieces++) {
    if (piece.done !== true && pieces % 256 !== 0) continue;
    const now = globalThis.process.threadCpuUsage();
    longestUs = Math.max(longestUs, now.user + now.system - lastUs);
    lastUs = now.user + now.system;
    if (piece.done !== true) continue;
    assert.equal(piece.value.length, vms.length);
    break;
  }
  assert(longestUs < 25_000, `${longestUs} µs`);
});
