import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHostName, parseStorageName } from '../../base/ids.ts';
import type { Path } from '../../core/model/paths.ts';
import type { Parser } from '../../rpc/parse.ts';
import { hostRecord, storageRecord } from '../testing/records.ts';
import type { RpcClients } from './clients.ts';
import { createHostLink } from './host-link.ts';
import { createPaths } from './paths.ts';
import { createStorageLink } from './storage-link.ts';

const H1 = parseHostName('h1');
const S1 = parseStorageName('s1');
const DEADLINE = { deadlineMs: 1_000 };

/** Clients whose every call is answered with `answer`, unchecked. */
function answering(answer: unknown): RpcClients {
  const client = { call: async ({ parse }: { parse: Parser<unknown> }) => parse(answer, 'answer') };
  return { to: () => client } as unknown as RpcClients;
}

const hosts = new Map([[H1, { value: hostRecord('h1'), revision: 1 }]]);
const storage = new Map([[S1, { value: storageRecord('s1'), revision: 1 }]]);
const incarnation = { vm: 'vm-0123456789ab', generation: 1, slot: 0, pid: 7, startTicks: '9', incoming: false };
const hostReport = {
  host: 'h1',
  bootId: 'b',
  agentVersion: '1',
  qemuVersion: '7.2.0',
  capacity: { memoryBytes: 1, vcpus: 1, accelerator: 'tcg', cpuModels: [] },
  incarnations: [incarnation],
  networkRevision: 0,
  wallMs: 1_700_000_000_000,
  acknowledgedNotices: ['00000000-0000-8000-8000-000000000001'],
};
const storageReport = {
  node: 's1',
  pool: { totalBytes: 2, freeBytes: 1, largestFileBytes: 3 },
  artifacts: ['a'.repeat(64)],
  disks: [
    {
      disk: 'disk-0123456789ab',
      port: 30_001,
      grants: [{ vm: 'vm-0123456789ab', generation: 1, connections: [{ address: '10.0.0.1', idleMs: null }] }],
    },
  ],
  sharedDisks: [
    {
      disk: 'disk-00000000000a',
      sizeBytes: 4096,
      grants: [{ vm: 'vm-0123456789ab', generation: 2, connections: [] }],
    },
  ],
  epoch: 0,
  faults: [{ disk: 'disk-0123456789ab', message: 'disk-0123456789ab.qcow2 is empty.' }],
  version: '0.1.0',
  wallMs: 1_700_000_000_000,
};

const askHost = (answer: unknown) => createHostLink(answering(answer), { hosts }).report(H1, DEADLINE);
const askStorage = (answer: unknown) => createStorageLink(answering(answer), { storage }).report(S1, DEADLINE);

test('a host’s report is taken as it should be, and in no other form', async () => {
  assert.deepEqual(await askHost(hostReport), hostReport);
  const malformed: object[] = [
    {},
    { ...hostReport, host: '../etc' },
    { ...hostReport, bootId: 'x'.repeat(1_000) },
    { ...hostReport, networkRevision: -1 },
    { ...hostReport, capacity: { ...hostReport.capacity, memoryBytes: Number.NaN } },
    { ...hostReport, capacity: { ...hostReport.capacity, accelerator: 'xen' } },
    { ...hostReport, incarnations: [{ ...incarnation, generation: 0 }] },
    { ...hostReport, incarnations: [{ ...incarnation, generation: 1.5 }] },
    { ...hostReport, incarnations: [{ ...incarnation, vm: 'vm' }] },
    { ...hostReport, incarnations: [{ ...incarnation, pid: '7' }] },
    { ...hostReport, incarnations: Array.from({ length: 2_001 }, () => incarnation) },
    { ...hostReport, acknowledgedNotices: Array.from({ length: 2_001 }, () => 'x') },
    { ...hostReport, acknowledgedNotices: ['x'.repeat(1_000)] },
  ];
  for (const answer of [...malformed, null, [], 'x']) await assert.rejects(askHost(answer), { code: 'bad-input' });
  const { acknowledgedNotices: _, ...older } = hostReport;
  assert.equal((await askHost(older)).acknowledgedNotices, undefined);
  await assert.rejects(askHost({ ...hostReport, host: 'h2' }), /h1 reported as h2/);
});

