/** The ports to agents, storage services and paths, over a simulated world. */

import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import type { HostName, StorageName } from '../base/ids.ts';
import type { DiskRecord } from '../core/model/cluster.ts';
import { pause } from '../core/ports/clock.ts';
import type { CallOptions, HostLink } from '../core/ports/host-link.ts';
import type { Path, Paths } from '../core/ports/paths.ts';
import type { StorageLink } from '../core/ports/storage-link.ts';
import type { SimHost } from './sim-hosts.ts';
import type { SimStorage } from './sim-storage.ts';
import type { SimSurroundings } from './sim-surroundings.ts';

/** Agents on the control network. */
export function simHostLink(world: SimSurroundings): HostLink {
  const onAgent = async <T>(name: HostName, { deadlineMs }: CallOptions, serve: (host: SimHost) => T): Promise<T> => {
    const host = present(world.hosts.get(name), `host ${name}`);
    const reached = (): boolean => host.up && !host.controlCut;
    return world.call({ reached, deadlineMs, what: `The agent of ${name}` }, () => {
      if (!host.agentUp) throw new CodedError('unavailable', `Nobody listens on ${name}.`);
      return serve(host);
    });
  };
  return {
    report: async (name, options) => {
      const report = await onAgent(name, options, (host) => host.report());
      world.note({ kind: 'probe', by: 'c1', host: name, path: 'direct', met: true });
      return report;
    },
    launch: (name, order, options) =>
      onAgent(name, options, (host) => {
        world.say(`${order.vm}:${order.generation} is launched on ${name}${order.incoming ? ', incoming' : ''}`);
        return host.launch(
          order,
          ({ disk }) => present(world.store.get<DiskRecord>('disk', disk), `disk ${disk}`).node,
        );
      }),
    kill: (name, order, options) => onAgent(name, options, (host) => host.killProcesses(order)),
    applyNetwork: (name, order, options) => onAgent(name, options, (host) => host.applyNetwork(order)),
  };
}

/** Storage services on the control network. */
export function simStorageLink(world: SimSurroundings): StorageLink {
  const onNode = async <T>(
    name: StorageName,
    { deadlineMs }: CallOptions,
    serve: (node: SimStorage) => T,
  ): Promise<T> => {
    const node = present(world.storage.get(name), `storage node ${name}`);
    return world.call({ reached: () => node.up, deadlineMs, what: `Storage node ${name}` }, () => serve(node));
  };
  return {
    report: (name, options) => onNode(name, options, (node) => node.report()),
    fence: (name, order, options) => onNode(name, options, (node) => node.fence(order)),
    grant: (name, order, options) => onNode(name, options, (node) => node.grant(order)),
    revoke: (name, order, options) => onNode(name, options, (node) => node.revoke(order)),
    createDisk: (name, disk, order, options) => onNode(name, options, (node) => node.createDisk(disk, order)),
    deleteDisk: (name, disk, order, options) => onNode(name, options, (node) => node.deleteDisk(disk, order.term)),
  };
}

/** The direct path on the control network, and one through each storage node on the storage network. */
export function simPaths(world: SimSurroundings): Paths {
  const list = (): Path[] => [
    { name: 'direct', storage: null },
    ...[...world.storage.keys()].map((node) => ({ name: `via ${node}`, storage: node })),
  ];
  return {
    list,
    probe: async (path, { name }, deadlineMs) => {
      await pause(world.clock, 1 + world.random.below(4));
      if (path.storage !== null && world.storage.get(path.storage)?.up !== true) {
        await pause(world.clock, deadlineMs);
        world.note({ kind: 'probe', by: 'c1', host: name, path: path.name, met: null });
        return { outcome: 'no-path', lateMs: 0 };
      }
      const met = kernelReached(world, present(world.hosts.get(name), `host ${name}`), path);
      if (!met) await pause(world.clock, deadlineMs);
      world.note({ kind: 'probe', by: 'c1', host: name, path: path.name, met });
      return { outcome: met ? 'refused' : 'silent', lateMs: 0 };
    },
  };
}

/** Whether a packet on `path` reaches the kernel of `host` and comes back. */
export function kernelReached(world: SimSurroundings, host: SimHost, path: Path): boolean {
  if (!host.up) return false;
  if (path.storage === null) return !host.controlCut;
  return world.storage.get(path.storage)?.up === true && !host.storageCut;
}
