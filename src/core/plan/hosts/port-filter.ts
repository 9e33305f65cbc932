/**
 * Packet filters of hosts, storage nodes and control nodes, as scripts for `nft -f` that replace one table in one
 * transaction. Pure.
 *
 * Guarantees: only packets that open a connection are judged, so that existing connections go on and a disk's packets
 * cost one comparison; the filter of a role judges that role's ports only, so that a machine may have several roles; the
 * port of the verdict's probe (7449) is never touched; agents' and storage services' ports are never closed to
 * strangers, only rate-limited, because the list of members arrives through them
 * (docs/decisions/0016-packet-filters-by-membership.md).
 */
import { PREFIX } from '../../model/keys.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE, PORTS, SLOT_PORT_MAX, SLOT_PORT_MIN } from '../../model/ports.ts';
import { TARGET_UID } from '../../model/users.ts';
import type { Snapshot } from '../../ports/store.ts';

/** The addresses of the cluster's machines, by kind. */
export interface Members {
  readonly controls: readonly string[];
  readonly storage: readonly string[];
  readonly hosts: readonly string[];
}

/** The ports to which the QEMU in a slot may open connections. */
export interface SlotNeeds {
  /** The user ID of the QEMU. */
  readonly uid: number;
  readonly disks: readonly { readonly address: string; readonly port: number }[];
  /**
   * True if the QEMU has a controller for shared disks: they are attached and detached while it runs, from any storage
   * node.
   */
  readonly sharesDisks: boolean;
}

type Records = Pick<Snapshot, 'controls' | 'storage' | 'hosts' | 'unreadable' | 'lastReadable'>;

/**
 * Returns the members that the records name. A machine whose record became invalid keeps the addresses of its last
 * valid record; a storage node or host that was declared lost is no member.
 */
export function membersOf(records: Records): Members {
  return {
    controls: addressesIn(records, PREFIX.control, records.controls, ({ address }) => [address]),
    storage: addressesIn(records, PREFIX.storage, records.storage, ({ addresses, lost }) =>
      lost === undefined ? Object.values(addresses) : [],
    ),
    hosts: addressesIn(records, PREFIX.host, records.hosts, ({ addresses, lost }) =>
      lost === undefined ? Object.values(addresses) : [],
    ),
  };
}

/**
 * Returns the members for a network plan: of hosts only the addresses from which migrations come, because a plan may
 * name a thousand hosts.
 */
export function membersForHosts(records: Records): Members {
  const hosts = addressesIn(records, PREFIX.host, records.hosts, ({ addresses, lost }) =>
    lost === undefined ? [addresses.storage] : [],
  );
  return { ...membersOf(records), hosts };
}

function addressesIn<T>(
  { unreadable, lastReadable }: Pick<Records, 'unreadable' | 'lastReadable'>,
  prefix: string,
  table: ReadonlyMap<string, { readonly value: T }>,
  addressesOf: (record: T) => readonly string[],
): readonly string[] {
  const records = [...table.values()].map(({ value }) => value);
  for (const key of unreadable.keys())
    if (key.startsWith(prefix) && lastReadable.has(key)) records.push(lastReadable.get(key) as T);
  return records.flatMap(addressesOf);
}

/**
 * The mark of guests' frames on their way into a tunnel. The kernel attributes a tunnel packet to the owner of the tap,
 * which is a slot's user; that user cannot mark its own packets without CAP_NET_ADMIN.
 */
export const TUNNEL_MARK = '0x67707431';
/** One table for each role: a machine may have several, and each replaces its own. */
const TABLES = {
  host: 'groundplane_ports',
  storage: 'groundplane_storage_ports',
  control: 'groundplane_control_ports',
} as const;
const MONITORS = `${SLOT_PORT_MIN}-${SLOT_PORT_MAX}`;
const DISKS = `${DISK_PORT_BASE}-${DISK_PORT_BASE + DISK_PORTS_PER_NODE - 1}`;
/** Matches migration ports: the fifth of each slot's eight ports (model/ports.ts). */
const IS_MIGRATION = 'tcp dport & 7 == 4';
const NOT_OPENING = 'tcp flags & (syn | ack) != syn accept';
/** Returns true if nft accepts the address and the port: one invalid entry would make nft reject the whole filter. */
const IPV4 = /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$/;
const PORT_MAX = 65_535;

function table(role: keyof typeof TABLES, lines: readonly string[]): string {
  const name = `inet ${TABLES[role]}`;
  return [`table ${name}`, `delete table ${name}`, `table ${name} {`, ...lines, '}', ''].join('\n');
}

function set(name: string, type: string, elements: readonly string[]): string {
  const content = elements.length === 0 ? '' : `elements = { ${elements.join(', ')} }; `;
  return `set ${name} { ${type}; ${content}}`;
}

const addresses = (name: string, list: readonly string[]): string =>
  set(name, 'type ipv4_addr', [...new Set(list.filter((address) => IPV4.test(address)))]);

