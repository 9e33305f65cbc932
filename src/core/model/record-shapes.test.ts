import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  diskRecord,
  guestClusterRecord,
  hostRecord,
  incarnation,
  memberRecord,
  sharedDiskRecord,
  task,
  VM,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import { ClusterIndex } from './cluster-index.ts';
import { PREFIX } from './keys.ts';
import { readRecord } from './record-shapes.ts';
import type { VmRecord } from './vm.ts';

const DISK = 'disk-000000000001';
const pair = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: null };

/** A value of each kind, each under its key. */
const GOOD: readonly (readonly [key: string, value: unknown])[] = [
  [PREFIX.vm + VM, vmRecord({ kind: 'stopped' })],
  [PREFIX.vm + VM, vmRecord({ kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] })],
  [PREFIX.vm + VM, vmRecord({ kind: 'running', incarnation: incarnation(3) })],
  [PREFIX.vm + VM, vmRecord({ kind: 'migrating', deadlineAt: 0.5, ...pair })],
  [PREFIX.vm + VM, vmRecord({ kind: 'switching', ...pair })],
  [PREFIX.vm + VM, vmRecord({ kind: 'unwinding', reason: '', ...pair })],
  [`${PREFIX.vm}vm-0000000000b1`, memberRecord(1, { kind: 'stopped' })],
  [`${PREFIX.vmName}web`, VM],
  [`${PREFIX.host}h1`, hostRecord(1)],
  [`${PREFIX.storage}s1`, { name: 's1', addresses: { control: '10.0.0.1', storage: '10.1.0.1' }, joinedAt: 0 }],
  [`${PREFIX.control}c1`, { name: 'c1', address: '10.0.0.1', startedAt: 0 }],
  [`${PREFIX.release}cluster`, { release: '0.1', since: 0 }],
  [PREFIX.disk + DISK, diskRecord()],
  [`${PREFIX.diskPort}s1/30000`, DISK],
  [`${PREFIX.sharedDisk}disk-0000000000a1`, sharedDiskRecord()],
  [`${PREFIX.sharedDiskName}-/data`, DISK],
  [`${PREFIX.guestCluster}sql`, guestClusterRecord([])],
  [
    `${PREFIX.roll}roll-000000000001`,
    {
      id: 'roll-000000000001',
      hash: 'a'.repeat(64),
      ...{ state: 'running', held: null, who: 'admin', reason: null, change: 'CHG123' },
      windows: ['Sat 22:00-04:00 Europe/Berlin'],
      freezes: [{ from: 1, until: 2, reason: 'quarter end' }],
      onFailure: 'stop',
      commands: { pre: null, run: './patch.sh {host}', verify: null, preMs: 1, runMs: 2, verifyMs: 3 },
      ...{ workMs: 4, backMs: 5, maxUnavailable: 2, perRack: null, parallel: 2 },
      hosts: [
        {
          ...{ host: 'h1', wave: 0, state: 'run', since: 1, drain: 'drain-000000000001', failedAt: null, note: null },
          work: { step: 'run', by: 'gp:1', startedAt: 1, until: 2 },
          done: [{ step: 'pre', by: 'gp:1', startedAt: 1, endedAt: 2, succeeded: true, message: 'Exit status 0.' }],
        },
      ],
      ...{ taskId: 'task-000000000001', deviations: [{ at: 1, what: 'x' }], createdAt: 1, endedAt: null },
    },
  ],
  [`${PREFIX.rollPlan}roll-000000000001`, { id: 'roll-000000000001', text: '{}' }],
  [
    `${PREFIX.authority}cluster`,
    {
      ...{ id: 'cluster', version: 1, phase: 'renewing', issuing: 'b', since: 1, oldRuns: 'vm-000000000001:7' },
      authorities: [
        { id: 'a', certPem: 'x', crossPem: null, notAfter: 1 },
        { id: 'b', certPem: 'y', crossPem: 'z', notAfter: 2 },
      ],
    },
  ],
  [
    `${PREFIX.certificate}host:h1`,
    {
      id: 'host:h1',
      issued: [{ serial: '4A', notBefore: 1, notAfter: 2, authority: 'x' }],
      denied: [{ serial: '4B', notBefore: 1, notAfter: 2, authority: 'x' }],
      removed: { at: 1, by: 'admin' },
    },
  ],
  [
    `${PREFIX.drain}drain-000000000001`,
    {
      id: 'drain-000000000001',
      hosts: ['h1'],
      state: 'running',
      who: 'admin',
      reason: null,
      change: 'CHG123',
      parallel: 2,
      taskId: 'task-000000000001',
      moves: [
        {
          ...{ id: 0, vm: VM, name: 'web', from: 'h1', to: 'h2', after: [], why: 'evacuate', memoryMib: 1120 },
          ...{
            durationMs: 9000,
            pauseMs: 400,
            state: 'moving',
            taskId: 'task-000000000001',
            startedAt: 1,
            endedAt: null,
          },
          ...{ measuredPauseMs: null, failures: 0, note: null },
        },
      ],
      stuck: null,
      deviations: [{ at: 1, what: 'Planned anew.' }],
      createdAt: 1,
      endedAt: null,
    },
  ],
  [
    PREFIX.reservation + DISK,
    {
      disk: DISK,
      state: {
        generation: 1,
        registrations: [{ nexus: 'iqn.x', key: '0000000000000001', isAllTargetPorts: false }],
        reservation: { type: 5, holder: 'iqn.x' },
      },
      registeredAt: { 'iqn.x': 1 },
      reservedAt: null,
    },
  ],
  [
    `${PREFIX.image}tiny`,
    {
      name: 'tiny',
      disk: null,
      direct: { kernel: { sha256: '0'.repeat(64), sizeBytes: 1 }, initrd: null, append: '' },
      defaults: { memoryBytes: 1, vcpus: 1, blankDiskBytes: null },
      nodes: ['s1'],
      createdAt: 0,
    },
  ],
  [
    `${PREFIX.network}lan`,
    {
      ...{ name: 'lan', vni: 1, cidr: '10.9.0.0/24', gateway: '10.9.0.1', dhcp: true, nat: true, createdAt: 0 },
      reservations: { '02:00:00:00:00:01': { address: '10.9.0.2', vm: VM, hostname: 'web' } },
    },
  ],
  [`${PREFIX.networkVni}1`, 'lan'],
  [
    PREFIX.task + task(1),
    {
      ...{ id: task(1), kind: 'vm.start', target: { kind: 'vm', name: 'web' }, state: 'running' },
      ...{ progressPercent: null, message: '', startedAt: 0, endedAt: null },
    },
  ],
  [
    `${PREFIX.event}000-1`,
    { at: 0, kind: 'x', vm: VM, vmName: 'web', host: null, generation: 1, message: 'something happened' },
  ],
  [
    `${PREFIX.token}t1`,
    { id: 't1', kind: 'api', name: 'x', sha256: '0'.repeat(64), role: null, createdAt: 0, expiresAt: null },
  ],
];

