/**
 * The agents inside simulated guests, asked by a simulated control node directly. A guest is ready some time after it
 * began to run where it is, whatever the command is that tells; an agent forgets its processes when its guest boots or
 * moves.
 */
import { messageOf } from '../../base/errors.ts';
import type { GuestAgentLink, GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { Topology } from '../machines/topology.ts';
import type { Hop } from '../network/network.ts';
import type { QemuProcess } from './qemu-process.ts';

/** As in control/links/guest-agents.ts. */
const QUESTION_MS = 10_000;
const FACTS = { os: 'Simulated 1', kernel: null, hostname: null, interfaces: [] };

/** Guests' agents, as a process of a control node reaches them. */
export function simGuestAgents(topology: Topology, process: SimProcess): GuestAgentLink {
  const ask = async <T>(target: QmpTarget, serve: (qemu: QemuProcess) => GuestAnswer<T>): Promise<GuestAnswer<T>> => {
    const node = topology.hosts.get(target.host);
    const qemu = node?.qemus().find(({ order }) => order.vm === target.vm && order.generation === target.generation);
    if (node === undefined || qemu === undefined) return { kind: 'silent', why: 'It cannot be reached.' };
    const hop: Hop = { network: 'control', to: node.machine, process: () => qemu.process };
    const how = { deadlineMs: QUESTION_MS, what: `The guest agent of ${target.vm}` };
    const unheard = new Promise<never>(() => undefined);
    try {
      return await topology.network.call(process, [hop], how, () =>
        qemu.isLive && qemu.hasAgent ? serve(qemu) : unheard,
      );
    } catch (error) {
      return { kind: 'silent', why: messageOf(error) };
    }
  };
  return {
    facts: (target) => ask(target, () => ({ kind: 'answers', value: FACTS })),
    begin: (target) => ask(target, (qemu) => ({ kind: 'answers', value: qemu.beginCheck() })),
    outcome: (target, pid) => ask(target, (qemu) => qemu.checkOutcome(pid)),
  };
}