function isEndpoint({ address, port }: SlotNeeds['disks'][number]): boolean {
  return IPV4.test(address) && port <= PORT_MAX;
}

/** Ten connection attempts a second for each address that is not a member. */
const KNOCKING = 'set knocking { type ipv4_addr; flags dynamic, timeout; timeout 10s; size 65535; }';
const slowly = (port: number): string =>
  `tcp dport ${port} update @knocking { ip saddr limit rate over 10/second burst 20 packets } drop`;

/**
 * Formats the filter of a host. Monitors and consoles accept control nodes, and storage nodes, which relay; migration
 * ports accept hosts. A slot's user may connect to the ports that its QEMU needs, whatever the membership; other users
 * of the host except root may connect to no port of the cluster, with one exception: the target of a storage node on
 * the same machine may connect to etcd's.
 */
export function hostPortFilter({
  members,
  slots,
  slotUsers,
}: {
  /** Null before the members are known: then only slots are filtered. */
  readonly members: Members | null;
  readonly slots: readonly SlotNeeds[];
  /** The first and the last user ID of slots; null if all QEMUs run as the agent's user. */
  readonly slotUsers: { readonly first: number; readonly last: number } | null;
}): string {
  const disks = slots.flatMap(({ uid, disks: own }) =>
    own.filter(isEndpoint).map(({ address, port }) => `${uid} . ${address} . ${port}`),
  );
  const sharing = slots.filter(({ sharesDisks }) => sharesDisks).map(({ uid }) => String(uid));
  const { controls = [], storage = [], hosts = [] } = members ?? {};
  return table('host', [
    addresses('controls', controls),
    addresses('storage', storage),
    addresses('hosts', hosts),
    addresses('cluster', [...controls, ...storage, ...hosts]),
    set('disks', 'typeof meta skuid . ip daddr . tcp dport', [...new Set(disks)]),
    set('sharing', 'typeof meta skuid', sharing),
    KNOCKING,
    'set moving { typeof meta skuid; flags dynamic, timeout; timeout 10s; size 65535; }',
    `chain input { type filter hook input priority -10; policy accept;
      ${NOT_OPENING}
      iifname "lo" accept
      ${members === null ? '' : `ip saddr @controls accept\n ip saddr @storage accept\n ${slowly(PORTS.agent)}`}
      ${members === null ? '' : `tcp dport ${MONITORS} ${IS_MIGRATION} ip saddr @hosts accept\n tcp dport ${MONITORS} drop`}
    }`,
    `chain slot {
      udp dport ${PORTS.vxlan} meta mark ${TUNNEL_MARK} accept
      ${NOT_OPENING}
      meta skuid . ip daddr . tcp dport @disks accept
      meta skuid @sharing tcp dport ${PORTS.target} accept
      tcp dport ${MONITORS} ${IS_MIGRATION} update @moving { meta skuid limit rate 5/second burst 10 packets } accept
      meta l4proto tcp reject with tcp reset
      drop
    }`,
    `chain output { type filter hook output priority -10; policy accept;
      ${slotUsers === null ? '' : `meta skuid ${slotUsers.first}-${slotUsers.last} jump slot`}
      ${NOT_OPENING}
      meta skuid 0 accept
      meta skuid ${TARGET_UID} tcp dport ${PORTS.etcdClient} accept
      oifname "lo" tcp dport { ${PORTS.agent}, ${MONITORS} } reject with tcp reset
      ip daddr @cluster tcp dport { ${CLUSTER_PORTS} } reject with tcp reset
    }`,
  ]);
}

const CLUSTER_PORTS = [
  PORTS.controlPeer,
  PORTS.agent,
  PORTS.storage,
  PORTS.target,
  PORTS.etcdClient,
  PORTS.etcdPeer,
  MONITORS,
  DISKS,
].join(', ');

/** Formats the filter of a storage node: disk ports accept hosts. */
export function storagePortFilter({ controls, storage, hosts }: Members): string {
  return table('storage', [
    addresses('hosts', hosts),
    addresses('cluster', [...controls, ...storage, ...hosts]),
    KNOCKING,
    `chain input { type filter hook input priority -10; policy accept;
      ${NOT_OPENING}
      iifname "lo" accept
      tcp dport { ${PORTS.target}, ${DISKS} } ip saddr != @hosts drop
      ip saddr @cluster accept
      ${slowly(PORTS.storage)}
    }`,
  ]);
}

/**
 * Formats the filter of a control node: etcd's client port accepts control and storage nodes; etcd's peer port and the
 * control peers' port accept control nodes.
 */
export function controlPortFilter({ controls, storage }: Omit<Members, 'hosts'>): string {
  return table('control', [
    addresses('controls', controls),
    addresses('etcd', [...controls, ...storage]),
    `chain input { type filter hook input priority -10; policy accept;
      ${NOT_OPENING}
      iifname "lo" accept
      tcp dport ${PORTS.etcdClient} ip saddr != @etcd drop
      tcp dport { ${PORTS.etcdPeer}, ${PORTS.controlPeer} } ip saddr != @controls drop
    }`,
  ]);
}
