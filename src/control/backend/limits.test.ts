/**
 * Tests each limit of the table at its boundary, through every layer that the table names. A layer that the table names
 * and this test lacks, or the reverse, fails.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TSchema } from 'typebox';
import { isLimitsDocumentCurrent } from '../../../scripts/generate-limits.ts';
import { parseLaunchOrder, parseNetworkOrder } from '../../agent/orders.ts';
import {
  AttachSharedDiskSchema,
  BulkActionSchema,
  CreateGuestClusterSchema,
  CreateSharedDiskSchema,
  type CreateVm,
  CreateVmSchema,
  PatchGuestClusterSchema,
  PlanMaintenanceSchema,
  StartRollSchema,
} from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import {
  type Generation,
  type HostName,
  parseDiskId,
  parseHostName,
  parseNetworkName,
  parseSha256,
  parseVmId,
} from '../../base/ids.ts';
import { parseApproved } from '../../core/maintenance/approved-plan.ts';
import { type ApprovedMove, type ApprovedPlan, approvedText } from '../../core/maintenance/approved-text.ts';
import { freshEstate } from '../../core/maintenance/testing/fresh-estate.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { ClusterIndex, indexOf } from '../../core/model/cluster-index.ts';
import { type ApiLimitName, type Layer, LIMITS, type Limit, type LimitName } from '../../core/model/limits.ts';
import { FIRST_EPOCH } from '../../core/model/record-shapes.ts';
import { seenHost } from '../../core/plan/testing/sample-records.ts';
import type { RequestSnapshot } from '../../core/ports/store.ts';
import { allocateAddress } from '../../core/request/addresses.ts';
import type { Basis, Observed } from '../../core/request/basis.ts';
import { beginBulk } from '../../core/request/bulk.ts';
import { demandCount, demandDirectBoot, demandFileSize, largestDiskBytes } from '../../core/request/demands.ts';
import { planDrain } from '../../core/request/drains.ts';
import { joinUnchecked } from '../../core/request/joining.ts';
import { createVm, newVmId } from '../../core/request/new-vm.ts';
import { beginSession } from '../../core/request/sessions.ts';
import { attachChanges, newSharedDisk, type Records, withDisk } from '../../core/request/shared-disk-changes.ts';
import { parseTargetState } from '../../iscsi/control-protocol.ts';
import { parseDiskOrder, parseGrantOrder, parseSharedDiskOrder } from '../../storage/orders.ts';
import { uploadSize } from '../api/handlers.ts';
import { validatorCompiler } from '../api/request-validator.ts';
import { hostRecord, networkRecord, storageRecord, vmRecord } from '../testing/records.ts';
import { seedOf } from './cloud-init.ts';

/** Throws if a layer refuses. */
type Probe = (value: number) => unknown;

const MIB = 1024 ** 2;
const compile = validatorCompiler();
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const text = (chars: number): string => 'x'.repeat(chars);
const hex = (number: number): string => number.toString(16).padStart(12, '0');
const address = (index: number): string => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
const mac = (index: number): string => `02:${hex(index).slice(2).match(/../g)?.join(':') ?? ''}`;

function api(schema: TSchema, body: unknown): void {
  const validate = compile({ schema });
  if (!validate(body)) throw new CodedError('bad-input', JSON.stringify(validate.errors?.[0]));
}

const vmBody = (more: object): void => api(CreateVmSchema, { name: 'web1', disks: [{ sizeBytes: MIB }], ...more });

const IMAGE = {
  name: 'linux',
  disk: null,
  direct: { kernel: { sha256: parseSha256('a'.repeat(64)), sizeBytes: MIB }, initrd: null, append: 'image' },
  defaults: { memoryBytes: 512 * MIB, vcpus: 1, blankDiskBytes: null },
  nodes: ['s1'],
  createdAt: 1,
} as unknown as ImageRecord;

