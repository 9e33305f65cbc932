/**
 * Validates values from etcd before other code uses them: one shape for each kind of key. Values are written by every
 * control node, by storage nodes (reservations), by other versions, and by people with etcdctl.
 *
 * Guarantees: a value that `readRecord` returns as `value` has every field that this version reads, with the right type
 * and within the bounds that other code relies on, and its name matches its key; unknown fields of newer versions are
 * accepted. Nothing is copied and nothing throws: a finding is a sentence for people. Checking a VM's record costs some
 * microseconds besides its JSON.parse.
 */
import { EPOCH_MAX, epochOf } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import { type Generation, isName, type VmId } from '../../base/ids.ts';
import type { IssuedCertificate } from '../../base/machine-identity.ts';
import { own } from '../../base/own.ts';
import { RESERVATION_TYPE } from '../scsi/reservations.ts';
import type { AuthoritiesRecord, AuthorityEntry } from './authorities.ts';
import type { CertificateRecord } from './certificate.ts';
import {
  BULK_ACTIONS,
  type BulkWork,
  type ControlRecord,
  type DiskRecord,
  type EpochRecord,
  type EventRecord,
  type HostRecord,
  type ImageRecord,
  type NetworkRecord,
  type StorageRecord,
  type TaskRecord,
  type TokenRecord,
} from './cluster.ts';
import type { ReleaseRecord } from './cluster-release.ts';
import type { Debt } from './debt.ts';
import type { DrainMove, DrainRecord, TouchedGuestCluster } from './drain.ts';
import type { GuestClusterRecord, ReadyCheck, ReservationRecord, SharedDiskRecord } from './guest-cluster.ts';
import { EPOCH_KEY, EPOCH_PORTS_KEY, EPOCH_VMS_KEY, PREFIX, prefixOf } from './keys.ts';
import type { MoveNotice } from './move-notice.ts';
import { SLOTS_PER_HOST } from './ports.ts';
import type { RollHost, RollPlanRecord, RollRecord } from './roll.ts';
import { expectedIncarnations, type VmNic, type VmRecord, type VmSpec } from './vm.ts';

/** Returns what is wrong with a value (`.phase.kind is none of …`), or null. */
type Shape = (value: unknown) => string | null;

/** The largest value, in bytes: etcd accepts requests of 1.5 MiB unless it is configured otherwise. */
const CHARS_MAX = 2 * 1024 * 1024;
const ITEMS_MAX = 10_000;
const WORD_CHARS_MAX = 300;

const text =
  (charsMax: number): Shape =>
  (value) =>
    typeof value !== 'string' ? ' is no string' : value.length > charsMax ? ` is longer than ${charsMax}` : null;
const word = text(WORD_CHARS_MAX);
const prose = text(CHARS_MAX);
const matches =
  (pattern: RegExp, what: string): Shape =>
  (value) =>
    typeof value === 'string' && pattern.test(value) ? null : ` is no ${what}`;
const vmId = matches(/^vm-[0-9a-f]{12}$/, 'VM id');
const diskId = matches(/^disk-[0-9a-f]{12}$/, 'disk id');
const taskId = matches(/^task-[0-9a-f]{12}$/, 'task id');
const drainId = matches(/^drain-[0-9a-f]{12}$/, 'drain id');
const rollId = matches(/^roll-[0-9a-f]{12}$/, 'roll id');
const sha256 = matches(/^[0-9a-f]{64}$/, 'SHA-256');
const name: Shape = (value) => (typeof value === 'string' && isName(value) ? null : ' is no name');
const boolean: Shape = (value) => (typeof value === 'boolean' ? null : ' is neither true nor false');
const isTrue: Shape = (value) => (value === true ? null : ' is not true');
/** A time or a duration in ms; clocks may return fractions. */
const finite: Shape = (value) => (typeof value === 'number' && Number.isFinite(value) ? null : ' is no number');
const integer =
  (min: number, max: number = Number.MAX_SAFE_INTEGER): Shape =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? null
      : ` is no whole number from ${min} to ${max}`;
