/**
 * The agents inside guests from this control node (core/ports/guest-agent-link.ts): a short conversation for each
 * question, over whatever path leads to the guest's QEMU. QEMU serves one client at a time, so another control node that
 * asks the same guest waits in its queue.
 *
 * Guarantees: as the port says; at most AT_ONCE conversations are open in each lane, and WAITING_MAX questions wait for
 * one: people who look, and ready-checks (guest-agent-turns.ts).
 */
import type { Duplex } from 'node:stream';
import { messageOf } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { hostnameOf, interfacesOf, osOf, outcomeOf, pidOf } from '../../core/guest-agent/answers.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { GuestAgentLink, GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { withDeadline } from '../../os/deadline.ts';
import { GuestAgentConversation, GuestRefusal } from './guest-agent-conversation.ts';
import { GuestAgentTurns, type GuestLane } from './guest-agent-turns.ts';
import { openChardev } from './qemu-streams.ts';
import { openByAnyPath, type PathsToQemus } from './qmp-connector.ts';

/** Deadline of one connection attempt on one path, and of its handshake, in ms. */
const CONNECT_MS = 2_000;
/** Deadline of a question from the beginning of its turn, in ms: paths, handshake and conversation. */
const QUESTION_MS = 10_000;
/** Limits of each lane. */
const AT_ONCE = 16;
const WAITING_MAX = 256;
/** One buffer of a guest's port holds 4 KiB: a record must fit into it. */
const RECORD_BYTES = 1_024;

type Talk<T> = (conversation: GuestAgentConversation) => Promise<T>;

/** Guests' agents over TLS. */
export function createGuestAgents(to: PathsToQemus, questionMs: number = QUESTION_MS): GuestAgentLink {
  const turns = new GuestAgentTurns({ atOnce: AT_ONCE, waitingMax: WAITING_MAX });
  const ask = <T>(lane: GuestLane, target: QmpTarget, talk: Talk<T>): Promise<GuestAnswer<T>> =>
    turns.take({ lane, guest: `${target.vm} ${target.generation}` }, () => question(to, { target, questionMs }, talk));
  return {
    facts: (target) =>
      ask('people', target, async (conversation) => ({
        ...osOf(await mayRefuse(conversation.execute('guest-get-osinfo'))),
        hostname: hostnameOf(await mayRefuse(conversation.execute('guest-get-host-name'))),
        interfaces: interfacesOf(await mayRefuse(conversation.execute('guest-network-get-interfaces'))),
      })),
    begin: (target, command) =>
      ask('checks', target, async (conversation) => {
        const args = { path: '/bin/sh', arg: ['-c', command], 'capture-output': true };
        return demand(pidOf(await conversation.execute('guest-exec', args)), 'guest-exec');
      }),
    outcome: (target, pid) =>
      ask('checks', target, async (conversation) =>
        demand(outcomeOf(await conversation.execute('guest-exec-status', { pid })), 'guest-exec-status'),
      ),
  };
}

async function question<T>(
  to: PathsToQemus,
  { target, questionMs }: { readonly target: QmpTarget; readonly questionMs: number },
  talk: Talk<T>,
): Promise<GuestAnswer<T>> {
  const open: Duplex[] = [];
  const whole = async (signal: AbortSignal): Promise<T> => {
    const advice = 'The VM runs on. See whether qemu-guest-agent runs in its guest.';
    const port = portsOfSlot(target.slot).guestAgent;
    const what = 'the port of the guest agent';
    const how = { target, port, what, deadlineMs: CONNECT_MS, recordBytes: RECORD_BYTES };
    const stream = await openByAnyPath(to, { target, what: 'guest agent', advice }, (path) => {
      signal.throwIfAborted();
      return openChardev(to, { path, ...how });
    });
    open.push(stream);
    if (signal.aborted) stream.destroy();
    const conversation = new GuestAgentConversation(stream);
    await conversation.begin();
    return await talk(conversation);
  };
  try {
    const value = await withDeadline(whole, { deadlineMs: questionMs, what: "the guest agent's answer" });
    return { kind: 'answers', value };
  } catch (error) {
    return { kind: error instanceof GuestRefusal ? 'refuses' : 'silent', why: printable(messageOf(error)) };
  } finally {
    for (const stream of open) stream.destroy();
  }
}

/** A guest's owner may have forbidden some commands: the answer then lacks what they report. */
async function mayRefuse(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof GuestRefusal) return null;
    throw error;
  }
}

function demand<T>(value: T | null, command: string): T {
  if (value === null) throw new GuestRefusal(`The guest agent gave no valid answer to ${command}.`);
  return value;
}
