/** What the API accepts: bodies and query strings. Unknown properties are refused everywhere. */
import { Type } from 'typebox';
import { BULK_ACTIONS } from '../core/model/cluster.ts';
import { LIMITS, type Limit } from '../core/model/limits.ts';
import { NODE_ROLES } from './access-views.ts';
import {
  Cidr,
  DiskBytes,
  FirmwareSchema,
  Ipv4,
  integerWithin,
  Labels,
  MacAddress,
  MemoryBytes,
  NAME_PATTERN,
  Name,
  nullable,
  oneOf,
  PatienceMs,
  Rack,
  ReadyCheck,
  Remark,
  RestartPolicySchema,
  Sha256Hex,
  strict,
  Vcpus,
  type View,
} from './common.ts';
import { PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, ROWS_MAX } from './page-size.ts';
import { AcceptSchema } from './ties.ts';
import { AGENT_STATES, TASK_STATES, VERDICTS, WATCH_KINDS } from './views.ts';

const KIB = 1024;
const CpuModel = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$',
  description: '`baseline`, or a QEMU CPU model every host can offer',
});
/** How many moves run at once from and to one host. */
const Parallel = Type.Integer({
  minimum: 1,
  maximum: 8,
  description: 'moves at once from and to one host; default: 2',
});
const QuietOverride = Type.Object(
  { owner: Remark(100, 'who answers for it'), reason: Remark(500, 'why') },
  { ...strict, description: 'moves members of guest clusters in their quiet hours, too' },
);

export const DrainHostSchema = Type.Object(
  {
    parallel: Type.Optional(Parallel),
    by: Type.Optional(
      Type.String({
        pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$',
        maxLength: 40,
        description: 'no move begins that would end later',
      }),
    ),
    reason: Type.Optional(Remark(500, 'the reason, for people who look at the host')),
    change: Type.Optional(Remark(100, 'the change that it belongs to, as the organisation numbers changes')),
    quietOverride: Type.Optional(QuietOverride),
  },
  { ...strict, title: 'DrainHost' },
);
export type DrainHost = View<typeof DrainHostSchema>;

export const PlanMaintenanceSchema = Type.Object(
  {
    hosts: Type.Array(Type.String({ pattern: '^(all|rack=.{1,63}|[a-z0-9][a-z0-9-]{0,39})$' }), {
      minItems: 1,
      maxItems: 500,
      description: '`all`, `rack=NAME`, or names of hosts',
    }),
    maxUnavailable: Type.Optional(
      integerWithin(LIMITS.rollUnavailable, { description: 'hosts that may be away at once; default: 1' }),
    ),
    perRack: Type.Optional(
      integerWithin(LIMITS.rollUnavailable, {
        description: 'hosts of one rack that may be away at once; default: no limit',
      }),
    ),
    parallel: Type.Optional(Parallel),
  },
  { ...strict, title: 'PlanMaintenance' },
);
export type PlanMaintenance = View<typeof PlanMaintenanceSchema>;

export const ReturnVmsSchema = Type.Object({ parallel: Type.Optional(Parallel) }, { ...strict, title: 'ReturnVms' });
export type ReturnVms = View<typeof ReturnVmsSchema>;

export const DrainNodeSchema = Type.Object(
  {
    reason: Type.Optional(Remark(500, 'the reason, for people who look at the node')),
    change: Type.Optional(Remark(100, 'the change that it belongs to, as the organisation numbers changes')),
  },
  { ...strict, title: 'DrainNode' },
);
export type DrainNode = View<typeof DrainNodeSchema>;

const MigrationPolicy = Type.Object(
  {
    slowDown: Type.Boolean({ description: 'take processor time from the guest until its memory can be copied' }),
    pauseMsMax: nullable(
      Type.Integer({
        minimum: LIMITS.migrationPauseMs.min,
        maximum: LIMITS.migrationPauseMs.max,
        description: 'the longest pause of the guest at the end of a move; null: 300 ms',
      }),
    ),
    stop: Type.Boolean({ description: 'a drain may stop the VM and start it on another host' }),
  },
  { ...strict, description: 'the allowed measures for moving a guest that writes faster than it is copied' },
);
const COMMAND_CHARS = 2_000;
const Instant = Type.String({
  maxLength: 40,
  pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2})$',
  description: 'RFC 3339',
});
/** A command as it is recorded: it runs where `gp` runs. */
const RollCommand = Type.String({
  minLength: 1,
  maxLength: COMMAND_CHARS,
  description: 'recorded only: the command runs where `gp` runs, with {host} replaced',
});

