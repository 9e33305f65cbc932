/**
 * Who belongs to the cluster, from etcd. Guarantees: a value that is no record changes nothing about its machine; while etcd is away, what was
 * known stays (nobody can join or leave meanwhile).
 */
import { PREFIX } from '../core/model/keys.ts';
import type { Members } from '../core/plan/port-filter.ts';
import type { EtcdClient } from '../etcd/client.ts';
import { follow } from '../etcd/follow.ts';
import { isRecord } from '../rpc/parse.ts';

const KINDS = { controls: PREFIX.control, storage: PREFIX.storage, hosts: PREFIX.host } as const;
type Kind = keyof typeof KINDS;

/** Calls back with all members, first when each kind was read, then after every change; never resolves. Rejects when etcd refuses for good. */
export async function followMembers(etcd: EtcdClient, onMembers: (members: Members) => void): Promise<void> {
  const known: Record<Kind, Map<string, readonly string[]> | null> = { controls: null, storage: null, hosts: null };
  const tell = (): void => {
    const { controls, storage, hosts } = known;
    if (controls === null || storage === null || hosts === null) return;
    const all = (of: ReadonlyMap<string, readonly string[]>): readonly string[] => [...of.values()].flat();
    onMembers({ controls: all(controls), storage: all(storage), hosts: all(hosts) });
  };
  await Promise.all(
    (Object.keys(KINDS) as Kind[]).map((kind) =>
      follow(etcd, KINDS[kind], {
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
      }),
    ),
  );
}

/** All addresses of a machine's record; null where the text is none. */
function addressesIn(text: string): readonly string[] | null {
  try {
    const record: unknown = JSON.parse(text);
    if (!isRecord(record)) return null;
    const { address, addresses } = record;
    const values = isRecord(addresses) ? Object.values(addresses) : [address];
    return values.filter((value) => typeof value === 'string');
  } catch {
    return null;
  }
}