/** Admission in a cluster with one storage node that answers, as its leader sees it. */
function admit(
  request: Partial<CreateVm>,
  more: { readonly ports?: number; readonly largestFileBytes?: number } = {},
): void {
  const entry = <T>(value: T) => ({ value, revision: 1 });
  const pool = { totalBytes: 1024 ** 4, freeBytes: 1024 ** 4, largestFileBytes: more.largestFileBytes ?? 2 ** 53 - 1 };
  const records = {
    vmNames: new Map(),
    hosts: new Map(),
    images: new Map([['linux', entry(IMAGE)]]),
    networks: new Map(many(LIMITS.vmNics.max * 16, (i) => [`n${i}`, entry({ ...networkRecord(`n${i}`), cidr: null })])),
    storage: new Map([['s1', entry(storageRecord('s1'))]]),
    epoch: FIRST_EPOCH,
    diskPorts: new Map(many(more.ports ?? 0, (i) => [`s1/${30_000 + i}`, entry('disk')])),
  } as unknown as RequestSnapshot;
  const randomHex = (bytes: number): string => text(bytes).replaceAll('x', 'ab');
  const observed = {
    observer: { see: () => assert.fail('nothing is started') },
    estate: {
      ...{ model: () => null, copy: () => null, judge: async () => [], expect: () => undefined, expected: () => [] },
      inTurn: <T>(act: () => Promise<T>) => act(),
    },
    vms: { seesRunning: () => true },
    dirtyRates: { of: () => null },
    storageObserver: { answers: () => true, isSilent: () => false, report: () => ({ pool, artifacts: [] }) },
  };
  const basis: Basis = { records, index: new ClusterIndex(), now: 1, randomHex };
  const wanted: CreateVm = { name: 'web1', start: false, disks: [{ sizeBytes: MIB }], ...request };
  const id = newVmId(basis);
  createVm(basis, observed, wanted, { id, seed: seedOf(wanted, id), node: null });
}

/** A filter that selects so many. */
function bulk(count: number): void {
  const entry = <T>(value: T) => ({ value, revision: 1 });
  const vms = new Map(many(count, (n) => [`vm-${hex(n)}`, entry(vmRecord(n))]));
  const basis = { records: { vms }, now: 5, randomHex: (bytes: number) => 'ab'.repeat(bytes) } as unknown as Basis;
  beginBulk(basis, { action: 'stop', filter: { labels: {} } });
}

/** One session more where there are some, each of another token. */
function sessions(count: number, parentOf: (n: number) => string): number {
  const session = (n: number) => ({
    id: `session-${hex(n)}`,
    kind: 'session',
    parent: parentOf(n),
    createdAt: n,
    expiresAt: 9,
  });
  const tokens = new Map(many(count - 1, (n) => [session(n).id, { value: session(n), revision: 1 }]));
  const basis = { records: { tokens }, now: 5, randomHex: text } as unknown as Basis;
  const from = { address: '', agent: '' };
  const begun = beginSession(basis, { name: 'anna', sha256: 'a'.repeat(64) }, { sha256: 'b'.repeat(64), from });
  return begun.changes.filter(({ value }) => value === null).length;
}

/** Throws where one more session of a token ends another one. */
function keptSessions(count: number): void {
  if (sessions(count, () => 'a'.repeat(64)) > 0) throw new CodedError('no-capacity', 'The oldest one ended.');
}

const pem = (kind: string): string => `-----BEGIN ${kind}-----\nAAAA\n-----END ${kind}-----\n`;
const exported = { address: '10.0.0.1', port: 30_000, name: 'g1', tlsName: 's1' };
const launchDisk = {
  disk: 'disk-0123456789ab',
  role: 'data',
  bus: 'virtio',
  readOnly: false,
  export: exported,
  patienceMs: 1,
};
const kernel = (sizeBytes: number, nodes = 1) => ({
  sha256: 'a'.repeat(64),
  sizeBytes,
  from: many(nodes, (i) => ({ node: `s${i}`, address: '10.0.0.1', port: 7444 })),
});

function launch({ machine = {}, ...more }: { readonly machine?: object; readonly [field: string]: unknown }): void {
  const order = {
    term: 1,
    vm: 'vm-0123456789ab',
    vmName: 'web1',
    generation: 1,
    slot: 0,
    incoming: false,
    machine: {
      vcpus: 1,
      memoryBytes: 512 * MIB,
      cpuModel: 'baseline',
      firmware: 'direct',
      kernel: kernel(1),
      initrd: null,
      append: null,
      ...machine,
    },
    disks: [launchDisk],
    nics: [],
    credentials: { caPem: pem('CERTIFICATE'), certPem: pem('CERTIFICATE'), keyPem: pem('PRIVATE KEY') },
    network: { revision: 1, networks: [], drop: [] },
    ...more,
  };
  parseLaunchOrder(order, '');
}