export const StartRollSchema = Type.Object(
  {
    plan: Type.String({
      minLength: 1,
      maxLength: LIMITS.rollPlanChars.max,
      description: 'the approved content of a plan, as the text from which its hash is made',
    }),
    hash: Sha256Hex,
    reason: Type.Optional(Remark(500, 'why')),
    change: Type.Optional(Remark(100, 'the change that it belongs to, as the organisation numbers changes')),
    quietOverride: Type.Optional(QuietOverride),
    windows: Type.Optional(
      Type.Array(Remark(100, "when something may begin, as in 'Sat 22:00-04:00 Europe/Berlin'"), { maxItems: 20 }),
    ),
    freezes: Type.Optional(
      Type.Array(Type.Object({ from: Instant, until: Instant, reason: Remark(200, 'why') }, strict), {
        maxItems: 64,
        description: 'when nothing begins',
      }),
    ),
    maxUnavailable: Type.Optional(
      integerWithin(LIMITS.rollUnavailable, { description: 'hosts that may be away at once, if fewer than approved' }),
    ),
    perRack: Type.Optional(
      integerWithin(LIMITS.rollUnavailable, { description: 'hosts of one rack, if fewer than approved' }),
    ),
    onFailure: Type.Optional(oneOf(['stop', 'continue'])),
    pre: Type.Optional(RollCommand),
    run: Type.Optional(RollCommand),
    verify: Type.Optional(RollCommand),
    preMs: Type.Optional(PatienceMs),
    runMs: Type.Optional(PatienceMs),
    verifyMs: Type.Optional(PatienceMs),
    workMs: Type.Optional(PatienceMs),
    backMs: Type.Optional(PatienceMs),
  },
  { ...strict, title: 'StartRoll' },
);
export type StartRoll = View<typeof StartRollSchema>;

export const ResumeRollSchema = Type.Object(
  { retry: Type.Optional(Type.Boolean({ description: 'hosts that have failed are tried again' })) },
  { ...strict, title: 'ResumeRoll' },
);
export type ResumeRoll = View<typeof ResumeRollSchema>;

export const RollWorkSchema = Type.Object(
  {
    host: Name,
    step: oneOf(['pre', 'run', 'verify']),
    by: Type.String({ pattern: '^[A-Za-z0-9._@:-]{1,100}$', description: 'names one run of `gp maintenance roll`' }),
    outcome: oneOf(['begun', 'succeeded', 'failed']),
    message: Type.Optional(
      Type.String({ maxLength: COMMAND_CHARS, description: 'the outcome, and the last part of the command’s output' }),
    ),
  },
  { ...strict, title: 'RollWork' },
);
export type RollWorkReport = View<typeof RollWorkSchema>;

const accept = Type.Optional(AcceptSchema);
const Pin = Type.String({ ...Name, description: 'the only host that it may be on: a tie, which somebody must accept' });

export const StartVmSchema = Type.Object({ accept }, { ...strict, title: 'StartVm' });
export type StartVm = View<typeof StartVmSchema>;

const AffinityGroup = Type.String({
  pattern: NAME_PATTERN,
  description: 'anti-affinity group: no host ever has two VMs of it',
});
const Append = Type.String({
  maxLength: LIMITS.kernelAppendBytes.max,
  pattern: '^[^\\u0000-\\u001f]*$',
  description: 'kernel command line',
});

const card = { network: Name, address: Type.Optional(Ipv4), mac: Type.Optional(MacAddress) };
const NicRequestSchema = Type.Union([Name, Type.Object(card, strict)]);

const DiskRequestSchema = Type.Union([
  Type.Object({ sizeBytes: DiskBytes }, { ...strict, description: 'a blank disk' }),
  Type.Object(
    { image: Name, sizeBytes: Type.Optional(DiskBytes) },
    { ...strict, description: 'a clone of an image’s disk, grown to sizeBytes' },
  ),
]);

/** Schema of a file for the guest: UTF-8 text, or arbitrary bytes as base64. */
const guestFile = ({ max }: Limit) =>
  Type.Union(
    [
      Type.String({ maxLength: max }),
      Type.Object(
        { base64: Type.String({ maxLength: 4 * Math.ceil(max / 3), pattern: '^[A-Za-z0-9+/]*={0,2}$' }) },
        strict,
      ),
    ],
    { description: 'text, which the guest gets in UTF-8; or {"base64": …}: bytes, which it gets as they are' },
  );

