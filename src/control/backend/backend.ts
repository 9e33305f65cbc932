/**
 * The parts of the API of one control node: one object for each kind of thing that people see and change. Each decides
 * by core/request and reads from the store; the handlers (control/api/handlers.ts) validate, call them, and write HTTP.
 *
 * For every method: expected failures are CodedErrors (`not-found`, `exists`, `conflict`, `stale-revision`,
 * `no-capacity` …); answers are complete views; waits end when `call.signal` aborts. A method that changes something has
 * changed it durably when its promise resolves.
 */
import { AccessBackend } from './access.ts';
import { Artifacts } from './artifacts.ts';
import { AuthorityBackend } from './authority.ts';
import { BackupsBackend } from './backups.ts';
import { ClusterBackend } from './cluster.ts';
import { consolePorts } from './console-ports.ts';
import { Consoles } from './consoles.ts';
import type { BackendContext } from './context.ts';
import { ControlNodesBackend } from './control-nodes.ts';
import { DrainsBackend } from './drains.ts';
import { GuestClustersBackend } from './guest-clusters.ts';
import { HostsBackend } from './hosts.ts';
import { ImagesBackend } from './images.ts';
import { KnownTokens } from './known-tokens.ts';
import { LabBackend } from './lab.ts';
import { MaintenancePlans } from './maintenance-plans.ts';
import { NetworksBackend } from './networks.ts';
import { OverviewBackend } from './overview.ts';
import { indexOfStore } from './records-index.ts';
import { RollsBackend } from './rolls.ts';
import { SessionsBackend } from './sessions.ts';
import { SharedDisksBackend } from './shared-disks.ts';
import { StorageNodesBackend } from './storage-nodes.ts';
import { EventsBackend, TasksBackend } from './tasks.ts';
import { TiesBackend } from './ties.ts';
import { UnknownVmsBackend } from './unknown-vms.ts';
import { VmsBackend } from './vms.ts';

/** See the module's comment. */
export interface Backend {
  readonly access: AccessBackend;
  readonly artifacts: Artifacts;
  readonly backups: BackupsBackend;
  readonly authority: AuthorityBackend;
  readonly cluster: ClusterBackend;
  /** The consoles that are open through this node; other control nodes ask for them. */
  readonly consoles: Consoles;
  readonly controlNodes: ControlNodesBackend;
  readonly drains: DrainsBackend;
  readonly events: EventsBackend;
  readonly guestClusters: GuestClustersBackend;
  readonly hosts: HostsBackend;
  readonly images: ImagesBackend;
  readonly lab: LabBackend;
  readonly maintenancePlans: MaintenancePlans;
  readonly rolls: RollsBackend;
  readonly networks: NetworksBackend;
  readonly overview: OverviewBackend;
  readonly sessions: SessionsBackend;
  readonly sharedDisks: SharedDisksBackend;
  readonly storageNodes: StorageNodesBackend;
  readonly tasks: TasksBackend;
  readonly ties: TiesBackend;
  readonly unknownVms: UnknownVmsBackend;
  readonly vms: VmsBackend;
}

/** Makes the backend of one control node, for as long as its process lives. */
export function createBackend(context: BackendContext): Backend {
  // Before etcd is read: the index takes the records in as they arrive.
  indexOfStore(context.store);
  const artifacts = new Artifacts(context);
  const known = new KnownTokens(context);
  const access = new AccessBackend(context, known);
  const controlNodes = new ControlNodesBackend(context);
  const vms = new VmsBackend(context, artifacts);
  return {
    access,
    artifacts,
    backups: new BackupsBackend(context),
    authority: new AuthorityBackend(context),
    cluster: new ClusterBackend(context, controlNodes),
    consoles: new Consoles({
      node: context.name,
      ports: consolePorts(context),
      askPeers: (vm, takenBy) => context.askConsolePeers(vm, takenBy),
    }),
    controlNodes,
    drains: new DrainsBackend(context),
    events: new EventsBackend(context),
    guestClusters: new GuestClustersBackend(context),
    hosts: new HostsBackend(context),
    images: new ImagesBackend(context, artifacts),
    lab: new LabBackend(context),
    maintenancePlans: new MaintenancePlans(context),
    rolls: new RollsBackend(context),
    networks: new NetworksBackend(context),
    overview: new OverviewBackend(context),
    sessions: new SessionsBackend(context, known, access),
    sharedDisks: new SharedDisksBackend(context),
    storageNodes: new StorageNodesBackend(context),
    tasks: new TasksBackend(context),
    ties: new TiesBackend(context),
    unknownVms: new UnknownVmsBackend(context, vms),
    vms,
  };
}
