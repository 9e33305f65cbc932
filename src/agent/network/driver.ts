/**
 * Makes the kernel's networks what a plan says. Guarantees: repeating a plan changes nothing; the networks survive the
 * agent's death. core/agent/host-network.ts decides which plan counts, and that one change is made at a time.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { CodedError, messageOf } from '../../base/errors.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
import { run, tryRun } from '../../os/child-process.ts';
import type { Log } from '../../os/log.ts';
import { GUEST_MTU } from '../qemu/arguments.ts';
import { applyDhcp } from './dhcp.ts';
import { type LinkPlan, type OverlayEndpoint, planLinks, type WantedTap } from './link-plan.ts';
import { bridgeName, cidrOf, overlaps, UNDERLAY_MTU_MIN } from './names.ts';
import { type Observed, observe } from './observed.ts';
import { ruleScript } from './rules.ts';
import { slotOfTap } from './taps.ts';

export interface NetworkOptions {
  readonly endpoint: OverlayEndpoint;
  /** The host's own addresses, which guests must not reach. */
  readonly hostAddresses: readonly string[];
  readonly runDir: string;
  readonly dropsRoot: boolean;
  readonly log: Log;
}

/** The taps of the QEMUs that run, or are being started. */
export type WantedTaps = () => readonly WantedTap[];

const DEADLINE_MS = 10_000;
const RESOLV_CONF_BYTES_MAX = 64 * 1024;

/**
 * The host's overlay networks: bridges, tunnels, taps' ports, rules and DHCP. A plan that could not be made (CodedError
 * 'failed' with what the system said) may be made in part; the next one sets right what it left.
 */
export class NetworkDriver {
  readonly #options: NetworkOptions;
  #rules = '';

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** Brings the networks into line with the plan; `wanted` returns the plan, and is called as late as possible. */
  async make(asked: NetworkPlan, wanted: WantedTaps): Promise<void> {
    const { endpoint, hostAddresses, runDir, dropsRoot, log } = this.#options;
    const observed = await observe();
    const underlay = observed.addresses.filter(({ address }) => hostAddresses.includes(address));
    const plan = this.#withoutClashes(asked, underlay);
    this.#checkUnderlay(observed);
    const onlyGuests = setForwarding(plan, observed, log);
    const taps = wanted();
    // Rules first: no port is open for a moment before its filter is there.
    const rules = ruleScript(plan, { taps, underlay: [...new Set(underlay.map(cidrOf))], onlyGuests });
    if (rules !== this.#rules) {
      await run(['nft', '-f', '-'], { deadlineMs: DEADLINE_MS, input: rules });
      this.#rules = rules;
    }
    const links = planLinks(plan, taps, { observed, endpoint });
    await this.#applyLinks(links);
    setForwarding(plan, observed, log);
    const nameServers = hostNameServers();
    await applyDhcp(plan.networks, { runDir, dropsRoot, mtu: GUEST_MTU, nameServers });
  }

  /** Removes the taps of slots that have none of `wanted()`. */
  async removeStaleTaps(wanted: WantedTaps): Promise<void> {
    const devices = new Set(wanted().map(({ device }) => device));
    const stale = tapDevices().filter((device) => !devices.has(device));
    const lines = stale.map((device) => `link delete ${device}`);
    await this.#batch('ip', lines, true);
  }

