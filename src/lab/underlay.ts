/**
 * The networks between the machines: three bridges in the room, a pair of veths per machine and network, and faults of
 * links. Guarantees: a cut link loses packets silently, in both directions and from one moment to the next; no machine
 * sees a reset, an ICMP error or a lost carrier.
 */

import { CodedError } from '../base/errors.ts';
import { DISK_PORT_BASE, PORTS } from '../core/model/ports.ts';
import { run, tryRun } from '../os/child-process.ts';
import {
  GATEWAY_ADDRESS,
  type MachineSpec,
  NETWORKS,
  type NetworkRole,
  OUTSIDE_ADDRESS,
  PREFIX_LENGTH,
} from './shape.ts';

const DEADLINE_MS = 20_000;
const TABLE = 'bridge lab';

/**
 * Drops frames by three sets: `cut`, all frames to and from the set's ports; `apart`, frames from the first port of a
 * pair to the second; `diskless`, frames to and from ports at which disks are served (the NBD ports below the kernel's
 * range for clients, which are assigned first, and the iSCSI target's port).
 */
const DISK_PORTS = `{ ${PORTS.target}, ${DISK_PORT_BASE}-32767 }`;
const CUT_RULES = `
table ${TABLE} {
  set cut { type ifname; }
  set apart { type ifname . ifname; }
  set diskless { type ifname; }
  chain forward {
    type filter hook forward priority -300;
    iifname @cut drop; oifname @cut drop;
    iifname . oifname @apart drop;
    iifname @diskless tcp dport ${DISK_PORTS} drop;
    oifname @diskless tcp sport ${DISK_PORTS} drop;
  }
  chain input { type filter hook input priority -300; iifname @cut drop; }
  chain output { type filter hook output priority -300; oifname @cut drop; }
}
`;

/** Makes the bridges and the room's own addresses. Call this once, in the room's network namespace. */
export async function createUnderlay(): Promise<void> {
  const lines = ['link set lo up', `address add ${OUTSIDE_ADDRESS}/32 dev lo`];
  for (const { bridge, mtu } of Object.values(NETWORKS)) {
    lines.push(`link add ${bridge} mtu ${mtu} type bridge mcast_snooping 0`, `link set ${bridge} up`);
  }
  lines.push(`address add ${GATEWAY_ADDRESS}/${PREFIX_LENGTH} dev ${NETWORKS.control.bridge}`);
  await ipBatch(lines);
  await nft(CUT_RULES);
}

/** Lets the room forward to the real outside through `device` (a slirp4netns tap), hiding the machines' addresses. */
export async function openOutside(device: string): Promise<void> {
  await nft(`
table ip outside {
  chain post { type nat hook postrouting priority 100; oifname "${device}" masquerade; }
}
`);
}

/** Plugs a machine in: veths from the bridges into the network namespace of process `pid`, addresses, default route. */
export async function plugIn(machine: MachineSpec, pid: number): Promise<void> {
  const outer: string[] = [];
  const inner: string[] = ['link set lo up'];
  for (const { network, device, port, address, mac } of machine.nics) {
    const { bridge, mtu } = NETWORKS[network];
    outer.push(
      `link add ${port} mtu ${mtu} type veth peer name ${device} mtu ${mtu} address ${mac} netns ${pid}`,
      `link set ${port} master ${bridge} up`,
    );
    inner.push(`address add ${address}/${PREFIX_LENGTH} dev ${device}`, `link set ${device} up`);
  }
  inner.push(`route add default via ${GATEWAY_ADDRESS}`);
  await ipBatch(outer);
  await ipBatch(inner, ['nsenter', '--target', String(pid), '--net', '--']);
}

/**
 * The things that a machine can be cut from: a network, the hosts and storage nodes on the control network, or the disk
 * ports on the storage network.
 */