test('a storage node’s report is taken as it should be, and in no other form', async () => {
  assert.deepEqual(await askStorage(storageReport), storageReport);
  const older = { ...storageReport, pool: { totalBytes: 2, freeBytes: 1 } };
  assert.equal((await askStorage(older)).pool.largestFileBytes, null);
  const [disk] = storageReport.disks;
  const malformed: object[] = [
    { ...storageReport, pool: { totalBytes: -1, freeBytes: 0 } },
    { ...storageReport, pool: { ...storageReport.pool, largestFileBytes: -1 } },
    { ...storageReport, faults: [{ disk: '../x', message: 'No.' }] },
    { ...storageReport, wallMs: 'now' },
    { ...storageReport, version: 1 },
    { ...storageReport, artifacts: ['A'.repeat(64)] },
    { ...storageReport, disks: [{ ...disk, disk: 'x' }] },
    { ...storageReport, disks: [{ ...disk, grants: [{ vm: 'vm-0123456789ab', generation: -1, connections: [] }] }] },
    { ...storageReport, disks: {} },
    { ...storageReport, sharedDisks: [{ disk: 'disk-00000000000a', grants: [] }] },
  ];
  for (const answer of malformed) await assert.rejects(askStorage(answer), { code: 'bad-input' });
  await assert.rejects(askStorage({ ...storageReport, node: 's2' }), /s1 reported as s2/);
});

test('launches, kills, grants and fences that answer something else are failures', async () => {
  for (const answer of [
    {},
    { pid: 0, startTicks: '1', already: false },
    { pid: 7, startTicks: '1', already: false, listens: 'yes' },
    { killed: [0] },
    { exports: [{}] },
    { revoked: 1 },
  ]) {
    const host = createHostLink(answering(answer), { hosts });
    const node = createStorageLink(answering(answer), { storage });
    await assert.rejects(host.launch(H1, {} as never, DEADLINE), { code: 'bad-input' });
    await assert.rejects(host.kill(H1, {} as never, DEADLINE), { code: 'bad-input' });
    await assert.rejects(node.grant(S1, {} as never, DEADLINE), { code: 'bad-input' });
    await assert.rejects(node.fence(S1, {} as never, DEADLINE), { code: 'bad-input' });
  }
  const nobody = createHostLink(answering({}), { hosts: new Map() });
  await assert.rejects(nobody.report(H1, DEADLINE), { code: 'not-found' });
});

test('paths: directly, through the other control nodes, through each storage node; a relay that lies is no path', async () => {
  const controls = [
    { name: 'c1', address: '10.0.0.1' },
    { name: 'c2', address: '10.0.0.2' },
  ];
  const pathsWith = (answer: unknown) => {
    const clients = answering(answer);
    const link = createStorageLink(clients, { storage });
    return createPaths({ self: 'c1', clients, snapshot: { storage }, storage: link, controls: () => controls });
  };
  const paths = pathsWith({ outcome: 'refused', lateMs: 0 });
  const all = paths.list().map(({ name, storage: node, network }) => `${name} ${node} ${network}`);
  assert.deepEqual(all, ['direct null control', 'via c2 null control', 'via s1 s1 storage']);
  const via: Path = { name: 'via s1', control: null, storage: S1, network: 'storage' };
  const direct: Path = { name: 'direct', control: null, storage: null, network: 'control' };
  const host = hostRecord('h1');
  assert.deepEqual(await paths.probe(via, host, 500), { outcome: 'refused', lateMs: 0 });
  assert.equal((await pathsWith({ outcome: 'dead', lateMs: 0 }).probe(via, host, 500)).outcome, 'no-path');
  assert.equal((await paths.probe({ ...via, name: 'via s9' }, host, 500)).outcome, 'no-path');
  // Nothing listens on the reachability port: this machine's own kernel refuses.
  assert.equal((await paths.probe(direct, host, 2_000)).outcome, 'refused');
});
