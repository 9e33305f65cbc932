/**
 * The seam between the HTTP routes and the control core: everything a route may ask for. The routes validate,
 * authenticate and write HTTP; the backend decides and reads.
 *
 * For every method: expected failures are CodedErrors (`not-found`, `exists`, `conflict`, `stale-revision`,
 * `no-capacity` …); `vm` is a name or an id; answers are complete views, so that a route adds nothing; waits end when
 * `call.signal` aborts. A method that changes something has changed it durably when its promise resolves.
 */
import type { Duplex, Readable } from 'node:stream';
import type {
  ApiToken,
  ApiTokenCreated,
  ConsoleTicket,
  Joined,
  JoinToken,
  Session,
  SessionLink,
} from '../../api/access-views.ts';
import type {
  AddDisk,
  AddMember,
  AddNic,
  ArtifactKind,
  AttachSharedDisk,
  BeginSession,
  ConsoleTicketRequest,
  CreateGuestCluster,
  CreateJoinToken,
  CreateNetwork,
  CreateSharedDisk,
  CreateToken,
  CreateVm,
  DeleteHostQuery,
  DeleteStorageQuery,
  DiskFateQuery,
  DiskQuery,
  DrainHost,
  EventFilter,
  EventQuery,
  HostQuery,
  Join,
  MigrateVm,
  PageQuery,
  PatchGuestCluster,
  PatchHost,
  PatchSharedDisk,
  PatchVm,
  PlanMaintenance,
  PutImage,
  StopVm,
  TaskQuery,
  VmLogQuery,
  VmQuery,
} from '../../api/requests.ts';
import type {
  Artifact,
  Cluster,
  ControlNode,
  Disk,
  Drain,
  DrainPlan,
  DrainSummary,
  Event,
  GuestCluster,
  Health,
  Host,
  Image,
  MaintenancePlan,
  Network,
  SharedDisk,
  StorageLoss,
  StorageNode,
  Task,
  Vm,
  VmDetail,
  VmLog,
  WatchChange,
  WatchKind,
} from '../../api/views.ts';
import type { Page } from './pages.ts';

/** Who asks. */
export interface Principal {
  /** Name of the API token, also of one from which a session comes. */
  readonly name: string;
  /** SHA-256 of the token or session; absent where nobody had to prove anything. */
  readonly sha256?: string;
  /** The browser's session; null: an API token itself. */
  readonly session?: { readonly id: string; readonly expiresAt: number } | null;
}

/** The circumstances of one request. */
export interface Call {
  readonly principal: Principal;
  /** Aborts when the client went away, the request's deadline passed or the server closes. */
  readonly signal: AbortSignal;
}

/** A change that holds only if the object is still at `ifMatch` (else `stale-revision`); null: unconditional. */
export interface Conditional {
  readonly ifMatch: string | null;
}

/** Where the leader is: this process, another control node, or (null) nowhere at present. */
export type Leader =
  | { readonly self: true; readonly name: string }
  /** `origin`: https://address:port of its API. */
  | { readonly self: false; readonly name: string; readonly origin: string };

/** One family of samples for /metrics. */
export interface MetricFamily {
  /** `groundplane_…`, by the Prometheus naming rules. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

export interface ArtifactUpload {
  /** The content's hash: what arrives with another hash or size is refused (`bad-input`) and leaves nothing behind. */
  readonly sha256: string;
  readonly kind: ArtifactKind;
  readonly sizeBytes: number;
  /** Bytes that the image needs in a pool without its zeroes, at most `sizeBytes`. */
  readonly dataBytes: number;
  /** Exactly `sizeBytes` bytes, or an error. */
  readonly body: Readable;
}

export interface WatchOptions {
  /** Changes after this revision; null: from now. A compacted revision throws `conflict`. */
  readonly after: string | null;
  /** Empty: every kind. */
  readonly kinds: readonly WatchKind[];
  /**
   * Filter of events; null matches all. With `since`, and `after` null, the kept events from that time on come first.
   */
  readonly filter: EventFilter | null;
}

/**
 * Shared disks and guest clusters; a change's task ends when every disk, and every VM that runs with it, is as wanted.
 */
