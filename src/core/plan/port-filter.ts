/**
 * Packet filters of hosts, storage nodes and control nodes, as scripts for `nft -f` that replace one table in one transaction. Pure.
 *
 * Guarantees: only connections that are being opened are judged, so that what exists goes on, and a disk's packets cost one comparison; the port
 * of the verdict's probe (7449) is never touched; agents' and storage services' ports are never closed to strangers, only slow, because the
 * word of who belongs to the cluster comes in by them (docs/decisions/0016-packet-filters-by-membership.md).
 */
import type { HostAddresses, StorageRecord } from '../model/cluster.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE, PORTS, SLOT_PORT_MAX, SLOT_PORT_MIN } from '../model/ports.ts';

/** The addresses of the cluster's machines, all of them of each kind. */
export interface Members {
  readonly controls: readonly string[];
  readonly storage: readonly string[];
  readonly hosts: readonly string[];
}

/** What the QEMU in a slot may open connections to. */
export interface SlotNeeds {
  /** The user it runs as. */
  readonly uid: number;
  readonly disks: readonly { readonly address: string; readonly port: number }[];
  /** It has a place for shared disks: they come and go while it runs, from every storage node. */
  readonly sharesDisks: boolean;
}

interface Records {
  readonly controls: Table<{ readonly address: string }>;
  readonly storage: Table<{ readonly addresses: StorageRecord['addresses'] }>;
  readonly hosts: Table<{ readonly addresses: HostAddresses }>;
}
interface Table<T> {
  values(): Iterable<{ readonly value: T }>;
}

/** The members that records name. */
export function membersOf({ controls, storage, hosts }: Records): Members {
  return {
    controls: [...controls.values()].map(({ value }) => value.address),
    storage: [...storage.values()].flatMap(({ value }) => Object.values(value.addresses)),
    hosts: [...hosts.values()].flatMap(({ value }) => Object.values(value.addresses)),
  };
}

/** The same as a plan for hosts has it: of hosts only where their migrations come from, because a plan names a thousand of them. */
export function membersForHosts(records: Records): Members {
  return { ...membersOf(records), hosts: [...records.hosts.values()].map(({ value }) => value.addresses.storage) };
}

/**
 * The mark of guests' frames on their way into a tunnel. The kernel counts the packets that carry them as the tap's owner's, who is a slot's
 * user; without CAP_NET_ADMIN that user cannot mark packets of its own.
 */
export const TUNNEL_MARK = '0x67707431';
const TABLE = 'groundplane_ports';
const MONITORS = `${SLOT_PORT_MIN}-${SLOT_PORT_MAX}`;
const DISKS = `${DISK_PORT_BASE}-${DISK_PORT_BASE + DISK_PORTS_PER_NODE - 1}`;
/** A slot has eight ports, and the fifth is that of its migration (model/ports.ts). */
const IS_MIGRATION = 'tcp dport & 7 == 4';
const NOT_OPENING = 'tcp flags & (syn | ack) != syn accept';
/** What nft takes for an address and a port: one that it does not take would cost the whole filter. */
const IPV4 = /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$/;
const PORT_MAX = 65_535;

function table(lines: readonly string[]): string {
  const name = `inet ${TABLE}`;
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
 * Of a host. Monitors and consoles: control nodes, and storage nodes, which relay. Migration: hosts. Users of slots: what their QEMU needs,
 * whoever belongs to the cluster; other users of the host but root: no port of the cluster.
 */
export function hostPortFilter({
  members,
  slots,
  slotUsers,
}: {
  /** Null while nobody said who belongs to the cluster: then only slots are filtered. */
  readonly members: Members | null;
  readonly slots: readonly SlotNeeds[];
  /** The first and the last user of slots; null where all QEMUs run as the agent's user. */
  readonly slotUsers: { readonly first: number; readonly last: number } | null;
}): string {
  const disks = slots.flatMap(({ uid, disks: own }) =>
    own.filter(isEndpoint).map(({ address, port }) => `${uid} . ${address} . ${port}`),
  );
  const sharing = slots.filter(({ sharesDisks }) => sharesDisks).map(({ uid }) => String(uid));
  const { controls = [], storage = [], hosts = [] } = members ?? {};
  return table([
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

/** Of a storage node: disks are hosts'. */
export function storagePortFilter({ controls, storage, hosts }: Members): string {
  return table([
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

/** Of a control node: etcd is for control and storage nodes, its members' port and the peers' for control nodes. */
export function controlPortFilter({ controls, storage }: Omit<Members, 'hosts'>): string {
  return table([
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
