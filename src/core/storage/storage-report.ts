/**
 * A storage node's report: its pool, its disks, its grants and its connections. With two generations granted (a
 * migration), both show all connections of the disk: the kernel does not tell them apart.
 */
import type { StorageName } from '../../base/ids.ts';
import { PORTS } from '../model/ports.ts';
import type { Clock } from '../ports/clock.ts';
import type { ConnectionAge, DiskBackend } from '../ports/disk-backend.ts';
import type { StorageReport } from '../ports/storage-link.ts';
import type { ServedDisks } from './served-disks.ts';
import type { SharedDisks } from './shared-disks.ts';

/** Makes the report. Rejects with the first error of the pool or the kernel. */
export async function reportOf(parts: {
  readonly name: StorageName;
  readonly version: string;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly disks: DiskBackend;
  readonly served: ServedDisks;
  readonly shared: SharedDisks;
  readonly epoch: number | null;
  readonly refusal: string | null;
}): Promise<StorageReport> {
  const { disks, served, shared, name, version, clock, epoch, refusal } = parts;
  const [pool, artifacts, ids, ages] = await Promise.all([
    disks.space(),
    disks.listArtifacts(),
    disks.listDisks(),
    disks.connectionAges(),
  ]);
  const sharedDisks = await shared.report((address) => idleOf(ages, address));
  return {
    node: name,
    version,
    sharedDisks,
    epoch,
    faults: [
      ...(refusal === null ? [] : [{ disk: null, message: `Nothing is granted: ${refusal}` }]),
      ...disks.faults(),
    ],
    wallMs: clock.wallMs(),
    pool,
    artifacts,
    disks: ids.map((disk) => {
      const server = served.find(disk);
      const connections = ages
        .filter(({ localPort }) => localPort === server?.port)
        .map(({ address, idleMs }) => ({ address, idleMs }));
      const grants = (server?.grants ?? []).map(({ vm, generation }) => ({ vm, generation, connections }));
      return { disk, port: server?.port, grants };
    }),
  };
}

/** The shortest silence of what is connected to the target from an address; null if the kernel does not say. */
function idleOf(ages: readonly ConnectionAge[], from: string): number | null {
  const idle = ages.flatMap(({ localPort, address, idleMs }) =>
    localPort === PORTS.target && address === from && idleMs !== null ? [idleMs] : [],
  );
  return idle.length === 0 ? null : Math.min(...idle);
}
