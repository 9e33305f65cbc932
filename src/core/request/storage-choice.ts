/** The storage node on which new disks go: by the reports of the nodes, their images and their room. Pure. */
import { CodedError } from '../../base/errors.ts';
import type { Sha256, StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE } from '../model/ports.ts';
import type { Change, ObjectRef } from '../ports/store.ts';
import type { Basis, Observed } from './basis.ts';
import { largestDiskBytes, type PoolFiles } from './demands.ts';

const MIB = 1024 * 1024;
/** Bytes that are kept free in a pool: a thin disk that is created there must at least be able to begin. */
export const POOL_RESERVE_BYTES = 64 * MIB;

/** The room that disks need on a storage node. */
export interface Room {
  readonly artifacts: readonly Sha256[];
  /** Free bytes with which they can begin. */
  readonly neededBytes: number;
  /** The largest disk of each format: the pool's file system must support files of that size. */
  readonly largest: readonly LargestDisk[];
}

interface LargestDisk {
  readonly sizeBytes: number;
  readonly format: 'qcow2' | 'raw';
}

/** The room that blank shared disks of these sizes need on a storage node: they are sparse files. */
export function roomForShared(disks: readonly { readonly sizeBytes: number }[]): Room {
  return {
    artifacts: [],
    neededBytes: POOL_RESERVE_BYTES + disks.length * MIB,
    largest: disks.map(({ sizeBytes }) => ({ sizeBytes, format: 'raw' })),
  };
}

/** Returns why a pool's file system cannot hold one of the disks; null if it can hold all. */
function tooLargeFor(pool: PoolFiles, node: StorageName, largest: Room['largest']): string | null {
  for (const { sizeBytes, format } of largest) {
    const most = largestDiskBytes(pool, format);
    if (sizeBytes > most)
      return `the file system of ${node} has disks of at most ${most} bytes, and ${sizeBytes} are asked for`;
  }
  return null;
}

/** CodedError 'no-capacity' if the pool of a shared disk cannot hold a file of that size. */
export function demandPoolFile(
  observed: Pick<Observed, 'storageObserver'> | null,
  node: StorageName,
  sizeBytes: number,
): void {
  const pool = observed?.storageObserver.report(node)?.pool ?? {};
  const why = tooLargeFor(pool, node, [{ sizeBytes, format: 'raw' }]);
  if (why === null) return;
  throw new CodedError('no-capacity', `The disk cannot become so large: ${why}.`, {
    advice: 'Nothing was changed. Choose a smaller size.',
  });
}

/**
 * The storage node that answers, holds every image that is cloned, and has the most room; `preferred` if that one has
 * room. CodedError 'no-capacity'.
 */
export function chooseNode(
  { records }: Pick<Basis, 'records'>,
  observed: Pick<Observed, 'storageObserver'> | null,
  { artifacts, neededBytes, largest }: Room,
  preferred: StorageName | null = null,
): StorageName {
  const observer = observed?.storageObserver;
  const reasons: string[] = [];
  let best: { node: StorageName; free: number } | null = null;
  for (const { value } of records.storage.values()) {
    const report = observer?.answers(value.name) === true ? observer.report(value.name) : null;
    const tooLarge = report === null ? null : tooLargeFor(report.pool, value.name, largest);
    if (value.lost !== undefined) reasons.push(`${value.name} is lost`);
    else if (value.leaving === true) reasons.push(`${value.name} is being removed`);
    else if (value.maintenance !== undefined) reasons.push(`${value.name} is out of service`);
    else if (report === null) reasons.push(`${value.name} does not answer`);
    else if (artifacts.some((artifact) => !report.artifacts.includes(artifact)))
      reasons.push(`${value.name} does not hold the image yet (it is copied there from a node that does)`);
    else if (report.pool.freeBytes < neededBytes)
      reasons.push(`${value.name} has ${Math.floor(report.pool.freeBytes / MIB)} MiB free`);
    else if (tooLarge !== null) reasons.push(tooLarge);
    else if (value.name === preferred) return value.name;
    else if (best === null || report.pool.freeBytes > best.free)
      best = { node: value.name, free: report.pool.freeBytes };
  }
  if (best !== null) return best.node;
  const none = records.storage.size === 0 ? 'no storage node has joined' : listed(reasons);
  throw new CodedError('no-capacity', `No storage node can hold the disks: ${none}.`, {
    advice: 'Nothing was created. Free some room, start the storage service, or ask for smaller disks.',
  });
}

/**
 * The storage nodes of new disks among changes. A transaction with these changes depends on the nodes' records: one
 * that is being removed gets no disk.
 */
export function nodesOfNewDisks(changes: readonly Change[], records: Basis['records']): ObjectRef[] {
  const nodes = changes.flatMap((change) => {
    if (change.kind === 'disk' && change.value !== null && !records.disks.has(change.id)) return [change.value.node];
    const isNewShared = change.kind === 'shared-disk' && change.value !== null && !records.sharedDisks.has(change.id);
    return isNewShared ? [change.value.node] : [];
  });
  return [...new Set(nodes)].map((id) => ({ kind: 'storage', id }));
}

/** The lowest free TCP ports of a storage node. CodedError 'no-capacity'. */
export function portsFree({ records }: Pick<Basis, 'records'>, node: StorageName, count: number): number[] {
  const ports: number[] = [];
  for (let port = DISK_PORT_BASE; port < DISK_PORT_BASE + DISK_PORTS_PER_NODE && ports.length < count; port++) {
    const place = `${node}/${port}`;
    if (!records.diskPorts.has(place) && !records.epoch.ports.has(place)) ports.push(port);
  }
  if (ports.length < count)
    throw new CodedError('no-capacity', `${node} serves ${DISK_PORTS_PER_NODE} disks already.`, {
      advice: 'Nothing was created.',
    });
  return ports;
}