const findingIn = (key: string, value: unknown): string | null => {
  const read = readRecord(
    key,
    typeof value === 'string' && value.startsWith('raw:') ? value.slice(4) : JSON.stringify(value),
  );
  return 'finding' in read ? read.finding : null;
};

test('a record of each kind is read as it is, with fields of newer versions', () => {
  for (const [key, value] of GOOD) {
    assert.equal(findingIn(key, value), null, key);
    if (typeof value === 'object') assert.equal(findingIn(key, { ...value, later: [1] }), null, key);
  }
  const covered = new Set(GOOD.map(([key]) => Object.values(PREFIX).find((prefix) => key.startsWith(prefix))));
  assert.deepEqual(
    Object.values(PREFIX).filter((prefix) => !covered.has(prefix)),
    [PREFIX.election],
  );
});

/** Every place in a JSON value, as a path. */
function placesIn(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([field, inner]) => placesIn(inner, [...path, field]))];
}

function replaced(value: unknown, path: readonly string[], by: unknown): unknown {
  const [field, ...rest] = path;
  if (field === undefined) return by;
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...(value as object) };
  const inner = replaced((copy as Record<string, unknown>)[field], rest, by);
  if (inner === undefined && !Array.isArray(copy)) delete copy[field];
  else (copy as Record<string, unknown>)[field] = inner;
  return copy;
}

const BAD = [null, true, -1, 1.5, 1e300, '', 'x'.repeat(3_000_000), [], [null], {}, { kind: 'x' }, undefined];

test('whatever stands in whatever place of a record, it is read or named, and what is read can be used', () => {
  let findings = 0;
  for (const [key, value] of GOOD) {
    for (const path of placesIn(value)) {
      for (const by of BAD) {
        if (by === undefined && path.length === 0) continue;
        const changed = replaced(value, path, by);
        const finding = findingIn(key, changed);
        if (finding !== null) findings++;
        else if (key.startsWith(PREFIX.vm)) {
          const index = new ClusterIndex();
          index.setVm(VM, changed as VmRecord);
          index.setVm(VM, null);
        }
      }
    }
  }
  assert.ok(findings > 2_000, `${findings}`);
});

test('no text throws, whatever key it stands under', () => {
  const keys = fc.oneof(
    fc.constantFrom(...GOOD.map(([key]) => key), '/gp/election/1', '/gp/future/x', '', '/gp/vm/'),
    fc.string().map((text) => PREFIX.reservation + text),
  );
  const texts = fc.oneof(fc.string(), fc.json(), fc.constantFrom('[[[[[[', '{"__proto__":null}', '\ufffd', 'null'));
  fc.assert(
    fc.property(keys, texts, (key, text) => {
      const read = readRecord(key, text);
      assert.ok('finding' in read ? read.finding.length > 0 : read.value !== null);
    }),
    { seed: 15, numRuns: 3_000 },
  );
});

test('findings name the place, the wrong name in the key, the broken invariant and the unknown kind', () => {
  const running = vmRecord({ kind: 'running', incarnation: incarnation(3) });
  const vm = (value: unknown) => findingIn(PREFIX.vm + VM, value);
  assert.equal(
    vm({ ...running, phase: { kind: 'running', incarnation: { generation: 3, host: 'h1', slot: 1_000 } } }),
    'has a fault: .phase.incarnation.slot is no whole number from 0 to 999',
  );
  assert.equal(vm({ ...running, generation: 2 }), 'has a fault: .phase names a generation above .generation');
  assert.match(
    String(vm({ ...running, phase: { kind: 'exploding' } })),
    /^has a fault: \.phase\.kind is none of stopped, /,
  );
  assert.equal(vm({ ...running, phase: { kind: 'toString' } })?.startsWith('has a fault: .phase.kind'), true);
  assert.equal(vm(null), 'is no object');
  assert.equal(findingIn(`${PREFIX.vm}vm-000000000002`, running), `says that it is "${VM}"`);
  const same = { kind: 'switching', source: incarnation(2, 1), destination: incarnation(2, 2), taskId: null };
  assert.equal(vm({ ...running, phase: same }), 'has a fault: .phase names one generation twice');
  assert.equal(findingIn('/gp/later/x', {}), 'is of no kind that this version knows');
  assert.equal(findingIn(PREFIX.vm + VM, 'raw:{'), 'is not JSON');
});