export interface GuestClusterBackend {
  listSharedDisks(query: PageQuery, call: Call): Promise<Page<SharedDisk>>;
  /** `disk`: an id, or the name of one of no guest cluster. */
  getSharedDisk(disk: string, call: Call): Promise<SharedDisk>;
  createSharedDisk(request: CreateSharedDisk, call: Call): Promise<SharedDisk>;
  /** `bad-input` for a smaller size. */
  patchSharedDisk(disk: string, patch: PatchSharedDisk & Conditional, call: Call): Promise<Task>;
  /** `conflict` while a VM has it. */
  deleteSharedDisk(disk: string, condition: Conditional, call: Call): Promise<Task>;
  attachSharedDisk(disk: string, request: AttachSharedDisk & Conditional, call: Call): Promise<Task>;
  detachSharedDisk(disk: string, vm: string, condition: Conditional, call: Call): Promise<Task>;
  /** Those that nobody declared included. */
  listGuestClusters(query: PageQuery, call: Call): Promise<Page<GuestCluster>>;
  getGuestCluster(name: string, call: Call): Promise<GuestCluster>;
  createGuestCluster(request: CreateGuestCluster, call: Call): Promise<GuestCluster>;
  patchGuestCluster(name: string, patch: PatchGuestCluster & Conditional, call: Call): Promise<GuestCluster>;
  /** `conflict` while guests have keys registered on its disks, unless forced. */
  deleteGuestCluster(name: string, query: DiskFateQuery & Conditional, call: Call): Promise<Task>;
  addGuestClusterMember(name: string, request: AddMember & Conditional, call: Call): Promise<Task>;
  removeGuestClusterMember(name: string, vm: string, condition: Conditional, call: Call): Promise<Task>;
  /** A new one, or one of no guest cluster (`conflict` while somebody else has that). */
  addGuestClusterDisk(name: string, request: AddDisk & Conditional, call: Call): Promise<Task>;
  removeGuestClusterDisk(name: string, disk: string, query: DiskFateQuery & Conditional, call: Call): Promise<Task>;
}

/** A session that was begun. */
export interface BegunSession {
  /** What the browser's cookie holds; kept nowhere else. */
  readonly cookie: string;
  readonly session: Session;
}

/** Sessions of browsers, and what opens their consoles. */
export interface SessionBackend {
  /** By an API token or a one-time link (`unauthorized`); `no-capacity` where there are too many. */
  beginSession(
    request: BeginSession,
    from: { readonly address: string; readonly agent: string },
  ): Promise<BegunSession>;
  createSessionLink(call: Call): Promise<SessionLink>;
  listSessions(query: PageQuery, call: Call): Promise<Page<Session>>;
  /** `not-found`. */
  endSession(id: string, call: Call): Promise<void>;
  /** Ends every session of the caller's name. */
  endSessions(call: Call): Promise<void>;
  createConsoleTicket(vm: string, request: ConsoleTicketRequest, call: Call): Promise<ConsoleTicket>;
  /** Uses a ticket up; `unauthorized` unless it opens this console of this VM. */
  useConsoleTicket(
    ticket: string,
    wanted: { readonly vm: string; readonly console: 'serial' | 'vnc' },
    call: Pick<Call, 'signal'>,
  ): Promise<{ readonly principal: Principal; readonly takeOver: boolean }>;
}

/** Everything the API offers, apart from HTTP. */
export interface Backend extends GuestClusterBackend, SessionBackend {
  /**
   * Looks an API token up by its SHA-256; null if no token matches. `unavailable` if this node cannot know whether the
   * token was revoked.
   */
  authenticate(token: string): Promise<Principal | null>;
  /** As `authenticate`, for the secret in a browser's cookie. */
  authenticateSession(secret: string): Promise<Principal | null>;
  /** Checks the token or session of a request in progress by its hash, without waiting. */
  recheck(sha256: string): Principal | null;
  leader(): Leader | null;
  health(): Promise<Health>;
  metrics(): Promise<readonly MetricFamily[]>;
  cluster(call: Call): Promise<Cluster>;

  listVms(query: VmQuery, call: Call): Promise<Page<Vm>>;
  getVm(vm: string, call: Call): Promise<VmDetail>;
  /** With `start` (default true) the answer's `task` is the start. */
  createVm(request: CreateVm, call: Call): Promise<Vm>;
  patchVm(vm: string, patch: PatchVm & Conditional, call: Call): Promise<Vm>;
  /**
   * Adds a network card: at once if the VM has no machine, otherwise at its next start; the card's address is reserved
   * at once.
   */
  addNic(vm: string, request: AddNic & Conditional, call: Call): Promise<Vm>;
  removeNic(vm: string, card: { readonly mac: string } & Conditional, call: Call): Promise<Vm>;
  deleteVm(vm: string, condition: Conditional, call: Call): Promise<Task>;
  startVm(vm: string, call: Call): Promise<Task>;
  stopVm(vm: string, request: StopVm, call: Call): Promise<Task>;
  resetVm(vm: string, call: Call): Promise<Task>;
  suspendVm(vm: string, call: Call): Promise<Task>;
  resumeVm(vm: string, call: Call): Promise<Task>;
  migrateVm(vm: string, request: MigrateVm, call: Call): Promise<Task>;
  vmLog(vm: string, query: VmLogQuery, call: Call): Promise<VmLog>;
  /**
   * Opens the VM's serial port as a stream of raw bytes in both directions, through moves and restarts; any control
   * node can serve it. `conflict` while another person holds the console, unless it is taken over.
   */
  openConsole(vm: string, options: { readonly takeOver: boolean }, call: Call): Promise<Duplex>;