const count = integer(0);
const generation = integer(1);
const oneOf = (...allowed: readonly (string | number)[]): Shape => {
  const known = new Set<unknown>(allowed);
  return (value) => (known.has(value) ? null : ` is none of ${allowed.join(', ')}`);
};
const nullable =
  (inner: Shape): Shape =>
  (value) =>
    value === null ? null : inner(value);
/** A field that may be absent. */
const maybe =
  (inner: Shape): Shape =>
  (value) =>
    value === undefined ? null : inner(value);
const readOnly = maybe(oneOf('always', 'if-held'));

function listOf(inner: Shape): Shape {
  return (value) => {
    if (!Array.isArray(value)) return ' is no list';
    if (value.length > ITEMS_MAX) return ` has more than ${ITEMS_MAX} items`;
    for (let index = 0; index < value.length; index++) {
      const finding = inner(value[index]);
      if (finding !== null) return `[${index}]${finding}`;
    }
    return null;
  };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An object with these fields; `T` is a record's type, and the shape must list every field of it. */
function fields<T = Record<string, unknown>>(shapes: { readonly [Field in keyof Required<T>]: Shape }): Shape {
  const entries = Object.entries<Shape>(shapes);
  return (value) => {
    if (!isObject(value)) return ' is no object';
    for (const [field, shape] of entries) {
      const finding = shape(Object.hasOwn(value, field) ? value[field] : undefined);
      if (finding !== null) return `.${field}${finding}`;
    }
    return null;
  };
}

/** An object whose keys are chosen by users or other processes. */
function mapOf(inner: Shape): Shape {
  return (value) => {
    if (!isObject(value)) return ' is no object';
    for (const key of Object.keys(value)) {
      const finding = inner(value[key]);
      if (finding !== null) return `[${JSON.stringify(key.slice(0, 60))}]${finding}`;
    }
    return null;
  };
}

/** A union that is discriminated by its field `by`. */
function byField(by: string, members: Readonly<Record<string, Shape>>): Shape {
  const kindOf = oneOf(...Object.keys(members));
  return (value) => {
    if (!isObject(value)) return ' is no object';
    const kind = Object.hasOwn(value, by) ? value[by] : undefined;
    const finding = kindOf(kind);
    return finding === null ? (own(members, kind as string)?.(value) ?? null) : `.${by}${finding}`;
  };
}

const incarnation = fields({ generation, host: name, slot: integer(0, SLOTS_PER_HOST - 1) });
const pair = { source: incarnation, destination: incarnation, taskId: nullable(taskId) };
const phase = byField('kind', {
  stopped: () => null,
  starting: fields({ incarnation, reason: word, avoid: listOf(name) }),
  running: fields({ incarnation }),
  stopping: fields({ incarnation, mode: oneOf('acpi', 'hard'), deadlineAt: finite, reason: word }),
  migrating: fields({ ...pair, deadlineAt: finite }),
  switching: fields({ ...pair, pausedMs: maybe(finite) }),
  unwinding: fields({ ...pair, reason: prose, cancelled: maybe(isTrue) }),
});
const boot = byField('firmware', {
  bios: () => null,
  uefi: () => null,
  direct: fields({ kernel: sha256, kernelBytes: count, initrd: nullable(sha256), initrdBytes: count, append: prose }),
});
const cards = listOf(fields<VmNic>({ network: name, mac: word, address: nullable(word) }));
const spec = fields<VmSpec>({
  vcpus: integer(1, 65_536),
  memoryBytes: integer(1),
  cpuModel: word,
  boot,
  disks: listOf(fields({ disk: diskId, role: oneOf('data', 'seed', 'nvram'), bus: oneOf('virtio', 'scsi') })),
  nics: cards,
  restartPolicy: oneOf('always', 'on-failure', 'never'),
  labels: mapOf(prose),
  image: nullable(name),
  storagePatienceMs: finite,
  antiAffinity: maybe(nullable(word)),
  sharedDisks: maybe(
    listOf(fields({ disk: diskId, lun: integer(0, 255), joining: maybe(isTrue), leaving: maybe(isTrue) })),
  ),
  migrationPolicy: maybe(fields({ slowDown: boolean, pauseMsMax: nullable(finite), stop: boolean })),
  guestCluster: maybe(nullable(name)),
  display: maybe(oneOf('vga')),
  pin: maybe(nullable(name)),
  guestAgent: maybe(isTrue),
});
const debts = maybe(
  listOf(
    fields<Debt>({
      id: word,
      kind: oneOf('pin', 'cpu-model', 'guest-cluster', 'room'),
      what: prose,
      owner: prose,
      reason: prose,
      until: finite,
      by: word,
      since: finite,
      broke: listOf(fields({ host: name, question: oneOf('drain', 'loss') })),
      toldDue: maybe(isTrue),
    }),
  ),
);
const vmFields = fields<VmRecord>({
  id: vmId,
  name,
  spec,
  intent: oneOf('running', 'suspended', 'stopped'),
  generation: count,
  phase,
  migrationRequest: nullable(fields({ to: nullable(name), taskId, askedAt: maybe(finite) })),
  stopRequest: nullable(fields({ mode: oneOf('acpi', 'hard'), patienceMs: finite, taskId })),
  resetRequest: nullable(fields({ taskId })),
  startTask: nullable(taskId),
  ...{ cancelRequest: maybe(nullable(fields({ taskId }))), pauseTask: maybe(nullable(taskId)) },
  deleting: boolean,
  ...{ restored: maybe(integer(1)), nextNics: maybe(cards) },
  pausesMs: maybe(listOf(finite)),
  notice: maybe(
    fields<MoveNotice>({
      number: integer(1),
      state: oneOf('scheduled', 'started', 'over'),
      forMs: finite,
      givenAt: finite,
      ended: nullable(oneOf('acknowledged', 'time', 'withdrawn')),
    }),
  ),
  settling: maybe(fields({ registered: listOf(diskId) })),
  seenHealthy: maybe(oneOf('by-check', 'by-keys', 'no')),
  unfenced: maybe(listOf(name)),
  failures: nullable(fields({ count, lastAt: finite, message: prose })),
  debts,
  createdAt: finite,
  phaseSince: finite,
});

/**
 * Checks the invariants that one record alone can violate (docs/specs/generations.md): G2, and that two incarnations
 * have two generations.
 */
const vm: Shape = (value) => {
  const finding = vmFields(value);
  if (finding !== null) return finding;
  const record = value as VmRecord;
  const generations = expectedIncarnations(record.phase).map((each) => each.generation);
  if (generations.some((each) => each > record.generation)) return '.phase names a generation above .generation';
  return new Set(generations).size < generations.length ? '.phase names one generation twice' : null;
};

const addresses = { control: word, storage: word };
const artifact = { sha256, sizeBytes: count };
const tasks = maybe(listOf(taskId));
const reservationType = oneOf(...Object.values(RESERVATION_TYPE));

interface Kind {
  readonly shape: Shape;
  /** The field that repeats the rest of the key; null if no field does. */
  readonly named: string | null;
}
const kind = (named: string | null, shape: Shape): Kind => ({ shape, named });

const drainMove = fields<DrainMove>({
  id: count,
  vm: vmId,
  name: word,
  from: name,
  to: name,
  after: listOf(count),
  why: oneOf('evacuate', 'make-room', 'by-way', 'return'),
  memoryMib: count,
  durationMs: finite,
  pauseMs: finite,
  state: oneOf('waiting', 'moving', 'moved', 'gone'),
  taskId: nullable(taskId),
  startedAt: nullable(finite),
  endedAt: nullable(finite),
  measuredPauseMs: nullable(finite),
  failures: count,
  note: nullable(prose),
  dirtyMibPerSecond: maybe(nullable(finite)),
  remedy: maybe(nullable(oneOf('slow-down', 'longer-pause', 'stop'))),
  restarted: maybe(isTrue),
  health: maybe(oneOf('awaited', 'by-check', 'by-keys', 'no')),
});

const nodeMaintenance = maybe(
  fields({
    ...{ since: finite, who: prose, reason: nullable(prose), change: maybe(nullable(word)) },
    isConfirmed: maybe(isTrue),
  }),
);
const rollStep = oneOf('pre', 'run', 'verify');
const rollHostState = oneOf(
  ...['waiting', 'pre', 'ready', 'draining', 'run', 'back', 'verify', 'done', 'failed', 'skipped'],
);
const issuedCertificate = fields<IssuedCertificate>({
  serial: word,
  notBefore: finite,
  notAfter: finite,
  authority: word,
});
const rollHost = fields<RollHost>({
  host: name,
  wave: count,
  state: rollHostState,
  since: finite,
  drain: nullable(drainId),
  work: nullable(fields({ step: rollStep, by: word, startedAt: finite, until: finite })),
  done: listOf(
    fields({ step: rollStep, by: word, startedAt: finite, endedAt: finite, succeeded: boolean, message: prose }),
  ),
  failedAt: nullable(rollHostState),
  note: nullable(prose),
});
const command = nullable(prose);

const KINDS: ReadonlyMap<string, Kind> = new Map(
  Object.entries({
    vm: kind('id', vm),
    vmName: kind(null, vmId),
    host: kind(
      'name',
      fields<HostRecord>({
        name,
        addresses: fields({ ...addresses, overlay: word }),
        capacity: fields({
          memoryBytes: count,
          vcpus: count,
          accelerator: oneOf('kvm', 'tcg'),
          cpuModels: listOf(word),
        }),
        release: maybe(fields({ agent: prose, qemu: nullable(prose) })),
        rack: maybe(nullable(name)),
        cordoned: boolean,
        quarantine: nullable(fields({ since: finite, reason: prose })),
        maintenance: maybe(
          nullable(fields({ drain: drainId, since: finite, reason: nullable(prose), isEmpty: maybe(isTrue) })),
        ),
        lost: maybe(fields({ at: finite, by: prose })),
        joinedAt: finite,
      }),
    ),
    storage: kind(
      'name',
      fields<StorageRecord>({
        name,
        addresses: fields(addresses),
        joinedAt: finite,
        lost: maybe(fields({ at: finite, by: prose })),
        leaving: maybe(isTrue),
        maintenance: nodeMaintenance,
      }),
    ),
    control: kind(
      'name',
      fields<ControlRecord>({
        ...{ name, address: word, startedAt: finite, maintenance: nodeMaintenance },
        version: maybe(word),
      }),
    ),
    release: kind(null, fields<ReleaseRecord>({ release: matches(/^\d{1,5}\.\d{1,5}$/, 'release'), since: finite })),
    disk: kind(
      'id',
      fields<DiskRecord>({
        id: diskId,
        vm: vmId,
        node: name,
        port: integer(1, 65_535),
        sizeBytes: count,
        source: byField('kind', {
          blank: () => null,
          image: fields({ artifact: sha256, format: oneOf('qcow2', 'raw') }),
          content: fields({ artifact: sha256 }),
          nvram: () => null,
        }),
        phase: oneOf('creating', 'ready', 'deleting'),
        missing: maybe(isTrue),
      }),
    ),
    diskPort: kind(null, diskId),
    sharedDisk: kind(
      'id',
      fields<SharedDiskRecord>({
        id: diskId,
        name: word,
        node: name,
        sizeBytes: count,
        sizeBefore: maybe(count),
        blockBytes: oneOf(512, 4096),
        phase: oneOf('creating', 'ready', 'deleting'),
        guestCluster: nullable(name),
        tasks,
        reported: maybe(listOf(vmId)),
        createdAt: finite,
      }),
    ),
    sharedDiskName: kind(null, diskId),
    guestCluster: kind(
      'name',
      fields<GuestClusterRecord>({
        name,
        members: listOf(vmId),
        disks: listOf(diskId),
        heartbeatNetworks: listOf(name),
        maxDisturbed: integer(1),
        toleratesMs: finite,
        noticeMs: maybe(finite),
        readyCheck: maybe(fields<ReadyCheck>({ command: prose, withinMs: finite })),
        quiet: maybe(listOf(word)),
        sharesHosts: boolean,
        deleting: maybe(isTrue),
        tasks,
        debts,
        createdAt: finite,
      }),
    ),
    drain: kind(
      'id',
      fields<DrainRecord>({
        id: drainId,
        hosts: listOf(name),
        home: maybe(name),
        by: maybe(nullable(finite)),
        state: oneOf('running', 'paused', 'cancelling', 'drained', 'returned', 'cancelled'),
        who: word,
        reason: nullable(prose),
        roll: maybe(nullable(rollId)),
        change: nullable(word),
        quietOverride: maybe(fields({ owner: word, reason: prose })),
        parallel: integer(1),
        taskId,
        moves: listOf(drainMove),
        stuck: nullable(prose),
        waits: maybe(nullable(fields({ what: prose, since: finite, forVm: boolean }))),
        deviations: listOf(fields({ at: finite, what: prose })),
        guestClusters: maybe(
          listOf(
            fields<TouchedGuestCluster>({
              ...{ name, members: listOf(word), maxDisturbed: count, movedAtOnce: count, toleratesMs: finite },
              ...{ longestPauseMs: nullable(finite), restarted: listOf(word) },
            }),
          ),
        ),
        createdAt: finite,
        endedAt: nullable(finite),
      }),
    ),
    roll: kind(
      'id',
      fields<RollRecord>({
        id: rollId,
        hash: sha256,
        state: oneOf('running', 'paused', 'aborting', 'completed', 'aborted'),
        held: nullable(prose),
        who: word,
        reason: nullable(prose),
        change: nullable(word),
        quietOverride: maybe(fields({ owner: word, reason: prose })),
        windows: listOf(word),
        freezes: listOf(fields({ from: finite, until: finite, reason: prose })),
        onFailure: oneOf('stop', 'continue'),
        commands: fields({
          ...{ pre: command, run: command, verify: command },
          ...{ preMs: finite, runMs: finite, verifyMs: finite },
        }),
        workMs: finite,
        backMs: finite,
        maxUnavailable: integer(1),
        perRack: nullable(integer(1)),
        parallel: integer(1),
        hosts: listOf(rollHost),
        taskId,
        deviations: listOf(fields({ at: finite, what: prose })),
        createdAt: finite,
        endedAt: nullable(finite),
      }),
    ),
    rollPlan: kind('id', fields<RollPlanRecord>({ id: rollId, text: prose })),
    authority: kind(
      'id',
      fields<AuthoritiesRecord>({
        id: word,
        version: count,
        phase: oneOf('steady', 'trusting', 'renewing'),
        issuing: word,
        authorities: listOf(
          fields<AuthorityEntry>({ id: word, certPem: prose, crossPem: nullable(prose), notAfter: finite }),
        ),
        since: finite,
        oldRuns: nullable(prose),
      }),
    ),
    certificate: kind(
      'id',
      fields<CertificateRecord>({
        id: word,
        issued: listOf(issuedCertificate),
        denied: listOf(issuedCertificate),
        removed: nullable(fields({ at: finite, by: word, tunnel: maybe(word) })),
      }),
    ),
    reservation: kind(
      'disk',
      fields<ReservationRecord>({
        disk: diskId,
        state: fields({
          generation: integer(0, 0xffffffff),
          registrations: listOf(
            fields({ nexus: word, key: matches(/^[0-9a-f]{16}$/, 'reservation key'), isAllTargetPorts: boolean }),
          ),
          reservation: nullable(fields({ type: reservationType, holder: nullable(word) })),
        }),
        registeredAt: mapOf(finite),
        reservedAt: nullable(finite),
      }),
    ),
    image: kind(
      'name',
      fields<ImageRecord>({
        name,
        disk: nullable(fields({ ...artifact, format: oneOf('qcow2', 'raw'), virtualSizeBytes: count })),
        direct: nullable(fields({ kernel: fields(artifact), initrd: nullable(fields(artifact)), append: prose })),
        defaults: fields({ memoryBytes: count, vcpus: count, blankDiskBytes: nullable(count) }),
        minMemoryBytes: maybe(count),
        nodes: listOf(name),
        createdAt: finite,
      }),
    ),
    network: kind(
      'name',
      fields<NetworkRecord>({
        name,
        vni: integer(1, 0xffffff),
        cidr: nullable(word),
        gateway: nullable(word),
        dhcp: boolean,
        nat: boolean,
        metadata: maybe(boolean),
        reservations: mapOf(fields({ address: word, vm: vmId, hostname: word })),
        createdAt: finite,
      }),
    ),
    networkVni: kind(null, name),
    task: kind(
      'id',
      fields<TaskRecord>({
        id: taskId,
        kind: word,
        target: fields({
          kind: oneOf('vm', 'vms', 'image', 'host', 'network', 'guest-cluster', 'shared-disk', 'drain', 'roll'),
          name: word,
        }),
        state: oneOf('running', 'succeeded', 'failed', 'cancelled'),
        progressPercent: nullable(finite),
        message: prose,
        startedAt: finite,
        endedAt: nullable(finite),
        parent: maybe(taskId),
        bulk: maybe(
          fields<BulkWork>({
            action: oneOf(...BULK_ACTIONS),
            mode: maybe(oneOf('acpi', 'hard')),
            patienceMs: maybe(finite),
            to: maybe(name),
            accept: maybe(fields({ owner: prose, reason: prose, until: finite, by: word })),
            items: listOf(
              fields({
                vm: vmId,
                name,
                state: oneOf('waiting', 'running', 'succeeded', 'failed', 'cancelled'),
                task: nullable(taskId),
                message: prose,
              }),
            ),
          }),
        ),
      }),
    ),
    event: kind(
      null,
      fields<EventRecord>({
        at: finite,
        kind: word,
        vm: nullable(vmId),
        vmName: nullable(word),
        host: nullable(name),
        generation: nullable(count),
        message: prose,
      }),
    ),
    token: kind(
      'id',
      fields<TokenRecord>({
        id: word,
        kind: oneOf('api', 'join', 'link', 'session', 'ticket'),
        name: word,
        sha256,
        role: nullable(oneOf('host', 'storage', 'control')),
        also: maybe(listOf(oneOf('host', 'storage', 'control'))),
        createdAt: finite,
        expiresAt: nullable(finite),
        mayBackUp: maybe(isTrue),
        parent: maybe(sha256),
        from: maybe(fields({ address: word, agent: word })),
        opens: maybe(fields({ vm: vmId, console: oneOf('serial', 'vnc'), takeOver: boolean, readOnly })),
      }),
    ),
  } satisfies Omit<Record<keyof typeof PREFIX, Kind>, 'election'>).map(([of, each]) => [
    PREFIX[of as keyof typeof PREFIX],
    each,
  ]),
);

/** Result of reading a record: its value, or a finding, as the rest of a sentence that begins with the key. */
export type ReadRecord = { readonly value: unknown } | { readonly finding: string };

const epoch = fields<EpochRecord>({
  number: integer(1, EPOCH_MAX),
  id: matches(/^[0-9a-f]{16}$/, 'epoch id'),
  restoredAt: finite,
  snapshotRevision: count,
});

/** Reads the value at EPOCH_KEY. CodedError 'failed': it cannot be read, and no decision may be made. */
export function readEpoch(json: string): EpochRecord {
  let value: unknown = null;
  try {
    value = JSON.parse(json.slice(0, CHARS_MAX));
  } catch {
    // A value that is not JSON is no epoch.
  }
  const finding = epoch(value);
  if (finding === null) return value as EpochRecord;
  throw new CodedError('failed', `The value in etcd is not a valid epoch: it${finding}.`, {
    advice: 'Nothing was done. Restore the cluster from a snapshot (docs/operating/backup.md).',
  });
}

/** A cluster's epoch: its number and own name, and the VMs that the snapshot knew. */
export interface Epoch {
  readonly number: number;
  /** Empty for epoch 0. */
  readonly id: string;
  readonly vms: ReadonlySet<VmId>;
  /** Ports (`NODE/PORT`) of disks that the snapshot did not know: no disk is put there. */
  readonly ports: ReadonlySet<string>;
}

/** The epoch of a cluster that was never restored. */
export const FIRST_EPOCH: Epoch = { number: 0, id: '', vms: new Set(), ports: new Set() };

/** Reads the values under EPOCH_PREFIX. CodedError 'failed': they cannot be read, and no decision may be made. */
export function epochFrom(entries: Iterable<Readonly<Record<'key' | 'value', string>>>): Epoch {
  let record: EpochRecord | null = null;
  let vms: readonly string[] = [];
  let ports: readonly string[] = [];
  for (const { key, value } of entries) {
    if (key === EPOCH_KEY) record = readEpoch(value);
    if (key === EPOCH_VMS_KEY) vms = readList(key, value, vmId);
    if (key === EPOCH_PORTS_KEY) ports = readList(key, value, word);
  }
  if (record === null) return FIRST_EPOCH;
  return { number: record.number, id: record.id, vms: new Set(vms as VmId[]), ports: new Set(ports) };
}

/**
 * Returns true for an incarnation that was made after the snapshot from which the cluster was restored, and whose VM no
 * record names: only a person decides about it.
 */
export function isForgotten(epoch: Epoch, vm: VmId, generation: Generation): boolean {
  return epochOf(generation) < epoch.number && !epoch.vms.has(vm);
}

function readList(key: string, json: string, each: Shape): readonly string[] {
  let value: unknown = null;
  try {
    value = JSON.parse(json);
  } catch {
    // A value that is not JSON is no list either.
  }
  if (Array.isArray(value) && value.every((one) => each(one) === null)) return value as readonly string[];
  throw new CodedError('failed', `What etcd holds at ${key} is not a valid list.`, {
    advice: 'Nothing was done. Restore the cluster from a snapshot (docs/operating/backup.md).',
  });
}

/** Reads the value that etcd holds at `key`. A key outside `PREFIX` (the election's keys, for example) is a finding. */
export function readRecord(key: string, json: string): ReadRecord {
  const prefix = prefixOf(key);
  const found = KINDS.get(prefix);
  if (found === undefined) return { finding: 'is of no kind that this version knows' };
  const { shape, named } = found;
  if (json.length > CHARS_MAX) return { finding: `has more than ${CHARS_MAX} characters` };
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return { finding: 'is not JSON' };
  }
  const finding = shape(value);
  if (finding !== null) return { finding: finding.startsWith(' ') ? finding.slice(1) : `has a fault: ${finding}` };
  const says = named === null ? null : (value as Readonly<Record<string, unknown>>)[named];
  if (says !== null && says !== key.slice(prefix.length)) return { finding: `says that it is ${JSON.stringify(says)}` };
  return { value };
}
