/**
 * The requests of a controller to a host's agent. HTTPS with mutual TLS on PORTS.agent; only identities `control:*` are
 * served.
 *   GET  /v1/report                      -> HostReport
 *   POST /v1/launch   LaunchOrder        -> LaunchResult     idempotent by (vm, generation)
 *   POST /v1/kill     KillOrder          -> KillResult       idempotent
 *   POST /v1/network  NetworkPlan        -> {}               idempotent; an older revision is refused
 *   POST /v1/probe    ProbeOrder         -> ProbeResult      one TCP attempt from the host to a storage node's disk port (isDiskPort)
 *   GET  /v1/log?vm=ID&generation=N&bytes=N -> text/plain, the tail of that incarnation's serial log
 * An agent remembers the highest term it was given for as long as it lives and refuses orders of a lower one
 * ('stale-order').
 */
import type { DiskId, Generation, HostName, NetworkName, Sha256, Term, VmId } from '../../base/ids.ts';
import type { HostCapacity } from '../model/cluster.ts';
import type { VmDisk } from '../model/vm.ts';
import type { Members } from '../plan/hosts/port-filter.ts';
import type { ProbeResult } from './probe-result.ts';

/** The feature that orders with shared disks need (`Order.needs`). */
export const SHARED_DISKS = 'shared-disks';
/** The feature that launches of machines with a port for the guest's agent need. */
export const GUEST_AGENT = 'guest-agent';

/** Every order to a host or storage node carries the leader's term. */
export interface Order {
  readonly term: Term;
  /**
   * Features the receiver must have to carry it out; one that lacks any refuses the order as a whole with CodedError
   * 'unsupported'. Other fields that it does not know it ignores (docs/decisions/0011-versions-side-by-side.md).
   */
  readonly needs?: readonly string[];
}

export interface HostReport {
  readonly host: HostName;
  /** Changes when the host boots. */
  readonly bootId: string;
  readonly agentVersion: string;
  /** The version of the QEMU that the next launch gets. Absent: not known yet, and in reports of older agents. */
  readonly qemuVersion?: string | undefined;
  readonly capacity: HostCapacity;
  /** From the operating system's process table, at the time of the call. */
  readonly incarnations: readonly RunningIncarnation[];
  /** Revision of the network plan in force; 0 where none was given since the agent started. */
  readonly networkRevision: number;
  /** The host's wall clock at the time of the call (Unix ms). Absent in reports of older agents. */
  readonly wallMs?: number | undefined;
  /**
   * The notices of moves (model/move-notice.ts) that guests acknowledged and the network plan in force still names. Absent
   * for none, and in reports of older agents.
   */
  readonly acknowledgedNotices?: readonly string[] | undefined;
}

export interface RunningIncarnation {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly slot: number;
  readonly pid: number;
  /** Start time of the process in clock ticks since boot: with the pid it names the process for ever. */
  readonly startTicks: string;
  readonly incoming: boolean;
}

/** Not an order: every control node that leads may ask, and nothing changes. */
export interface ProbeOrder {
  readonly address: string;
  readonly port: number;
  readonly deadlineMs: number;
}

/** A QEMU to start with its vCPUs halted (`-S`). The control plane continues it over QMP. */
export interface LaunchOrder extends Order {
  readonly vm: VmId;
  readonly vmName: string;
  readonly generation: Generation;
  readonly slot: number;
  /** True: wait for a migration stream (`-incoming defer`). */
  readonly incoming: boolean;
  /**
   * The generation whose stream it shall wait for, with `incoming`; absent: it is told so afterwards. An agent that
   * does not support this field says so (`listens`).
   */
  readonly receives?: Generation;
  readonly machine: LaunchMachine;
  readonly disks: readonly LaunchDisk[];
  /** Absent for none. Needs SHARED_DISKS. */
  readonly sharedDisks?: readonly LaunchSharedDisk[];
  readonly nics: readonly { readonly mac: string; readonly network: NetworkName; readonly vni: number }[];
  /** This incarnation's own certificate: NBD client, QMP server, migration peer. PEM. */
  readonly credentials: { readonly caPem: string; readonly certPem: string; readonly keyPem: string };
  /** The host's whole network state; applied first where it has network cards. */
  readonly network: NetworkPlan;
}

export interface LaunchMachine {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly cpuModel: string;
  readonly firmware: 'bios' | 'uefi' | 'direct';
  readonly kernel: ArtifactLocation | null;
  readonly initrd: ArtifactLocation | null;
  readonly append: string | null;
  /** Null or absent: no display, and no VNC server. */
  readonly display?: 'vga' | null;
  /** A port for the guest's agent; absent: none. Needs GUEST_AGENT. */
  readonly guestAgent?: boolean;
}

