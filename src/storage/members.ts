/**
 * Reads the cluster's members from etcd. Guarantees: an invalid record changes nothing about its machine; while etcd
 * cannot be reached, the known members stay (no machine can join or leave in the meantime); if etcd refuses, it is
 * asked again, since hosts that join later could otherwise not reach their disks.
 */
import { messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { PREFIX } from '../core/model/keys.ts';
import type { Members } from '../core/plan/hosts/port-filter.ts';
import type { Etcd } from '../etcd/api.ts';
import { follow } from '../etcd/follow.ts';
import type { KnownControl } from '../rpc/known-controls.ts';
import { isRecord } from '../rpc/parse.ts';

const KINDS = { controls: PREFIX.control, storage: PREFIX.storage, hosts: PREFIX.host } as const;
type Kind = keyof typeof KINDS;

type Known = Record<Kind, Map<string, readonly string[]> | null>;
const AGAIN_MS = 1_000;

export interface FollowMembers {
  /** Called with all members: first when each kind was read, then after every change. */
  readonly onMembers: (members: Members) => void;
  /** Called with the control nodes when they were read, and after every change. */
  readonly onControls?: ((controls: readonly KnownControl[]) => void) | undefined;
  /** Called with etcd's reason for a refusal, once for each reason. etcd is asked again after a second. */
  readonly onRefused: (reason: string) => void;
}

/** Follows the membership until the client of etcd is closed. Never rejects. */
export async function followMembers(etcd: Etcd, { onMembers, onControls, onRefused }: FollowMembers): Promise<void> {
  const known: Known = { controls: null, storage: null, hosts: null };
  const tell = (): void => {
    const { controls, storage, hosts } = known;
    if (controls !== null) onControls?.(controlsIn(controls));
    if (controls === null || storage === null || hosts === null) return;
    const all = (of: ReadonlyMap<string, readonly string[]>): readonly string[] => [...of.values()].flat();
    onMembers({ controls: all(controls), storage: all(storage), hosts: all(hosts) });
  };
  let told = '';
  while (!etcd.isClosed) {
    const ending = new AbortController();
    const all = (Object.keys(KINDS) as Kind[]).map((kind) =>
      followKind(etcd, kind, { known, tell, signal: ending.signal }),
    );
    try {
      await Promise.all(all);
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== told && !etcd.isClosed) onRefused(reason);
      told = reason;
    }
    ending.abort();
    await Promise.allSettled(all);
    await sleep(etcd.clock, AGAIN_MS);
  }
}

/** Returns the control nodes; one whose record is invalid keeps its last address. */
function controlsIn(table: ReadonlyMap<string, readonly string[]>): readonly KnownControl[] {
  return [...table].flatMap(([key, [address]]) =>
    address === undefined ? [] : [{ name: key.slice(PREFIX.control.length), address }],
  );
}

function followKind(
  etcd: Etcd,
  kind: Kind,
  { known, tell, signal }: { readonly known: Known; readonly tell: () => void; readonly signal: AbortSignal },
): Promise<void> {
  return follow(etcd, KINDS[kind], {
    signal,
    onListing: ({ entries }) => {
      const before = known[kind];
      known[kind] = new Map(
        entries.map(({ key, value }) => [key, addressesIn(value) ?? before?.get(key) ?? []] as const),
      );
      tell();
    },
    onEvents: (events) => {
      const table = known[kind] ?? new Map<string, readonly string[]>();
      for (const event of events) {
        const addresses = event.type === 'delete' ? null : addressesIn(event.kv.value);
        if (event.type === 'delete') table.delete(event.key);
        else if (addresses !== null) table.set(event.key, addresses);
      }
      known[kind] = table;
      tell();
    },
  });
}

/** Returns all addresses in a machine's record, none of a storage node that is lost; null if the record is invalid. */
function addressesIn(text: string): readonly string[] | null {
  try {
    const record: unknown = JSON.parse(text);
    if (!isRecord(record)) return null;
    const { address, addresses, lost } = record;
    if (lost !== undefined) return [];
    const values = isRecord(addresses) ? Object.values(addresses) : [address];
    return values.filter((value) => typeof value === 'string');
  } catch {
    return null;
  }
}
