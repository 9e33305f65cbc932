/** What the API answers with. Each schema that has a `title` is a component of the OpenAPI document. */
import { Type } from 'typebox';
import type { ObjectKind } from '../core/model/keys.ts';
import { BackupStateSchema } from './backup-views.ts';
import { FirmwareSchema, nullable, oneOf, Rack, RestartPolicySchema, strict, type View } from './common.ts';
import { ClusterEvacuabilitySchema, HostEvacuabilitySchema } from './evacuability-views.ts';
import { ExplanationSchema } from './explanation.ts';
import { ToAcceptSchema } from './ties.ts';

const text = Type.String();
const bytes = Type.Integer({ minimum: 0 });
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });
const revision = Type.String({ description: 'revision of the object in the store; send it back as If-Match' });
const ageMs = nullable(Type.Integer({ minimum: 0, description: 'milliseconds since it was observed; null: never' }));

export const VERDICTS = [
  'starting',
  'running',
  'suspended',
  'paused',
  'migrating',
  'stopping',
  'stopped',
  'crashed',
  'lost',
  'fenced',
  'storage-trouble',
  'unresponsive',
  'guest-shutdown',
  'unknown',
] as const;
/** What the cluster concludes about a VM from its record and its observations. */
export type Verdict = (typeof VERDICTS)[number];

/** Values of a host's `agent` field: whether its agent answers. */
export const AGENT_STATES = ['alive', 'dead'] as const;

const PHASES = ['stopped', 'starting', 'running', 'stopping', 'migrating', 'switching', 'unwinding'] as const;

export const TASK_STATES = ['running', 'succeeded', 'failed', 'cancelled'] as const;

export const TaskSchema = Type.Object(
  {
    id: text,
    revision,
    kind: Type.String({ description: 'vm.start, vm.stop, vm.migrate, image.replicate …' }),
    target: Type.Object(
      {
        kind: oneOf(['vm', 'vms', 'image', 'host', 'network', 'guest-cluster', 'shared-disk', 'drain', 'roll']),
        name: text,
      },
      strict,
    ),
    state: oneOf(TASK_STATES),
    progressPercent: nullable(Type.Integer({ minimum: 0, maximum: 100 })),
    message: text,
    startedAt: time,
    endedAt: nullable(time),
    parent: nullable(Type.String({ description: 'id of the task of which it is a part' })),
    vms: nullable(
      Type.Object(
        {
          total: Type.Integer(),
          waiting: Type.Integer(),
          running: Type.Integer(),
          succeeded: Type.Integer(),
          failed: Type.Integer(),
          cancelled: Type.Integer(),
        },
        { ...strict, description: 'how many VMs of a task over many are how far' },
      ),
    ),
  },
  { ...strict, title: 'Task' },
);
export type Task = View<typeof TaskSchema>;