export const CreateVmSchema = Type.Object(
  {
    name: Name,
    image: Type.Optional(Name),
    vcpus: Type.Optional(Vcpus),
    memoryBytes: Type.Optional(MemoryBytes),
    cpuModel: Type.Optional(CpuModel),
    firmware: Type.Optional(FirmwareSchema),
    display: Type.Optional(oneOf(['none', 'vga'], { description: 'vga: a display, shown over VNC; default: none' })),
    append: Type.Optional(Append),
    disks: Type.Optional(Type.Array(DiskRequestSchema, { maxItems: LIMITS.vmDisks.max })),
    networks: Type.Optional(Type.Array(NicRequestSchema, { maxItems: LIMITS.vmNics.max })),
    cloudInit: Type.Optional(
      Type.Object(
        {
          userData: Type.Optional(guestFile(LIMITS.userDataBytes)),
          networkConfig: Type.Optional(guestFile(LIMITS.networkConfigBytes)),
          metaData: Type.Optional(guestFile(LIMITS.metaDataBytes)),
        },
        { ...strict, description: 'NoCloud seed' },
      ),
    ),
    restartPolicy: Type.Optional(RestartPolicySchema),
    antiAffinity: Type.Optional(AffinityGroup),
    labels: Type.Optional(Labels),
    storagePatienceMs: Type.Optional(PatienceMs),
    migrationPolicy: Type.Optional(MigrationPolicy),
    pin: Type.Optional(Pin),
    start: Type.Optional(Type.Boolean({ description: 'start it at once; default true' })),
    accept,
  },
  { ...strict, title: 'CreateVm' },
);
export type CreateVm = View<typeof CreateVmSchema>;

export const AddNicSchema = Type.Object(card, { ...strict, title: 'AddNic' });
export type AddNic = View<typeof AddNicSchema>;

export const PatchVmSchema = Type.Object(
  {
    antiAffinity: Type.Optional(
      Type.Union([AffinityGroup, Type.Null()], { description: 'anti-affinity group to join; null: to be in none' }),
    ),
    labels: Type.Optional(Labels),
    restartPolicy: Type.Optional(RestartPolicySchema),
    migrationPolicy: Type.Optional(MigrationPolicy),
    vcpus: Type.Optional(Vcpus),
    memoryBytes: Type.Optional(MemoryBytes),
    pin: Type.Optional(Type.Union([Pin, Type.Null()], { description: 'the only host that it may be on; null: any' })),
    accept,
  },
  { ...strict, title: 'PatchVm', minProperties: 1 },
);
export type PatchVm = View<typeof PatchVmSchema>;

export const StopVmSchema = Type.Object(
  {
    mode: Type.Optional(
      oneOf(['acpi', 'hard'], { description: 'acpi (default): ask the guest, hard after patienceMs; hard: at once' }),
    ),
    patienceMs: Type.Optional(PatienceMs),
  },
  { ...strict, title: 'StopVm' },
);
export type StopVm = View<typeof StopVmSchema>;

const VmNameOrId = Type.String({ ...Name, description: 'name or id of a VM' });
export const BulkActionSchema = Type.Object(
  {
    action: oneOf(BULK_ACTIONS),
    vms: Type.Optional(Type.Array(VmNameOrId, { minItems: 1, maxItems: LIMITS.bulkVms.max })),
    filter: Type.Optional(
      Type.Object(
        { host: Type.Optional(Name), labels: Type.Optional(Labels) },
        { ...strict, minProperties: 1, description: 'instead of vms: the VMs that the filter selects now' },
      ),
    ),
    mode: Type.Optional(oneOf(['acpi', 'hard'], { description: 'for stop, as for one VM' })),
    patienceMs: Type.Optional(PatienceMs),
    to: Type.Optional(Type.String({ ...Name, description: 'for migrate: a host; without it the cluster chooses' })),
    accept,
  },
  { ...strict, title: 'BulkAction' },
);
export type BulkActionRequest = View<typeof BulkActionSchema>;

export const MigrateVmSchema = Type.Object(
  { to: Type.Optional(Name) },
  { ...strict, title: 'MigrateVm', description: 'to: a host; without it the cluster chooses' },
);
export type MigrateVm = View<typeof MigrateVmSchema>;

export const PatchHostSchema = Type.Object(
  {
    cordoned: Type.Optional(Type.Boolean({ description: 'whether no VM is placed here' })),
    rack: Type.Optional(nullable(Rack)),
  },
  { ...strict, title: 'PatchHost', minProperties: 1 },
);
export type PatchHost = View<typeof PatchHostSchema>;

