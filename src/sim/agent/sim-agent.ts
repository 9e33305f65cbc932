/**
 * A simulated agent: the real decisions (core/agent), the real service (src/agent/routes.ts) and a simulated machine.
 * Guarantees: it ends with its process and leaves everything in the kernel as it is; a new one on the same kernel knows
 * only what it finds there.
 */

import { messageOf } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { VERSION } from '../../base/version.ts';
import { AgentHost } from '../../core/agent/agent-host.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Log } from '../../core/ports/log.ts';
import type { SimRandom } from '../time/sim-random.ts';
import { AgentMachine, type AgentMachineOptions, type HostTroubles } from './agent-machine.ts';
import type { HostKernel } from './host-kernel.ts';

export interface SimAgentOptions {
  readonly name: HostName;
  /** The agent's process. */
  readonly clock: Clock;
  readonly kernel: HostKernel;
  readonly random: SimRandom;
  readonly troubles: Readonly<HostTroubles>;
  readonly probe: AgentMachineOptions['probe'];
  readonly log: Log;
}

/** As src/agent/main.ts has it. */
const TIDY_MS = 2_000;

/** Begins the life of an agent in a process that has just been started. */
export function startAgent({ name, clock, kernel, random, troubles, probe, log }: SimAgentOptions): AgentHost {
  const machine = new AgentMachine({ kernel, clock, random, troubles, probe });
  const host = new AgentHost({ name, version: VERSION, machine, clock, log });
  const tidy = (): void => {
    host.tidy().catch((error: unknown) => log.warn('tidying failed', { reason: messageOf(error) }));
    clock.after(TIDY_MS, tidy);
  };
  tidy();
  return host;
}