  listHosts(query: HostQuery, call: Call): Promise<Page<Host>>;
  getHost(name: string, call: Call): Promise<Host>;
  patchHost(name: string, patch: PatchHost & Conditional, call: Call): Promise<Host>;
  /**
   * `conflict` unless it is cordoned, no VM is there, and nothing of an old generation may still run there (`off`:
   * never mind).
   */
  deleteHost(name: string, query: DeleteHostQuery & Conditional, call: Call): Promise<void>;
  /** What draining the host would do; `no-capacity` names what stands in the way. */
  planHostDrain(host: string, request: DrainHost, call: Call): Promise<DrainPlan>;
  drainHost(host: string, request: DrainHost, call: Call): Promise<Drain>;
  undrainHost(host: string, call: Call): Promise<Host>;
  planMaintenance(request: PlanMaintenance, call: Call): Promise<MaintenancePlan>;
  listDrains(query: PageQuery, call: Call): Promise<Page<DrainSummary>>;
  getDrain(id: string, call: Call): Promise<Drain>;
  pauseDrain(id: string, call: Call): Promise<Drain>;
  resumeDrain(id: string, call: Call): Promise<Drain>;
  cancelDrain(id: string, call: Call): Promise<Drain>;
  listStorageNodes(query: PageQuery, call: Call): Promise<Page<StorageNode>>;
  getStorageNode(name: string, call: Call): Promise<StorageNode>;
  /** `conflict` unless the node does not answer, `lost` is set, and the loss was `confirmed`. */
  deleteStorageNode(name: string, query: DeleteStorageQuery & Conditional, call: Call): Promise<StorageLoss>;
  listControlNodes(query: PageQuery, call: Call): Promise<Page<ControlNode>>;

  listNetworks(query: PageQuery, call: Call): Promise<Page<Network>>;
  getNetwork(name: string, call: Call): Promise<Network>;
  createNetwork(request: CreateNetwork, call: Call): Promise<Network>;
  /** `conflict` while a VM uses it. */
  deleteNetwork(name: string, condition: Conditional, call: Call): Promise<void>;

  listImages(query: PageQuery, call: Call): Promise<Page<Image>>;
  getImage(name: string, call: Call): Promise<Image>;
  /**
   * Refers to uploaded artifacts (`not-found` where one is missing, `bad-image` where one is unusable); `exists` where
   * the name is taken.
   */
  putImage(name: string, request: PutImage, call: Call): Promise<Image>;
  deleteImage(name: string, condition: Conditional, call: Call): Promise<void>;
  /** `not-found` unless the whole file is stored. */
  getArtifact(sha256: string, call: Call): Promise<Artifact>;
  putArtifact(upload: ArtifactUpload, call: Call): Promise<Artifact>;
  /** `conflict` while anything names it. */
  deleteArtifact(sha256: string, call: Call): Promise<void>;

  listDisks(query: DiskQuery, call: Call): Promise<Page<Disk>>;
  getDisk(id: string, call: Call): Promise<Disk>;

  listTasks(query: TaskQuery, call: Call): Promise<Page<Task>>;
  /** With `waitMs` > 0 answers when the task has ended or the time is over, whichever is first. */
  getTask(id: string, waitMs: number, call: Call): Promise<Task>;
  /** Cancels a task; 'conflict' says why the task cannot be cancelled. */
  cancelTask(id: string, call: Call): Promise<Task>;
  /** The first page has the latest events; within a page, events are oldest first, as tasks are. `vm`: name or id. */
  listEvents(query: EventQuery, call: Call): Promise<Page<Event>>;
  /** Ends only by `call.signal` or an error. */
  watch(options: WatchOptions, call: Call): AsyncIterable<WatchChange>;

  listTokens(query: PageQuery, call: Call): Promise<Page<ApiToken>>;
  createToken(request: CreateToken, call: Call): Promise<ApiTokenCreated>;
  /** By name or id. */
  deleteToken(token: string, call: Call): Promise<void>;
  createJoinToken(request: CreateJoinToken, call: Call): Promise<JoinToken>;
  /**
   * Not authenticated by a bearer token: the one-time token in the request is the permission (`unauthorized` where it
   * is not valid).
   */
  join(request: Join, signal: AbortSignal): Promise<Joined>;
}

/** One HTTP request that reached a follower. */
export interface ForwardRequest {
  readonly method: string;
  /** Path and query, as received. */
  readonly path: string;
  /**
   * Lower-case names; hop-by-hop headers and `host` are left out, `authorization` is kept: the leader authenticates
   * again.
   */
  readonly headers: Readonly<Record<string, string>>;
  /** Null if the request has no body. */
  readonly body: Readable | null;
}

export interface ForwardResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

/**
 * Carries a request to the leader at `origin` and its answer back, both as streams (server-sent events included).
 * Throws `unavailable` where the leader cannot be reached. Requests forwarded once are never forwarded again.
 */
export type Forward = (origin: string, request: ForwardRequest, signal: AbortSignal) => Promise<ForwardResponse>;