export const DeleteHostQuerySchema = Type.Object(
  {
    lost: Type.Optional(Type.Boolean({ description: 'its machine is gone for good, with everything that ran on it' })),
    confirmed: Type.Optional(
      Type.Boolean({ description: 'the list of losses was read; without it the answer is a conflict with that list' }),
    ),
  },
  strict,
);
export type DeleteHostQuery = View<typeof DeleteHostQuerySchema>;

export const DeleteStorageQuerySchema = Type.Object(
  {
    lost: Type.Optional(Type.Boolean({ description: 'it is gone for good, with everything on it' })),
    confirmed: Type.Optional(
      Type.Boolean({ description: 'the list of losses was read; without it the answer is a conflict with that list' }),
    ),
  },
  strict,
);
export type DeleteStorageQuery = View<typeof DeleteStorageQuerySchema>;

const Metadata = Type.Boolean({
  description: 'serve its guests at 169.254.169.254: who they are, and which move is about to happen; needs DHCP',
});

export const CreateNetworkSchema = Type.Object(
  {
    name: Name,
    cidr: Type.Optional(Cidr),
    dhcp: Type.Optional(Type.Boolean()),
    nat: Type.Optional(Type.Boolean()),
    metadata: Type.Optional(Metadata),
  },
  { ...strict, title: 'CreateNetwork' },
);
export type CreateNetwork = View<typeof CreateNetworkSchema>;

export const PatchNetworkSchema = Type.Object({ metadata: Metadata }, { ...strict, title: 'PatchNetwork' });
export type PatchNetwork = View<typeof PatchNetworkSchema>;

export const PutImageSchema = Type.Object(
  {
    disk: Type.Optional(Type.Object({ sha256: Sha256Hex, format: oneOf(['qcow2', 'raw']) }, strict)),
    direct: Type.Optional(
      Type.Object(
        { kernel: Sha256Hex, initrd: Type.Optional(Sha256Hex), append: Type.Optional(Append) },
        { ...strict, description: 'direct boot' },
      ),
    ),
    defaults: Type.Optional(
      Type.Object(
        {
          memoryBytes: Type.Optional(MemoryBytes),
          vcpus: Type.Optional(Vcpus),
          blankDiskBytes: Type.Optional(DiskBytes),
        },
        { ...strict, description: 'the settings of a VM that specifies none' },
      ),
    ),
    minMemoryBytes: Type.Optional(
      Type.Integer({ ...MemoryBytes, description: 'the least memory that its guest boots with, in bytes, whole MiB' }),
    ),
  },
  { ...strict, title: 'PutImage' },
);
export type PutImage = View<typeof PutImageSchema>;

export const ARTIFACT_KINDS = ['disk', 'kernel', 'initrd'] as const;
export type ArtifactKind = (typeof ARTIFACT_KINDS)[number];

export const CreateJoinTokenSchema = Type.Object(
  {
    role: oneOf(NODE_ROLES),
    also: Type.Optional(
      Type.Array(oneOf(NODE_ROLES), { maxItems: NODE_ROLES.length - 1, description: 'further roles of the machine' }),
    ),
    name: Name,
    validMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 7 * 86_400_000 })),
  },
  { ...strict, title: 'CreateJoinToken' },
);
export type CreateJoinToken = View<typeof CreateJoinTokenSchema>;

export const JoinSchema = Type.Object(
  {
    token: Type.String({ minLength: 16, maxLength: 256 }),
    role: oneOf(NODE_ROLES),
    name: Name,
    csrPem: Type.String({ minLength: 64, maxLength: 16 * KIB }),
    addresses: Type.Object(
      { control: Ipv4, storage: Type.Optional(Ipv4), overlay: Type.Optional(Ipv4) },
      { ...strict, description: 'one per path; storage and overlay default to control' },
    ),
  },
  { ...strict, title: 'Join' },
);
export type Join = View<typeof JoinSchema>;

