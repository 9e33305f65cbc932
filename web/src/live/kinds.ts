/** The lists that the browser keeps, by the kind that the watch calls their objects. */
import type {
  ControlNode,
  Disk,
  DrainSummary,
  Event,
  GuestCluster,
  Host,
  HostRow,
  Image,
  Network,
  RollSummary,
  SharedDisk,
  StorageNode,
  Task,
  Vm,
  VmRow,
} from '../api/types.ts';
import type { Shape } from './collection.ts';

/** Type of the objects of each list. */
export interface Kinds {
  readonly vm: Vm;
  readonly host: Host;
  readonly 'vm-row': VmRow;
  readonly 'host-row': HostRow;
  readonly storage: StorageNode;
  readonly control: ControlNode;
  readonly network: Network;
  readonly image: Image;
  readonly disk: Disk;
  readonly 'shared-disk': SharedDisk;
  readonly 'guest-cluster': GuestCluster;
  readonly drain: DrainSummary;
  readonly roll: RollSummary;
  readonly task: Task;
  readonly event: Event;
}
export type Kind = keyof Kinds;

/** The API's path of each list. */
export const LIST_PATHS = {
  vm: '/v1/vms',
  host: '/v1/hosts',
  'vm-row': '/v1/overview/vms',
  'host-row': '/v1/overview/hosts',
  storage: '/v1/storage-nodes',
  control: '/v1/control-nodes',
  network: '/v1/networks',
  image: '/v1/images',
  disk: '/v1/disks',
  'shared-disk': '/v1/shared-disks',
  'guest-cluster': '/v1/guest-clusters',
  drain: '/v1/drains',
  roll: '/v1/rolls',
  task: '/v1/tasks',
  event: '/v1/events',
} as const satisfies Record<Kind, string>;

/** Lists of which only the latest objects are kept, and how many. */
export const LATEST_MAX: Partial<Record<Kind, number>> = { task: 1_000, event: 1_000 };

const named = { keyOf: ({ name }: { name: string }) => name };
const revised = { revisionOf: ({ revision }: { revision: string }) => revision };
const identified = { keyOf: ({ id }: { id: string }) => id };

/** How the objects of each kind are told apart. */
export const SHAPES: { readonly [K in Kind]: Shape<Kinds[K]> } = {
  vm: { ...identified, ...revised },
  host: { ...named, ...revised },
  // Rows have no revision: the latest change counts.
  'vm-row': { ...identified, revisionOf: () => null },
  'host-row': { ...named, revisionOf: () => null },
  storage: { ...named, ...revised },
  control: { ...named, revisionOf: () => null },
  network: { ...named, ...revised },
  image: { ...named, ...revised },
  disk: { ...identified, ...revised },
  'shared-disk': { ...identified, ...revised },
  'guest-cluster': {
    keyOf: ({ name, members }) => name ?? members.map(({ id }) => id).join(' '),
    revisionOf: ({ revision }) => revision,
  },
  drain: { ...identified, ...revised },
  roll: { ...identified, ...revised },
  task: { ...identified, ...revised },
  event: { keyOf: ({ revision, kind, vmId, host }) => `${revision} ${kind} ${vmId} ${host}`, ...revised },
};

/** Objects of one page of a list. */
export const PAGE_ITEMS: Partial<Record<Kind, number>> = { 'vm-row': 5_000, 'host-row': 5_000 };

/** The query of each list: without subtasks, which would hide the other tasks. */
export const LIST_QUERIES: Partial<Record<Kind, object>> = { task: { parts: false } };

const KNOWN = { yes: true, no: false, unknown: null } as const;

/** A host's row in the picture, made from the watch's data. */
export function hostRowOf(host: Host): HostRow {
  const { name, rack, memoryTotalBytes, memoryUsedBytes, agent, cordoned, quarantined, maintenance } = host;
  const state = maintenance === null ? null : maintenance.isEmpty ? 'drained' : 'draining';
  return {
    ...{ name, rack, memoryTotalBytes, memoryUsedBytes, agent, cordoned, quarantined },
    drainable: KNOWN[host.evacuability.drain.possible],
    losable: KNOWN[host.evacuability.loss.possible],
    maintenance: state,
  };
}

/** A VM as the picture has it. */
export function vmRowOf(vm: Vm): VmRow {
  const { id, name, host, verdict, guestCluster, spec } = vm;
  return { id, name, host, verdict, guestCluster, memoryBytes: spec.memoryBytes, antiAffinity: spec.antiAffinity };
}