const vmFields = {
  id: text,
  name: text,
  revision,
  verdict: oneOf(VERDICTS, { description: 'the cluster’s conclusion about the VM' }),
  host: nullable(Type.String({ description: 'name of the host of the current incarnation' })),
  generation: Type.Integer({ minimum: 0, description: 'fencing token of the current incarnation; 0: never started' }),
  intent: oneOf(['running', 'suspended', 'stopped']),
  phase: oneOf(PHASES),
  phaseSince: time,
  destination: nullable(Type.String({ description: 'the host to which it is being migrated' })),
  because: Type.Array(Type.String(), { description: 'the reasons for the verdict, one per line' }),
  spec: Type.Object(
    {
      vcpus: Type.Integer(),
      memoryBytes: bytes,
      cpuModel: text,
      firmware: FirmwareSchema,
      display: oneOf(['none', 'vga'], { description: 'vga: it has a display, shown over VNC' }),
      append: nullable(Type.String({ description: 'kernel command line, with direct boot' })),
      image: nullable(text),
      restartPolicy: RestartPolicySchema,
      antiAffinity: nullable(Type.String({ description: 'group of which no two VMs are ever on one host' })),
      pin: nullable(Type.String({ description: 'the only host that it may be on' })),
      storagePatienceMs: Type.Integer(),
      migrationPolicy: Type.Object(
        { slowDown: Type.Boolean(), pauseMsMax: nullable(Type.Integer()), stop: Type.Boolean() },
        { ...strict, description: 'the allowed measures if its guest writes faster than it is copied' },
      ),
    },
    strict,
  ),
  nics: Type.Array(
    Type.Object(
      {
        network: text,
        mac: text,
        address: nullable(text),
        state: oneOf(['attached', 'attaching', 'detaching'], {
          description: 'attaching: from the next start on; detaching: until the next start',
        }),
      },
      strict,
    ),
  ),
  disks: Type.Array(
    Type.Object(
      {
        id: text,
        role: oneOf(['data', 'seed', 'nvram']),
        bus: oneOf(['virtio', 'scsi']),
        sizeBytes: bytes,
        node: nullable(Type.String({ description: 'storage node' })),
      },
      strict,
    ),
  ),
  sharedDisks: Type.Array(
    Type.Object(
      {
        id: text,
        name: text,
        wwn: Type.String({ description: 'as guests name it: wwn-0x… under /dev/disk/by-id of Linux' }),
        lun: Type.Integer({ description: 'number the guest sees it by' }),
        node: nullable(Type.String({ description: 'storage node' })),
        state: oneOf(['attached', 'attaching', 'detaching']),
      },
      strict,
    ),
  ),
  guestCluster: nullable(Type.String({ description: 'the guest cluster of which it is a member' })),
  labels: Type.Record(Type.String(), Type.String()),
  task: nullable(TaskSchema),
  failure: nullable(
    Type.Object(
      { count: Type.Integer(), lastAt: time, message: text },
      { ...strict, description: 'consecutive failures to start, or crashes soon after a start' },
    ),
  ),
  createdAt: time,
};

export const VmSchema = Type.Object(vmFields, { ...strict, title: 'Vm' });
export type Vm = View<typeof VmSchema>;

export const ObservationsSchema = Type.Object(
  {
    agent: Type.Object(
      {
        host: nullable(text),
        state: oneOf(['alive', 'dead', 'unknown']),
        process: oneOf(['present', 'gone', 'unknown'], { description: 'the QEMU process, as the agent last reported' }),
        ageMs,
      },
      { ...strict, description: 'heartbeat and report of the agent on the VM’s host' },
    ),
    qmp: Type.Object(
      {
        state: oneOf(['answers', 'silent', 'refused', 'unknown']),
        status: nullable(Type.String({ description: 'run state of QEMU (query-status)' })),
        ageMs,
        certificateEndsAt: nullable(Type.String({ description: 'end of the certificate of this QEMU (RFC 3339)' })),
      },
      { ...strict, description: 'QMP answering a control node directly' },
    ),
    storage: Type.Array(
      Type.Object(
        {
          node: text,
          disk: text,
          admitted: Type.Array(Type.Integer(), { description: 'generations the storage service serves' }),
          connected: Type.Array(Type.Integer(), { description: 'generations with an open connection' }),
          ageMs,
        },
        { ...strict, description: 'the storage side’s view of one disk' },
      ),
    ),
  },
  { ...strict, title: 'Observations' },
);
export type Observations = View<typeof ObservationsSchema>;

export const VmDetailSchema = Type.Object(
  {
    ...vmFields,
    observations: ObservationsSchema,
    undeclared: Type.Array(Type.String(), {
      description: 'why it looks like a member of an undeclared guest cluster',
    }),
  },
  { ...strict, title: 'VmDetail' },
);
export type VmDetail = View<typeof VmDetailSchema>;

export const VmGuestSchema = Type.Object(
  {
    agent: oneOf(['answers', 'refuses', 'silent', 'no-port', 'not-running'], {
      description: 'qemu-guest-agent in the guest; no-port: its machine has no channel to one',
    }),
    because: nullable(Type.String({ description: 'why nothing is said' })),
    askedAt: nullable(time),
    os: nullable(text),
    kernel: nullable(text),
    hostname: nullable(text),
    interfaces: Type.Array(
      Type.Object({ name: text, mac: nullable(text), addresses: Type.Array(Type.String()) }, strict),
    ),
  },
  { ...strict, title: 'VmGuest', description: 'the guest’s own report: not to be relied on' },
);
export type VmGuest = View<typeof VmGuestSchema>;