const VmReference = Type.String({ ...Name, description: 'name or id of a VM' });
const newSharedDisk = {
  name: Name,
  sizeBytes: DiskBytes,
  blockBytes: Type.Optional(
    Type.Union([Type.Literal(512), Type.Literal(4096)], { description: 'block size that guests see; default 512' }),
  ),
};
const MaxDisturbed = Type.Integer({
  minimum: 1,
  maximum: LIMITS.sharedDiskUsers.max,
  description: 'members that may move or be down at once, as far as the cluster decides it',
});
const ToleratesMs = integerWithin(LIMITS.toleratesMs, {
  description: 'the longest pause that the heartbeat of its guests tolerates, in ms',
});
const NoticeMs = integerWithin(LIMITS.noticeMs, {
  description: 'how long before its move a member’s guest is given notice, in ms, unless it acknowledges earlier',
});
const Quiet = Type.Array(Type.String({ maxLength: 100, description: 'such as "Mon-Fri 08:00-18:00 Europe/London"' }), {
  maxItems: LIMITS.quietWindows.max,
  description: 'weekly windows in which no drain moves a member: all of them; an empty list: none',
});
const ShareHosts = Type.Boolean({ description: 'consent: members are kept apart only if that is possible' });

export const CreateSharedDiskSchema = Type.Object(newSharedDisk, { ...strict, title: 'CreateSharedDisk' });
export type CreateSharedDisk = View<typeof CreateSharedDiskSchema>;

export const AddDiskSchema = Type.Union([
  CreateSharedDiskSchema,
  Type.Object(
    { disk: Type.String({ ...Name, description: 'id or name of a shared disk of no guest cluster, kept as it is' }) },
    strict,
  ),
]);
export type AddDisk = View<typeof AddDiskSchema>;

export const PatchSharedDiskSchema = Type.Object(
  { sizeBytes: DiskBytes },
  { ...strict, title: 'PatchSharedDisk', description: 'it grows while it is used; it never becomes smaller' },
);
export type PatchSharedDisk = View<typeof PatchSharedDiskSchema>;

export const AttachSharedDiskSchema = Type.Object(
  {
    vm: VmReference,
    lun: Type.Optional(
      integerWithin(LIMITS.sharedDiskLun, { description: 'number the guest sees it by; default: the lowest free' }),
    ),
  },
  { ...strict, title: 'AttachSharedDisk' },
);
export type AttachSharedDisk = View<typeof AttachSharedDiskSchema>;

export const CreateGuestClusterSchema = Type.Object(
  {
    name: Name,
    members: Type.Array(VmReference, {
      minItems: 1,
      maxItems: LIMITS.sharedDiskUsers.max,
      description: 'VMs that exist',
    }),
    sharedDisks: Type.Optional(
      Type.Array(Type.Object(newSharedDisk, strict), { maxItems: LIMITS.newClusterDisks.max }),
    ),
    heartbeatNetworks: Type.Optional(
      Type.Array(Name, {
        maxItems: LIMITS.heartbeatNetworks.max,
        description: 'each member has, or if it is stopped gets, a card in each',
      }),
    ),
    maxDisturbed: Type.Optional(MaxDisturbed),
    toleratesMs: Type.Optional(ToleratesMs),
    shareHosts: Type.Optional(ShareHosts),
    accept,
  },
  { ...strict, title: 'CreateGuestCluster' },
);
export type CreateGuestCluster = View<typeof CreateGuestClusterSchema>;

export const PatchGuestClusterSchema = Type.Object(
  {
    maxDisturbed: Type.Optional(MaxDisturbed),
    toleratesMs: Type.Optional(ToleratesMs),
    noticeMs: Type.Optional(nullable(NoticeMs)),
    readyCheck: Type.Optional(nullable(ReadyCheck)),
    quiet: Type.Optional(Quiet),
    accept,
  },
  { ...strict, title: 'PatchGuestCluster', minProperties: 1 },
);
export type PatchGuestCluster = View<typeof PatchGuestClusterSchema>;

export const AddMemberSchema = Type.Object(
  { vm: VmReference, shareHosts: Type.Optional(ShareHosts), accept },
  { ...strict, title: 'AddMember' },
);
export type AddMember = View<typeof AddMemberSchema>;

export const DiskFateQuerySchema = Type.Object(
  {
    keep: Type.Optional(
      Type.Boolean({
        description: 'disks stay, as shared disks of no guest cluster that no VM has, instead of being deleted',
      }),
    ),
    force: Type.Optional(Type.Boolean({ description: 'although guests have keys registered on them' })),
  },
  strict,
);
export type DiskFateQuery = View<typeof DiskFateQuerySchema>;