const sharedDisk = (index: number, lun = 0) => ({
  disk: `disk-${hex(index)}`,
  lun,
  address: '10.0.0.1',
  port: 3260,
  target: 'iqn.t',
  initiator: 'iqn.i',
  account: 'a',
  secret: 'abcdefghijkl',
});
const network = (peers: number) => ({
  name: 'n1',
  vni: 5000,
  peers: many(peers, address),
  gateway: null,
  nat: false,
  dhcp: null,
});
const nic = (index: number) => ({ mac: mac(index), network: 'n1', vni: 5000 });
const diskOrder = (more: object) =>
  parseDiskOrder({ term: 1, vm: 'vm-0123456789ab', sizeBytes: MIB, source: { kind: 'blank' }, ...more }, '');
const grant = (more: object) =>
  parseGrantOrder({ term: 1, vm: 'vm-0123456789ab', generation: 1, disks: [], ...more }, '');
const target = (more: object) => parseTargetState({ units: [], vms: [], ...more }, '');
const unit = (index: number) => ({ disk: `disk-${hex(index)}`, sizeBytes: MIB, blockBytes: 512 });

const NONE: Records = {
  vms: new Map(),
  hosts: new Map(),
  sharedDisks: new Map(),
  guestClusters: new Map(),
  reservations: new Map(),
} as unknown as Records;
const asked = { now: 1, task: { id: 'task-0123456789ab' } } as unknown as Parameters<typeof newSharedDisk>[3];
const shared = (index: number) => ({
  id: parseDiskId(`disk-${hex(index)}`),
  name: `d${index}`,
  node: storageRecord('s1').name,
  sizeBytes: MIB,
  blockBytes: 512 as const,
});
const sharedRecord = (index: number) => newSharedDisk(NONE, shared(index), null, asked);
const withShared = (count: number) =>
  many(count, (i) => i).reduce((vm, i) => withDisk(vm, sharedRecord(i), i), vmRecord(1));

/** Returns `count` VMs; all but the last have the disk already. */
function attach(count: number): void {
  const disk = sharedRecord(1);
  const users = many(count, (i) => withDisk(vmRecord(i), disk, 0));
  const vms = new Map(users.slice(1).map((vm) => [vm.id, { value: vm, revision: 1 }]));
  attachChanges({ ...NONE, vms } as Records, { disk, vm: vmRecord(0), lun: null }, asked);
}

function join(role: 'host' | 'storage' | 'control', others: number): void {
  const records = {
    controls: new Map(many(others, (i) => [`c${i}`, {}])),
    hosts: new Map(many(others, (i) => [`h${i}`, {}])),
    storage: new Map(many(others, (i) => [`s${i}`, { value: storageRecord(`s${i}`), revision: 1 }])),
    certificates: new Map(),
  } as unknown as RequestSnapshot;
  const joining = { role, name: 'newcomer', addresses: { control: '10.0.0.9' } };
  joinUnchecked({ records, now: 1 }, joining);
}

const seed = (field: 'userData' | 'networkConfig' | 'metaData') => ({
  API: (bytes: number) => vmBody({ cloudInit: { [field]: text(bytes) } }),
  // The same number of bytes in fewer characters: the schema counts characters.
  admission: (bytes: number) => admit({ cloudInit: { [field]: '😀'.repeat(bytes / 4) + text(bytes % 4) } }),
});
const cluster = (more: object): void => api(CreateGuestClusterSchema, { name: 'c1', members: ['a'], ...more });

/** Limits of requests and connections themselves are tested with the API server: request-limits.test.ts. */
const ROLL: ApprovedPlan = {
  maxUnavailable: 1,
  perRack: null,
  parallel: 2,
  waves: [{ hosts: [parseHostName('h1')], moves: [], durationMs: 0, pauseMs: 0 }],
};

/** The approved ways of so many VMs. */
function ways(count: number): ApprovedMove[] {
  const [from, to] = [parseHostName('h1'), parseHostName('h2')];
  return Array.from({ length: count }, (_, n) => ({
    vm: parseVmId(`vm-${hex(n)}`),
    from,
    to,
  }));
}