export const VmLogSchema = Type.Object(
  {
    vm: text,
    host: nullable(text),
    generation: Type.Integer(),
    text: Type.String({ description: 'end of the serial console’s output' }),
    truncated: Type.Boolean({ description: 'earlier output was left out' }),
  },
  { ...strict, title: 'VmLog' },
);
export type VmLog = View<typeof VmLogSchema>;

export const HostSchema = Type.Object(
  {
    name: text,
    revision,
    agent: oneOf(AGENT_STATES),
    agentAgeMs: ageMs,
    evacuability: HostEvacuabilitySchema,
    rack: nullable(Rack),
    cordoned: Type.Boolean({ description: 'no VM is placed here' }),
    maintenance: nullable(
      Type.Object(
        {
          drain: Type.String({ description: 'its drain' }),
          isEmpty: Type.Boolean(),
          since: time,
          reason: nullable(text),
        },
        { ...strict, description: 'the host is emptied, or was, and takes no VM until somebody takes it back' },
      ),
    ),
    quarantined: Type.Boolean({ description: 'a VM of it was declared lost; other hosts drop its tunnel' }),
    quarantineReason: nullable(text),
    lost: nullable(
      Type.Object(
        {
          since: time,
          by: Type.String({ description: 'name of the token that declared it' }),
          waitsFor: Type.Array(Type.String(), { description: 'why its record is still there, one sentence each' }),
        },
        {
          ...strict,
          description: 'it was declared lost, and is removed once its VMs are fenced; null: it is a member',
        },
      ),
    ),
    vms: Type.Array(Type.String(), { description: 'names of the VMs whose current incarnation is here' }),
    memoryUsedBytes: bytes,
    memoryTotalBytes: bytes,
    vcpus: Type.Integer(),
    accelerator: oneOf(['kvm', 'tcg']),
    cpuModels: Type.Array(Type.String()),
    release: Type.Object(
      {
        agent: nullable(Type.String({ description: "its agent's version" })),
        qemu: nullable(Type.String({ description: 'version of QEMU: running guests do not move to an older one' })),
      },
      { ...strict, description: 'as its agent last reported; null: not known' },
    ),
    addresses: Type.Object({ control: text, storage: text, overlay: text }, strict),
    joinedAt: time,
  },
  { ...strict, title: 'Host' },
);
export type Host = View<typeof HostSchema>;

const nodeMaintenance = nullable(
  Type.Object(
    {
      since: time,
      who: Type.String({ description: 'name of the token that asked for it' }),
      reason: nullable(text),
      change: nullable(Type.String({ description: 'number of the change that it belongs to' })),
    },
    { ...strict, description: 'null: it is in service' },
  ),
);

export const StorageNodeSchema = Type.Object(
  {
    name: text,
    revision,
    state: oneOf(['alive', 'dead', 'lost'], { description: 'whether its service answers; lost: given up for good' }),
    served: nullable(
      Type.Boolean({
        description: 'where its service does not answer: whether hosts get connections to its disks all the same',
      }),
    ),
    because: Type.Array(Type.String(), {
      description: 'where its service does not answer: why, and what waits for it',
    }),
    ageMs,
    version: nullable(Type.String({ description: 'the version of Groundplane that its service last reported' })),
    addresses: Type.Object({ control: text, storage: text }, strict),
    disks: Type.Integer({ description: 'number of disks' }),
    usedBytes: nullable(bytes),
    totalBytes: nullable(bytes),
    room: Type.Union([oneOf(['enough', 'low', 'very-low', 'full']), Type.Null()], {
      description:
        'low from 80 % used, very-low from 90 %, each left 2 % below; full: guests that write are paused; null: not known',
    }),
    faults: Type.Array(text, {
      description: 'entries of its pool that are not served because their files are faulty',
    }),
    maintenance: nodeMaintenance,
    joinedAt: time,
  },
  { ...strict, title: 'StorageNode' },
);
export type StorageNode = View<typeof StorageNodeSchema>;