/** A file the agent fetches from a storage node (GET /v1/artifacts/SHA256, mutual TLS as `host:*`) and checks. */
export interface ArtifactLocation {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
  readonly from: readonly { readonly node: string; readonly address: string; readonly port: number }[];
}

export interface LaunchDisk {
  readonly disk: DiskId;
  readonly role: VmDisk['role'];
  readonly bus: VmDisk['bus'];
  readonly readOnly: boolean;
  /** NBD over TLS: address, port, export name, and the name its certificate must carry. */
  readonly export: { readonly address: string; readonly port: number; readonly name: string; readonly tlsName: string };
  /** NBD reconnect delay: how long I/O waits for the storage service, in ms. */
  readonly patienceMs: number;
}

/**
 * A shared disk and how this incarnation reaches it: iSCSI with CHAP. Its names are those of
 * model/shared-disk-identity.ts.
 */
export interface LaunchSharedDisk {
  readonly disk: DiskId;
  readonly lun: number;
  readonly address: string;
  readonly port: number;
  readonly target: string;
  readonly initiator: string;
  readonly account: string;
  readonly secret: string;
}

export interface LaunchResult {
  readonly pid: number;
  readonly startTicks: string;
  /** True when it ran already: nothing was done. */
  readonly already: boolean;
  /** True if it waits for the stream of the generation that the order names; false: unknown. */
  readonly listens: boolean;
}

/** Ends the named incarnations of `vm` at once (SIGKILL), with their taps and files. */
export interface KillOrder extends Order {
  readonly vm: VmId;
  readonly generations: readonly Generation[];
  readonly reason: string;
}

export interface KillResult {
  readonly killed: readonly Generation[];
}

/** The whole network state of one host. */
export interface NetworkPlan {
  /** Grows with every change (etcd's revision in its epoch); a host refuses an older one. */
  readonly revision: number;
  readonly networks: readonly NetworkOnHost[];
  /** Overlay addresses of hosts whose tunnels are dropped. */
  readonly drop: readonly string[];
  /** The cluster's members; null or absent if an older leader does not send them. */
  readonly members?: Members | null;
  /** The guests of this host that the metadata service knows, and its answers to them; absent: none. */
  readonly guests?: readonly MetadataGuest[];
}

/** A guest as the metadata service of its host knows it, by one of its cards. */
export interface MetadataGuest {
  readonly vm: VmId;
  readonly name: string;
  readonly vni: number;
  /** The IPv4 address reserved for the card: the filter keeps others from using it. */
  readonly address: string;
  /** Grows whenever what follows changes (noticeIncarnation). */
  readonly incarnation: number;
  /** The move of which the guest is given notice, or null. */
  readonly event: MetadataEvent | null;
}

export interface MetadataEvent {
  /** noticeEventId. */
  readonly id: string;
  readonly state: 'scheduled' | 'started';
  /** Unix ms: the move begins no later, where the guest says nothing. */
  readonly notBefore: number;
}

export interface NetworkOnHost {
  readonly name: NetworkName;
  readonly vni: number;
  /** Overlay addresses of the other hosts with members: the flood list. */
  readonly peers: readonly string[];
  readonly gateway: { readonly address: string; readonly prefixLength: number } | null;
  readonly nat: boolean;
  /** Reservations to answer by DHCP; null if DHCP is off. */
  readonly dhcp: readonly { readonly mac: string; readonly address: string; readonly hostname: string }[] | null;
  /** Guests are served at 169.254.169.254; absent: not. Only where there is a gateway and DHCP. */
  readonly metadata?: boolean;
}

/**
 * The port. Every call has a deadline; a failure is a CodedError ('deadline', 'unavailable', 'stale-order', 'failed'
 * …).
 */
export interface HostLink {
  report(host: HostName, options: CallOptions): Promise<HostReport>;
  launch(host: HostName, order: LaunchOrder, options: CallOptions): Promise<LaunchResult>;
  kill(host: HostName, order: KillOrder, options: CallOptions): Promise<KillResult>;
  applyNetwork(host: HostName, order: NetworkPlan & Order, options: CallOptions): Promise<void>;
  probe(host: HostName, order: ProbeOrder, options: CallOptions): Promise<ProbeResult>;
}

export interface CallOptions {
  readonly deadlineMs: number;
}

/** The counters that a host's kernel keeps for one incarnation, since its process began. */
export interface MachineFigures {
  /** Processor time of QEMU's process, all its threads, ms. */
  readonly cpuMs: number;
  /** Memory of the process that is in the host's memory now. */
  readonly residentBytes: number;
  /** Traffic of the network cards as the guest sees it. */
  readonly nics: readonly { readonly mac: string; readonly receivedBytes: number; readonly sentBytes: number }[];
}