/** Plans to empty a host of so many VMs. */
function drain(vms: number): void {
  const capacity = { memoryBytes: 2 ** 43, vcpus: 0, accelerator: 'kvm', cpuModels: [] } as const;
  const hosts = ['h1', 'h2'].map((name) => hostRecord(name, { capacity }));
  const incarnation = { generation: 1 as Generation, host: parseHostName('h1'), slot: 0 };
  const records = many(vms, (i) => vmRecord(i, { phase: { kind: 'running', incarnation } }));
  const index = indexOf({ hosts, vms: records });
  const snapshot = {
    hosts: new Map(hosts.map((host) => [host.name, { value: host, revision: 1 }])),
    vms: new Map(records.map((vm) => [vm.id, { value: vm, revision: 1 }])),
    guestClusters: new Map(),
    drains: new Map(),
    unreadable: new Map(),
    lastReadable: new Map(),
    disksOf: () => [],
  } as unknown as RequestSnapshot;
  const seeHost = (host: HostName) => seenHost(1, { host });
  const dirtyRates = { of: () => null };
  const estate = freshEstate(() => ({ snapshot, index, seeHost }));
  const observed = { observer: { see: seeHost }, estate, dirtyRates } as unknown as Observed;
  planDrain({ records: snapshot, index, now: 1, randomHex: text }, observed, { hosts: ['h1'], who: 'admin' });
}