export const ControlNodeSchema = Type.Object(
  {
    name: text,
    leader: Type.Boolean(),
    state: oneOf(['alive', 'dead']),
    address: nullable(text),
    version: nullable(text),
    maintenance: nodeMaintenance,
  },
  { ...strict, title: 'ControlNode' },
);
export type ControlNode = View<typeof ControlNodeSchema>;

export const AuthoritySchema = Type.Object(
  {
    phase: oneOf(['steady', 'trusting', 'renewing']),
    authorities: Type.Array(
      Type.Object(
        {
          id: Type.String({ description: 'identifier of its key' }),
          issues: Type.Boolean(),
          endsAt: time,
          machines: Type.Integer({ minimum: 0, description: 'machines whose newest certificate it issued' }),
        },
        strict,
      ),
    ),
    waitsFor: Type.Array(text, { description: 'the conditions that the next phase waits for, the first twenty' }),
    waitsForCount: Type.Integer({ minimum: 0 }),
    caPem: Type.String({ description: 'certificates of all authorities that are trusted' }),
  },
  { ...strict, title: 'Authority' },
);
export type Authority = View<typeof AuthoritySchema>;

export const NetworkSchema = Type.Object(
  {
    name: text,
    revision,
    vni: Type.Integer({ description: 'VXLAN network identifier' }),
    cidr: nullable(text),
    gateway: nullable(text),
    dhcp: Type.Boolean(),
    nat: Type.Boolean(),
    metadata: Type.Boolean({ description: 'its guests are served at 169.254.169.254' }),
    reservations: Type.Array(Type.Object({ mac: text, address: text, vm: text, hostname: text }, strict)),
    createdAt: time,
  },
  { ...strict, title: 'Network' },
);
export type Network = View<typeof NetworkSchema>;

const registrations = Type.Array(
  Type.Object(
    {
      vm: nullable(Type.String({ description: 'name of the VM; null: it is gone' })),
      initiator: text,
      key: Type.String({ description: '16 hexadecimal digits' }),
      since: nullable(time),
    },
    strict,
  ),
  { description: 'who has registered which key (persistent reservations)' },
);
const reservation = nullable(
  Type.Object(
    {
      type: Type.String({ description: 'such as "write exclusive, registrants only"' }),
      holder: nullable(Type.String({ description: 'name of the VM; null: all that are registered' })),
      since: nullable(time),
    },
    strict,
  ),
);
const wwn = Type.String({
  description: 'the disk as guests name it, whatever its number: wwn-0x… under /dev/disk/by-id of Linux',
});
const sharedDiskFields = {
  id: text,
  name: text,
  wwn,
  node: Type.String({ description: 'storage node' }),
  sizeBytes: bytes,
  blockBytes: Type.Integer(),
  phase: oneOf(['creating', 'ready', 'deleting']),
  error: nullable(Type.String({ description: 'why the change is not complete yet' })),
  vms: Type.Array(
    Type.Object({ vm: text, lun: Type.Integer(), state: oneOf(['attached', 'attaching', 'detaching']) }, strict),
  ),
  registrations,
  reservation,
};

export const SharedDiskSchema = Type.Object(
  {
    ...sharedDiskFields,
    revision,
    guestCluster: nullable(text),
    task: nullable(TaskSchema),
    createdAt: time,
  },
  { ...strict, title: 'SharedDisk' },
);
export type SharedDisk = View<typeof SharedDiskSchema>;

const may = Type.Object(
  { allowed: Type.Boolean(), reason: nullable(Type.String({ description: 'why not, or what it waits for' })) },
  strict,
);

const NoticeSchema = Type.Object(
  {
    event: Type.String({ description: 'id of the event that the metadata service shows to the guest' }),
    state: oneOf(['scheduled', 'started', 'over']),
    ended: nullable(oneOf(['acknowledged', 'time', 'withdrawn'])),
    givenAt: time,
    notBefore: time,
  },
  { ...strict, description: 'the notice that its guest got of its last move' },
);

const MemberPauseSchema = Type.Object(
  {
    foretoldMs: Type.Number({ description: 'the predicted pause of its next move' }),
    because: Type.String({ description: 'how that number is computed' }),
    measuredMs: Type.Array(Type.Number(), { description: 'of its last moves, oldest first' }),
  },
  { ...strict, description: 'to be compared with `toleratesMs` of its guest cluster' },
);