const page = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: PAGE_ITEMS_MAX,
      description: `objects of one page; default ${PAGE_ITEMS_DEFAULT}`,
    }),
  ),
  after: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9_-]{1,400}$',
      description: '`next` of the page before; without it the first page is answered',
    }),
  ),
};
/** Rows are small: a page has more of them. */
export const RowQuerySchema = Type.Object(
  {
    ...page,
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: ROWS_MAX, description: `rows of one page; default ${ROWS_MAX}` }),
    ),
  },
  strict,
);
export type RowQuery = View<typeof RowQuerySchema>;
const LabelSelector = Type.String({ maxLength: 400, description: 'key or key=value; repeat to require several' });

/** Query of a list without filters. */
export const PageQuerySchema = Type.Object(page, strict);
export type PageQuery = View<typeof PageQuerySchema>;

export const VmQuerySchema = Type.Object(
  {
    ...page,
    name: Type.Optional(Name),
    host: Type.Optional(Name),
    label: Type.Optional(Type.Array(LabelSelector, { maxItems: 16 })),
    verdict: Type.Optional(oneOf(VERDICTS)),
  },
  strict,
);
export type VmQuery = View<typeof VmQuerySchema>;

export const VmLogQuerySchema = Type.Object(
  { lines: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })) },
  strict,
);
export type VmLogQuery = View<typeof VmLogQuerySchema>;

export const HostQuerySchema = Type.Object(
  {
    ...page,
    agent: Type.Optional(oneOf(AGENT_STATES)),
    cordoned: Type.Optional(Type.Boolean()),
    rack: Type.Optional(Rack),
  },
  strict,
);
export type HostQuery = View<typeof HostQuerySchema>;

export const DiskQuerySchema = Type.Object(
  {
    ...page,
    vm: Type.Optional(Type.String({ ...Name, description: 'name or id of a VM' })),
    node: Type.Optional(Type.String({ ...Name, description: 'storage node' })),
  },
  strict,
);
export type DiskQuery = View<typeof DiskQuerySchema>;

/** Filter of events; without it, every event matches. */
const eventFilter = {
  eventKind: Type.Optional(
    Type.Array(Type.String({ maxLength: 60, pattern: '^[a-z0-9.-]+$' }), {
      maxItems: 32,
      description: 'kind of the event, such as vm.lost; repeat for several',
    }),
  ),
  vm: Type.Optional(Type.String({ ...Name, description: 'name or id of a VM' })),
  host: Type.Optional(Name),
  since: Type.Optional(
    Type.String({
      pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$',
      description: 'events at or after this RFC 3339 time in UTC; a new watch first sends the kept ones of these',
    }),
  ),
};
const { vm: _vm, ...eventFilterOfVm } = eventFilter;

/** The filter fields of an event query. */
export type EventFilter = Pick<EventQuery, keyof typeof eventFilter>;

export const EventQuerySchema = Type.Object({ ...page, ...eventFilter }, strict);
export type EventQuery = View<typeof EventQuerySchema>;

export const VmEventQuerySchema = Type.Object({ ...page, ...eventFilterOfVm }, strict);

export const TaskQuerySchema = Type.Object(
  {
    ...page,
    state: Type.Optional(oneOf(TASK_STATES)),
    vm: Type.Optional(Name),
    parts: Type.Optional(
      Type.Boolean({ description: 'false: leave out tasks that are parts of others, such as one of many VMs’' }),
    ),
  },
  strict,
);
export type TaskQuery = View<typeof TaskQuerySchema>;

/** Longest long-poll, in seconds. */
const WAIT_SECONDS_MAX = 60;
export const TaskWaitQuerySchema = Type.Object(
  {
    wait: Type.Optional(
      Type.Integer({ minimum: 0, maximum: WAIT_SECONDS_MAX, description: 'seconds to wait for the task’s end' }),
    ),
  },
  strict,
);

export const ArtifactQuerySchema = Type.Object(
  {
    kind: oneOf(ARTIFACT_KINDS),
    dataBytes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: LIMITS.fileBytes.max,
        description:
          'bytes of the blocks of 64 KiB (at multiples of it) that are not all zeroes: the room that a sparse file needs in a pool. ' +
          'Without it, all of the file',
      }),
    ),
  },
  strict,
);
export type ArtifactQuery = View<typeof ArtifactQuerySchema>;

export const WatchQuerySchema = Type.Object(
  {
    kind: Type.Optional(Type.Array(oneOf(WATCH_KINDS), { maxItems: WATCH_KINDS.length })),
    from: Type.Optional(Type.String({ pattern: '^[0-9]{1,19}$', description: 'changes after this revision' })),
    ...eventFilter,
  },
  { ...strict, description: 'with eventKind, vm, host or since only events are sent' },
);
