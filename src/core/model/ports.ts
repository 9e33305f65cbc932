/** The TCP ports on which the parts listen. Fixed, so that a control node can reach a QEMU without asking its host. */
import { LIMITS } from './limits.ts';

export const PORTS = {
  /** Control node: API, join, relay (HTTPS). */
  control: 7440,
  /** Control node: probe and relay for the other control nodes (HTTPS, mutual TLS). */
  controlPeer: 7441,
  /** Agent (HTTPS, mutual TLS). */
  agent: 7443,
  /** Agent, at the gateways of networks: the metadata service for guests (HTTP). */
  metadata: 7446,
  /** Storage service (HTTPS, mutual TLS). */
  storage: 7444,
  /**
   * Nothing ever listens here: a live kernel refuses connections whatever its processes do, which shows that the host
   * is up.
   */
  reachability: 7449,
  /** The iSCSI target of a storage node, on its storage address. */
  target: 3260,
  etcdClient: 2379,
  etcdPeer: 2380,
  vxlan: 4789,
} as const;

const SLOT_BASE = 21_000;
const PORTS_PER_SLOT = 8;
/** Slots per host: the largest number of QEMU processes on one host. */
export const SLOTS_PER_HOST = LIMITS.vmsPerHost.max;

/** The range of QEMU's ports, from the first slot's first port to the last slot's last. */
export const SLOT_PORT_MIN = SLOT_BASE;
export const SLOT_PORT_MAX = SLOT_BASE + SLOTS_PER_HOST * PORTS_PER_SLOT - 1;

/** First port of the NBD servers of a storage node; the disk's own port is in its record. */
export const DISK_PORT_BASE = 30_000;
export const DISK_PORTS_PER_NODE = LIMITS.disksPerNode.max;

export interface SlotPorts {
  /** QMP monitors, one client each: the leader's, a spare, and one for relayed connections. */
  readonly qmp: readonly [number, number, number];
  readonly serial: number;
  /** The port on which a destination listens for the migration stream. */
  readonly migration: number;
  /** VNC server, of VMs with a display. */
  readonly vnc: number;
  /** The channel to the guest's agent (`org.qemu.guest_agent.0`): one client at a time. */
  readonly guestAgent: number;
}

/** The ports of the QEMU in `slot` (0 to SLOTS_PER_HOST - 1) of a host, on every address of that host. */
export function portsOfSlot(slot: number): SlotPorts {
  const first = SLOT_BASE + slot * PORTS_PER_SLOT;
  return {
    qmp: [first, first + 1, first + 2],
    serial: first + 3,
    migration: first + 4,
    vnc: first + 5,
    guestAgent: first + 6,
  };
}

/** Returns true for the ports at which a storage node serves disks: the NBD servers' and the iSCSI target's. */
export function isDiskPort(port: number): boolean {
  return port === PORTS.target || (port >= DISK_PORT_BASE && port < DISK_PORT_BASE + DISK_PORTS_PER_NODE);
}

/** True for ports a relay may connect to: those of QEMUs, and of agents. */
export function isRelayPort(port: number): boolean {
  return (
    port === PORTS.agent ||
    port === PORTS.reachability ||
    (port >= SLOT_BASE && port < SLOT_BASE + SLOTS_PER_HOST * PORTS_PER_SLOT)
  );
}
