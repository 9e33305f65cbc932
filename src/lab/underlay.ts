/**
 * The networks between the machines: three bridges in the room, a pair of veths per machine and network, and faults of
 * links. Guarantees: a cut link loses packets silently, both ways and from one moment to the next; nobody sees a reset,
 * an ICMP error or a carrier that goes away.
 */

import { CodedError } from '../base/errors.ts';
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

/** All frames to and from the ports of the set `cut` are dropped, whoever sends or receives them. */
const CUT_RULES = `
table ${TABLE} {
  set cut { type ifname; }
  chain forward { type filter hook forward priority -300; iifname @cut drop; oifname @cut drop; }
  chain input { type filter hook input priority -300; iifname @cut drop; }
  chain output { type filter hook output priority -300; oifname @cut drop; }
}
`;

/** Makes the bridges and the room's own addresses. To be called once, in the room's network namespace. */
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
 * Takes a dead machine's ports away; the kernel does it too, some time after the last process of the machine. The two may meet at one port,
 * and `ip` then fails in one of several ways: what counts is that no port is left.
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

/** Which links are cut. Each change is one transaction of the kernel. */
export class Cuts {
  readonly #cut = new Map<string, Set<NetworkRole>>();
  readonly #portsOf: (machine: string, network: NetworkRole) => readonly string[];
  #lastApply: Promise<void> = Promise.resolve();

  constructor(machines: readonly MachineSpec[]) {
    const byName = new Map(machines.map((machine) => [machine.name, machine]));
    this.#portsOf = (name, network) =>
      (byName.get(name)?.nics ?? []).filter((nic) => nic.network === network).map(({ port }) => port);
  }

  /** The networks from which `machine` is cut now. */
  of(machine: string): readonly NetworkRole[] {
    return [...(this.#cut.get(machine) ?? [])];
  }

  /** Cuts machines from networks, all at once. Resolves when no packet passes any more. */
  async cut(machines: readonly MachineSpec[], networks: readonly NetworkRole[]): Promise<void> {
    for (const { name, nics } of machines) {
      const set = this.#cut.get(name) ?? new Set<NetworkRole>();
      for (const { network } of nics) if (networks.includes(network)) set.add(network);
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
    const ports = [...this.#cut].flatMap(([name, networks]) => [...networks].flatMap((n) => this.#portsOf(name, n)));
    const elements =
      ports.length === 0 ? '' : `add element ${TABLE} cut { ${ports.map((p) => `"${p}"`).join(', ')} }\n`;
    // In order: the last state asked for is the one that stays.
    this.#lastApply = this.#lastApply.catch(() => undefined).then(() => nft(`flush set ${TABLE} cut\n${elements}`));
    return this.#lastApply;
  }
}

async function ipBatch(lines: readonly string[], prefix: readonly string[] = []): Promise<void> {
  await run([...prefix, 'ip', '-batch', '-'], { deadlineMs: DEADLINE_MS, input: `${lines.join('\n')}\n` });
}

async function nft(script: string): Promise<void> {
  await run(['nft', '-f', '-'], { deadlineMs: DEADLINE_MS, input: script });
}
