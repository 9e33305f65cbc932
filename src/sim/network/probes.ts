/** Connection attempts to kernels over simulated networks, as os/tcp-probe.ts makes them. */
import { sleep } from '../../base/sleep.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import type { Topology } from '../machines/topology.ts';
import { addressOf } from './addresses.ts';
import type { Hop, NetworkName, SimNetwork } from './network.ts';

/** A timer later than this says that the prober was not running. */
const LATE_MS_MAX = 150;

/** One attempt to reach the kernel of a machine. */
export async function probeKernel(
  network: SimNetwork,
  prober: SimProcess,
  to: Pick<Hop, 'network' | 'to'>,
  deadlineMs: number,
): Promise<ProbeResult> {
  const startedAt = prober.monotonicMs();
  try {
    const hop: Hop = { ...to, process: () => null };
    await network.call(prober, [hop], { deadlineMs, what: to.to.name }, () => undefined);
    return { outcome: 'refused', lateMs: 0 };
  } catch {
    const lateMs = Math.max(0, Math.round(prober.monotonicMs() - startedAt - deadlineMs));
    return { outcome: lateMs > LATE_MS_MAX ? 'void' : 'silent', lateMs };
  }
}

/** One attempt to reach an address; nothing answers where no machine has it. */
export async function probeAddress(
  topology: Topology,
  prober: SimProcess,
  to: { readonly network: 'control' | 'storage'; readonly address: string },
  deadlineMs: number,
): Promise<ProbeResult> {
  const machine = machineAt(topology, to);
  if (machine === undefined) return unanswered(prober, deadlineMs);
  return probeKernel(topology.network, prober, { network: to.network, to: machine }, deadlineMs);
}

/** What an attempt meets where no machine is. */
export async function unanswered(prober: SimProcess, deadlineMs: number): Promise<ProbeResult> {
  await sleep(prober, deadlineMs);
  return { outcome: 'silent', lateMs: 0 };
}

function machineAt(
  { hosts, storage }: Topology,
  { network, address }: { readonly network: NetworkName; readonly address: string },
): SimMachine | undefined {
  for (const { machine } of [...hosts.values(), ...storage.values()])
    if (addressOf(network, machine.name) === address) return machine;
  return undefined;
}