  async #applyLinks({ ip, flood, forget }: LinkPlan): Promise<void> {
    await this.#batch('ip', ip, false);
    await this.#batch('bridge', flood, false);
    await this.#batch('bridge', forget, true);
  }

  /** With `force`, a line that fails because its object is gone already is no error. */
  async #batch(program: 'ip' | 'bridge', lines: readonly string[], force: boolean): Promise<void> {
    if (lines.length === 0) return;
    const argv = [program, ...(force ? ['-force'] : []), '-batch', '-'];
    const options = { deadlineMs: DEADLINE_MS, input: `${lines.join('\n')}\n` };
    await (force ? tryRun(argv, options) : run(argv, options));
  }

  /** A network whose range is the host's own would cut the host off: it stays without a gateway. */
  #withoutClashes(plan: NetworkPlan, underlay: Observed['addresses']): NetworkPlan {
    const networks = plan.networks.map((network) => {
      const { gateway } = network;
      const clash = gateway === null ? undefined : underlay.find((own) => overlaps(own, gateway));
      if (clash === undefined) return network;
      this.#options.log.warn("a network's range is the host's own; it gets no gateway, NAT or DHCP here", {
        network: network.name,
        device: clash.device,
      });
      return { ...network, gateway: null, dhcp: null, nat: false, metadata: false };
    });
    return { ...plan, networks };
  }

  #checkUnderlay({ links }: Observed): void {
    const { device } = this.#options.endpoint;
    const link = links.get(device);
    if (link === undefined)
      throw new CodedError('failed', `The overlay device ${device} does not exist on this host.`, {
        advice: 'No network was changed. Check overlayDevice in the agent configuration.',
      });
    if (link.mtu < UNDERLAY_MTU_MIN)
      throw new CodedError('failed', `The overlay device ${device} has an MTU of ${link.mtu}; tunnels need 1500.`);
  }
}

/** The taps there are now, by the kernel's list of interfaces. */
function tapDevices(): readonly string[] {
  const lines = readFileSync('/proc/self/net/dev', 'utf8').split('\n');
  return lines.map((line) => line.split(':')[0]?.trim() ?? '').filter((device) => slotOfTap(device) !== undefined);
}

/**
 * Lets packets pass between the bridges with NAT and the outside, by interface, unless the machine forwards everything
 * already. Returns whether the machine forwards only because of us.
 */
function setForwarding(plan: NetworkPlan, { defaultDevice }: Observed, log: Log): boolean {
  if (readSysctl('net/ipv4/ip_forward') === '1') return false;
  const bridges = plan.networks.filter(({ nat, gateway }) => nat && gateway !== null).map(({ vni }) => bridgeName(vni));
  if (bridges.length === 0) return true;
  for (const device of [...bridges, ...(defaultDevice === null ? [] : [defaultDevice])]) {
    const name = `net/ipv4/conf/${device}/forwarding`;
    if (readSysctl(name) === '0') writeSysctl(name, '1', log);
  }
  return true;
}

/**
 * Bounds how long a dead TCP connection counts as alive, for every process of this host: an unanswered segment is given
 * up after 6.2 s (tcp_retries2 = 4, RTO from 0.2 s), an unanswered connection attempt after 7 s, and a silent peer
 * after 5 + 3 s (for those who ask for keepalive, as QEMU does for its disks), so that a QEMU cut off from its disk
 * notices within seconds, and only then its patience begins.
 */
export function boundDeadConnections(log: Log): void {
  writeSysctl('net/ipv4/tcp_retries2', '4', log);
  writeSysctl('net/ipv4/tcp_syn_retries', '2', log);
  writeSysctl('net/ipv4/tcp_keepalive_time', '5', log);
  writeSysctl('net/ipv4/tcp_keepalive_intvl', '1', log);
  writeSysctl('net/ipv4/tcp_keepalive_probes', '3', log);
}

function readSysctl(name: string): string | null {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  } catch {
    return null;
  }
}

function writeSysctl(name: string, value: string, log: Log): void {
  try {
    writeFileSync(`/proc/sys/${name}`, value);
  } catch (error) {
    log.warn('a kernel setting could not be changed', { setting: name, value, reason: messageOf(error) });
  }
}

/** The host's name servers as far as guests can reach them. */
function hostNameServers(): readonly string[] {
  try {
    const text = readFileSync('/etc/resolv.conf', 'utf8').slice(0, RESOLV_CONF_BYTES_MAX);
    const found = [...text.matchAll(/^nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/gm)].map(([, address]) => address ?? '');
    return found.filter((address) => !address.startsWith('127.')).slice(0, 3);
  } catch {
    return [];
  }
}