export const GuestClusterSchema = Type.Object(
  {
    name: nullable(Type.String({ description: 'null: nobody declared it' })),
    revision: nullable(revision),
    declared: Type.Boolean(),
    because: Type.Array(Type.String(), { description: 'why it looks like one, if nobody declared it' }),
    deleting: Type.Boolean(),
    members: Type.Array(
      Type.Object(
        {
          vm: text,
          id: text,
          host: nullable(text),
          generation: Type.Integer(),
          verdict: oneOf(VERDICTS),
          phase: oneOf(PHASES),
          notice: nullable(NoticeSchema),
          pause: MemberPauseSchema,
          may: Type.Object({ migrate: may, drain: may, snapshot: may }, strict),
        },
        strict,
      ),
    ),
    disks: Type.Array(Type.Object(sharedDiskFields, strict)),
    heartbeatNetworks: Type.Array(Type.String()),
    maxDisturbed: nullable(Type.Integer()),
    disturbed: Type.Array(Type.String(), { description: 'members that move or do not run now, and how' }),
    toleratesMs: nullable(Type.Integer()),
    noticeMs: nullable(Type.Integer({ description: 'time of notice before a guest’s move; null: no notice' })),
    readyCheck: nullable(
      Type.Object(
        {
          command: Type.String({
            description: 'exits with 0 in a member’s guest once the member is ready after a move',
          }),
          withinMs: Type.Integer(),
        },
        strict,
      ),
    ),
    quiet: Type.Array(Type.String(), { description: 'weekly windows in which no drain moves a member' }),
    sharesHosts: Type.Boolean({ description: 'somebody consented to members on one host' }),
    task: nullable(TaskSchema),
    createdAt: nullable(time),
  },
  { ...strict, title: 'GuestCluster' },
);
export type GuestCluster = View<typeof GuestClusterSchema>;

const artifactRef = Type.Object({ sha256: text, sizeBytes: bytes }, strict);

export const ArtifactSchema = Type.Object(
  { sha256: text, sizeBytes: bytes, nodes: Type.Array(Type.String(), { description: 'storage nodes that hold it' }) },
  { ...strict, title: 'Artifact' },
);
export type Artifact = View<typeof ArtifactSchema>;

export const ImageSchema = Type.Object(
  {
    name: text,
    revision,
    disk: nullable(
      Type.Object({ sha256: text, sizeBytes: bytes, format: oneOf(['qcow2', 'raw']), virtualSizeBytes: bytes }, strict),
    ),
    direct: nullable(Type.Object({ kernel: artifactRef, initrd: nullable(artifactRef), append: text }, strict)),
    defaults: Type.Object({ memoryBytes: bytes, vcpus: Type.Integer(), blankDiskBytes: nullable(bytes) }, strict),
    minMemoryBytes: nullable(
      Type.Integer({
        minimum: 0,
        description: 'the least memory that a VM booted from it may have; null: nobody said',
      }),
    ),
    nodes: Type.Array(Type.String()),
    createdAt: time,
  },
  { ...strict, title: 'Image' },
);
export type Image = View<typeof ImageSchema>;

export const DiskSchema = Type.Object(
  {
    id: text,
    revision,
    vm: Type.String({ description: 'name of its VM' }),
    role: oneOf(['data', 'seed', 'nvram']),
    node: text,
    sizeBytes: bytes,
    source: oneOf(['blank', 'image', 'content', 'nvram']),
    phase: oneOf(['creating', 'ready', 'deleting']),
  },
  { ...strict, title: 'Disk' },
);
export type Disk = View<typeof DiskSchema>;

export const EventSchema = Type.Object(
  {
    revision,
    at: time,
    kind: text,
    vm: nullable(Type.String({ description: 'name' })),
    vmId: nullable(text),
    host: nullable(text),
    generation: nullable(Type.Integer()),
    message: text,
  },
  { ...strict, title: 'Event' },
);
export type Event = View<typeof EventSchema>;

