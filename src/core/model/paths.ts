/**
 * The independent ways from a control node to a host: directly, through each other control node, through each storage
 * node. Pure: who relays is named here, how a relay is spoken to is the adapters' business.
 */
import type { StorageName } from '../../base/ids.ts';
import type { HostAddresses } from './cluster.ts';

/** One way to a host. At most one of `control` and `storage` is named: the relay. */
export interface Path {
  /** For people: `direct`, `via s1`. */
  readonly name: string;
  /** The control node that it leads through, or null. */
  readonly control: string | null;
  /** The storage node that it leads through, or null. */
  readonly storage: StorageName | null;
  /** Which of a host's addresses the path leads to. */
  readonly network: 'control' | 'storage';
}

/** The path without a relay. */
export const DIRECT: Path = { name: 'direct', control: null, storage: null, network: 'control' };

/** The machines between which paths lead. */
export interface PathMembers {
  /** The control node where every path begins. */
  readonly self: string;
  /** All control nodes. */
  readonly controls: Iterable<string>;
  /** The storage nodes that are not declared lost. */
  readonly storage: Iterable<StorageName>;
}

/** All paths, the direct one first, those through storage nodes last: only these are on another network. */
export function pathsFrom({ self, controls, storage }: PathMembers): readonly Path[] {
  const paths: Path[] = [DIRECT];
  for (const name of controls)
    if (name !== self) paths.push({ name: `via ${name}`, control: name, storage: null, network: 'control' });
  for (const name of storage) paths.push({ name: `via ${name}`, control: null, storage: name, network: 'storage' });
  return paths;
}

/** The address of a host that a path leads to. */
export function addressOn(path: Pick<Path, 'network'>, addresses: Pick<HostAddresses, 'control' | 'storage'>): string {
  return addresses[path.network];
}