export async function unplug(machine: MachineSpec): Promise<void> {
  const deleted = await tryRun(['ip', '-force', '-batch', '-'], {
    deadlineMs: DEADLINE_MS,
    input: machine.nics.map(({ port }) => `link delete ${port}\n`).join(''),
  });
  if (deleted.exitCode === 0) return;
  const { stdout } = await run(['ip', '-json', 'link'], { deadlineMs: DEADLINE_MS });
  const links = (JSON.parse(stdout) as readonly { ifname: string }[]).map(({ ifname }) => ifname);
  const left = machine.nics.map(({ port }) => port).filter((port) => links.includes(port));
  if (left.length > 0)
    throw new CodedError('failed', `${left.join(', ')} could not be taken away: ${deleted.stderr.trim()}`);
}

/** The cut links. Each change is one transaction of the kernel. */
export type CutFrom = NetworkRole | 'hosts and storage nodes' | 'disks';

/** Which links are cut. Each change is one transaction of the kernel. */
export class Cuts {
  readonly #cut = new Map<string, Set<CutFrom>>();
  readonly #machines: readonly MachineSpec[];
  #lastApply: Promise<void> = Promise.resolve();

  constructor(machines: readonly MachineSpec[]) {
    this.#machines = machines;
  }

  /** Returns what `machine` is cut from now. */
  of(machine: string): readonly CutFrom[] {
    return [...(this.#cut.get(machine) ?? [])];
  }

  /** Cuts machines from their networks and from other targets, all at once. Resolves when no packet passes any more. */
  async cut(machines: readonly MachineSpec[], from: readonly CutFrom[]): Promise<void> {
    for (const { name, nics } of machines) {
      const set = this.#cut.get(name) ?? new Set<CutFrom>();
      for (const what of from) {
        const isNetwork = what in NETWORKS;
        if (!isNetwork || nics.some(({ network }) => network === what)) set.add(what);
      }
      this.#cut.set(name, set);
    }
    await this.#apply();
  }

  /** Heals all links of these machines. */
  async heal(machines: readonly MachineSpec[]): Promise<void> {
    for (const { name } of machines) this.#cut.delete(name);
    await this.#apply();
  }

  #apply(): Promise<void> {
    const all = [...this.#cut].flatMap(([name, from]) => [...from].map((what) => ({ name, what })));
    const led = this.#machines
      .filter(({ kind }) => kind !== 'control')
      .flatMap(({ name }) => this.#portsOf(name, 'control'));
    const cut = all.flatMap(({ name, what }) => this.#portsOf(name, what));
    const apart = all
      .filter(({ what }) => what === 'hosts and storage nodes')
      .flatMap(({ name }) => this.#portsOf(name, 'control'))
      .flatMap((own) => led.flatMap((other) => [`${own} . ${other}`, `${other} . ${own}`]));
    const diskless = all.filter(({ what }) => what === 'disks').flatMap(({ name }) => this.#portsOf(name, 'storage'));
    const script = Object.entries({ cut, apart, diskless }).map(([set, elements]) => refill(set, elements));
    // In order: the last requested state is the final one.
    this.#lastApply = this.#lastApply.catch(() => undefined).then(() => nft(script.join('')));
    return this.#lastApply;
  }

  #portsOf(machine: string, network: CutFrom): string[] {
    const nics = this.#machines.find(({ name }) => name === machine)?.nics ?? [];
    return nics.filter((nic) => nic.network === network).map(({ port }) => `"${port}"`);
  }
}

/** Formats the lines that give a set exactly these elements. */
function refill(set: string, elements: readonly string[]): string {
  const added = elements.length === 0 ? '' : `add element ${TABLE} ${set} { ${elements.join(', ')} }\n`;
  return `flush set ${TABLE} ${set}\n${added}`;
}

async function ipBatch(lines: readonly string[], prefix: readonly string[] = []): Promise<void> {
  await run([...prefix, 'ip', '-batch', '-'], { deadlineMs: DEADLINE_MS, input: `${lines.join('\n')}\n` });
}

async function nft(script: string): Promise<void> {
  await run(['nft', '-f', '-'], { deadlineMs: DEADLINE_MS, input: script });
}