const PROBES: Readonly<Record<Exclude<LimitName, ApiLimitName>, Partial<Record<Layer, Probe>>>> = {
  drainMoves: {
    admission: (count) => {
      drain(count);
      parseApproved(approvedText({ ...ROLL, waves: ROLL.waves.map((wave) => ({ ...wave, moves: ways(count) })) }));
    },
  },
  bulkVms: {
    API: (count) => api(BulkActionSchema, { action: 'stop', vms: many(count, (n) => `web${n}`) }),
    admission: bulk,
  },
  sessions: { admission: (count) => sessions(count, (n) => `${hex(n)}`.repeat(6).slice(0, 64)) },
  sessionsOfToken: { admission: (count) => keptSessions(count) },
  rollPlanChars: { API: (chars) => api(StartRollSchema, { plan: text(chars), hash: 'a'.repeat(64) }) },
  rollUnavailable: {
    API: (maxUnavailable) => api(PlanMaintenanceSchema, { hosts: ['all'], maxUnavailable }),
    admission: (maxUnavailable) => parseApproved(approvedText({ ...ROLL, maxUnavailable })),
  },
  migrationPauseMs: {
    API: (pauseMsMax) => vmBody({ migrationPolicy: { slowDown: false, pauseMsMax, stop: false } }),
  },
  vmVcpus: { API: (vcpus) => vmBody({ vcpus }), agent: (vcpus) => launch({ machine: { vcpus } }) },
  vmMemoryBytes: {
    API: (memoryBytes) => vmBody({ memoryBytes }),
    agent: (memoryBytes) => launch({ machine: { memoryBytes } }),
  },
  vmDisks: {
    // The disk has a seed and UEFI variables beside it.
    admission: (all) =>
      admit({
        firmware: all < 3 ? 'bios' : 'uefi',
        ...(all < 3 ? {} : { cloudInit: {} }),
        disks: many(all < 3 ? all : all - 2, () => ({ sizeBytes: MIB })),
      }),
    agent: (all) => launch({ disks: many(all, () => launchDisk) }),
  },
  vmNics: {
    API: (cards) => vmBody({ networks: many(cards, (i) => `n${i}`) }),
    admission: (cards) => admit({ networks: many(cards, (i) => ({ network: `n${i}`, mac: mac(i) })) }),
    agent: (cards) => launch({ nics: many(cards, nic) }),
  },
  vmLabels: { API: (count) => vmBody({ labels: Object.fromEntries(many(count, (i) => [`k${i}`, ''])) }) },
  labelKeyChars: { API: (chars) => vmBody({ labels: { [text(chars)]: '' } }) },
  labelValueChars: { API: (chars) => vmBody({ labels: { key: text(chars) } }) },
  patienceMs: {
    API: (storagePatienceMs) => vmBody({ storagePatienceMs }),
    agent: (patienceMs) => launch({ disks: [{ ...launchDisk, patienceMs }] }),
  },
  kernelAppendBytes: {
    API: (bytes) => vmBody({ append: text(bytes) }),
    admission: (bytes) => admit({ image: 'linux', append: bytes < 7 ? '' : text(bytes - 'image '.length) }),
    agent: (bytes) => launch({ machine: { append: 'é'.repeat(bytes / 2) + text(bytes % 2) } }),
  },
  directBootBytes: {
    API: (bytes) => uploadSize('kernel', { 'content-length': String(bytes) }),
    admission: (bytes) => demandDirectBoot({ kernelBytes: 1, initrdBytes: bytes - 1 }),
    storage: (bytes) => demandFileSize('initrd', bytes),
    agent: (bytes) => launch({ machine: bytes < 2 ? {} : { kernel: kernel(1), initrd: kernel(bytes - 1) } }),
  },
  userDataBytes: seed('userData'),
  networkConfigBytes: seed('networkConfig'),
  metaDataBytes: seed('metaData'),
  seedBytes: {
    storage: (bytes) => demandFileSize('seed', bytes),
  },
  diskBytes: {
    API: (sizeBytes) => {
      vmBody({ disks: [{ sizeBytes }] });
      api(CreateSharedDiskSchema, { name: 'd1', sizeBytes });
    },
    admission: (sizeBytes) => admit({ disks: [{ sizeBytes }] }),
    storage: (sizeBytes) => {
      diskOrder({ sizeBytes });
      parseSharedDiskOrder({ term: 1, sizeBytes, blockBytes: 512 }, '');
    },
  },
  disksPerNode: {
    admission: (all) => admit({}, { ports: all - 1 }),
    storage: (all) =>
      grant({ disks: [{ disk: 'disk-0123456789ab', port: 30_000 + Math.max(0, all - 1), readOnly: false }] }),
  },
  vmSharedDisks: {
    admission: withShared,
    agent: (count) => launch({ sharedDisks: many(count, (i) => sharedDisk(i)) }),
    storage: (count) => grant({ sharedDisks: many(count, (i) => ({ disk: `disk-${hex(i)}`, lun: 0 })) }),
  },
  sharedDiskLun: {
    API: (lun) => api(AttachSharedDiskSchema, { vm: 'a', lun }),
    agent: (lun) => launch({ sharedDisks: [sharedDisk(1, lun)] }),
    storage: (lun) => grant({ sharedDisks: [{ disk: 'disk-0123456789ab', lun }] }),
    target: (lun) =>
      target({ vms: [{ vm: 'vm-0123456789ab', generations: [1], luns: [{ disk: 'disk-0123456789ab', lun }] }] }),
  },
  sharedDiskUsers: {
    API: (count) => cluster({ members: many(Math.max(1, count), (i) => `vm${i}`) }),
    admission: attach,
  },
  sharedDisksPerNode: {
    admission: (all) => {
      const records = many(all - 1, (i) => ({ value: { ...sharedRecord(0), name: `x${i}` }, revision: 1 }));
      newSharedDisk({ ...NONE, sharedDisks: new Map(records.entries()) } as unknown as Records, shared(1), null, asked);
    },
    target: (all) => target({ units: many(all, unit) }),
  },
  newClusterDisks: {
    API: (count) => cluster({ sharedDisks: many(count, (i) => ({ name: `d${i}`, sizeBytes: MIB })) }),
  },
  heartbeatNetworks: { API: (count) => cluster({ heartbeatNetworks: many(count, (i) => `n${i}`) }) },
  toleratesMs: { API: (toleratesMs) => cluster({ toleratesMs }) },
  noticeMs: { API: (noticeMs) => api(PatchGuestClusterSchema, { noticeMs }) },
  readyCheckChars: {
    API: (count) => api(PatchGuestClusterSchema, { readyCheck: { command: 'x'.repeat(count), withinMs: 60_000 } }),
  },
  readyCheckMs: { API: (withinMs) => api(PatchGuestClusterSchema, { readyCheck: { command: 'true', withinMs } }) },
  quietWindows: { API: (count) => api(PatchGuestClusterSchema, { quiet: many(count, () => 'Sat 08:00-18:00 UTC') }) },
  fileBytes: {
    API: (bytes) => uploadSize('disk', { 'content-length': String(bytes) }),
    storage: (bytes) => demandFileSize('disk-raw', bytes),
  },
  images: { admission: (all) => demandCount(all - 1, LIMITS.images) },
  networks: {
    admission: (all) => demandCount(all - 1, LIMITS.networks),
    agent: (all) => parseNetworkOrder({ term: 1, revision: 1, networks: many(all, () => network(0)), drop: [] }, ''),
  },
  networkAddresses: {
    admission: (all) => {
      const reserved = many(all - 1, (i) => [
        mac(i),
        { address: address(i + 100_000), vm: parseVmId('vm-0123456789ab'), hostname: 'x' },
      ]);
      allocateAddress({ ...networkRecord('n1'), cidr: '10.0.0.0/8', reservations: Object.fromEntries(reserved) }, null);
    },
  },
  nameChars: { API: (chars) => vmBody({ name: text(chars) }), admission: (chars) => parseNetworkName(text(chars)) },
  hosts: {
    join: (all) => join('host', all - 1),
    agent: (all) => parseNetworkOrder({ term: 1, revision: 1, networks: [network(all)], drop: many(all, address) }, ''),
  },
  controlNodes: { join: (all) => join('control', all - 1) },
  storageNodes: {
    join: (all) => join('storage', all - 1),
    agent: (all) => launch({ machine: { kernel: kernel(1, all) } }),
  },
  vmsPerHost: { agent: (all) => launch({ slot: Math.max(0, all - 1) }) },
};