export const AlarmSchema = Type.Object(
  {
    kind: Type.String({ description: 'stable word for the kind' }),
    about: Type.String({ description: 'its subject: a key in etcd, a machine, a disk' }),
    message: text,
  },
  { ...strict, title: 'Alarm', description: 'a problem for a person to solve; listed as long as its cause lasts' },
);
export type Alarm = View<typeof AlarmSchema>;

export const ClusterSchema = Type.Object(
  {
    version: Type.String({ description: 'version of Groundplane, of the control node that answers' }),
    release: nullable(
      Type.String({ description: 'of the cluster: machines run it or the next one; `gp cluster finalize` raises it' }),
    ),
    lab: Type.Boolean({ description: 'it runs on one machine, and faults can be injected into it' }),
    revision: Type.String({ description: 'revision of the store' }),
    leader: nullable(Type.String({ description: 'name of the leading control node' })),
    term: nullable(Type.Integer()),
    controlNodes: Type.Object({ total: Type.Integer(), alive: Type.Integer() }, strict),
    storageNodes: Type.Object({ total: Type.Integer(), alive: Type.Integer() }, strict),
    hosts: Type.Object({ total: Type.Integer(), alive: Type.Integer() }, strict),
    evacuability: ClusterEvacuabilitySchema,
    vms: Type.Object({ total: Type.Integer(), byVerdict: Type.Record(Type.String(), Type.Integer()) }, strict),
    memoryUsedBytes: bytes,
    memoryTotalBytes: bytes,
    etcd: Type.Object(
      {
        members: Type.Array(
          Type.Object(
            {
              endpoint: text,
              answers: Type.Boolean(),
              leader: Type.Boolean(),
              version: nullable(text),
              sizeBytes: nullable(bytes),
              inUseBytes: nullable(bytes),
            },
            strict,
          ),
        ),
        quotaBytes: bytes,
        usedPercent: Type.Integer({ description: 'of the quota, by the fullest member that answers' }),
      },
      strict,
    ),
    backups: Type.Array(BackupStateSchema),
    alarms: Type.Array(AlarmSchema),
  },
  { ...strict, title: 'Cluster' },
);
export type Cluster = View<typeof ClusterSchema>;

export const HealthSchema = Type.Object(
  {
    ok: Type.Boolean(),
    name: text,
    leader: nullable(text),
    storeReachable: Type.Boolean(),
    waitingFor: nullable(
      Type.String({ description: 'the reason why the server cannot answer requests yet; null: it can' }),
    ),
    version: Type.String({ description: 'of this server' }),
    release: nullable(Type.String({ description: 'of the cluster; null while this server has not read it' })),
  },
  { ...strict, title: 'Health' },
);
export type Health = View<typeof HealthSchema>;

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'urn:groundplane:error:<code>' }),
    title: text,
    status: Type.Integer(),
    code: text,
    detail: text,
    advice: Type.Optional(Type.String({ description: 'the things that were kept, and what to do' })),
    errors: Type.Optional(
      Type.Array(
        Type.Object({ pointer: Type.String({ description: 'JSON pointer into the request' }), detail: text }, strict),
      ),
    ),
    acceptance: Type.Optional(ToAcceptSchema),
    explanation: Type.Optional(ExplanationSchema),
  },
  { ...strict, title: 'Problem', description: 'RFC 9457 problem details' },
);
export type Problem = View<typeof ProblemSchema>;

/** The kinds of objects whose changes are streamed. No record says whether a control node answers: ask for those. */
export const WATCH_KINDS = [
  'vm',
  'host',
  'storage',
  'network',
  'image',
  'disk',
  'shared-disk',
  'guest-cluster',
  'drain',
  'roll',
  'task',
  'event',
] as const satisfies readonly ObjectKind[];
export type WatchKind = (typeof WATCH_KINDS)[number];

export const WatchChangeSchema = Type.Object(
  {
    revision: text,
    kind: oneOf(WATCH_KINDS),
    name: Type.String({ description: 'name, or id of an object without a name' }),
    object: Type.Unknown({
      description: 'the object as its GET shows it, drains and rolls as lists do; null: deleted',
    }),
  },
  { ...strict, title: 'WatchChange', description: 'data of one server-sent event' },
);
export type WatchChange = View<typeof WatchChangeSchema>;