function refused(probe: Probe, value: number): boolean {
  try {
    probe(value);
    return false;
  } catch (error) {
    assert(error instanceof CodedError, `${value}: ${String(error)}`);
    assert(
      ['bad-input', 'no-capacity', 'conflict', 'too-large'].includes(error.code),
      `${error.code}: ${error.message}`,
    );
    return true;
  }
}

for (const [name, probes] of Object.entries(PROBES)) {
  const limit: Limit = LIMITS[name as keyof typeof PROBES];
  test(`${name}: ${limit.refusedBy.join(', ')} take ${limit.min} and ${limit.max}, and no more`, () => {
    assert.deepEqual(Object.keys(probes).sort(), [...limit.refusedBy].sort());
    const { min, max, step = 1 } = limit;
    for (const [layer, probe] of Object.entries(probes)) {
      for (const fits of [max, max - step, Math.max(min, 1)]) assert(!refused(probe, fits), `${layer} refuses ${fits}`);
      for (const beyond of [max + step, max * (limit.unit === 'bytes' ? 16 : 3)])
        assert(refused(probe, beyond), `${layer} takes ${beyond}`);
    }
  });
}

test('a step of a limit is checked too: a disk of half a sector, memory of half a MiB', () => {
  for (const probe of [PROBES.diskBytes.API, PROBES.vmMemoryBytes.API, PROBES.vmMemoryBytes.agent])
    assert(refused(probe as Probe, 512 * MIB + 256));
});

test('a disk is as large as the largest file of its pool allows, with room for the tables of qcow2', () => {
  const ext4 = 16 * 1024 ** 4 - 4096;
  const most = largestDiskBytes({ largestFileBytes: ext4 }, 'qcow2');
  assert.equal(largestDiskBytes({ largestFileBytes: ext4 }, 'raw'), ext4);
  // Each cluster of 64 KiB has 8 bytes in an L2 table and 2 in a refcount block.
  assert(most + (most / 65_536) * 10 + MIB / 2 < ext4 && most > 0.999 * ext4);
  admit({ disks: [{ sizeBytes: most }] }, { largestFileBytes: ext4 });
  for (const sizeBytes of [most + 512, 20 * 1024 ** 4])
    assert.throws(
      () => admit({ disks: [{ sizeBytes }] }, { largestFileBytes: ext4 }),
      /s1 has disks of at most \d+ bytes/,
    );
  assert.equal(largestDiskBytes({}, 'raw') < 16 * 1024 ** 4, true);
});

test('docs/operating/limits.md is what the table says', async () => {
  assert(await isLimitsDocumentCurrent(), 'run: node scripts/generate-limits.ts');
});
