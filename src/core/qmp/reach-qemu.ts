/**
 * Chooses which path and which monitor to try when, and what it means if none leads to a session.
 * Paths are tried in their order, the direct one first; on each of them this control node's own monitor, then the spare
 * ones. Guarantees: a kernel that says that no process listens ends the search, because no other path can find more; so
 * does a process that does not answer, once its spare monitors did not either; only silence leads to the next path. A
 * search has at most one attempt for each monitor on each path, each within `CONNECT_MS`.
 */
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import type { QmpObservation } from '../model/observation.ts';
import type { Path } from '../model/paths.ts';
import { portsOfSlot } from '../model/ports.ts';
import type { Dialed, DialFailure, QmpChannel, QmpDialer } from '../ports/qmp-dialer.ts';
import type { QmpTarget } from '../ports/qmp-link.ts';

/** Deadline of one attempt. */
export const CONNECT_MS = 700;

/** The result of a search: a conversation over the path named `via`, or the observation instead. */
export type Reached =
  | { readonly channel: QmpChannel; readonly via: string; readonly certificateEndsAt: number | null }
  | { readonly channel: null; readonly seen: QmpObservation };

export interface Search {
  readonly dialer: QmpDialer;
  readonly target: QmpTarget;
  /**
   * The monitor, one of three, that this control node tries first, so that a frozen node does not stand in the way of
   * the others.
   */
  readonly monitor: number;
  /** Called for every event of the conversation from the first on. */
  readonly onEvent: (event: QmpEvent) => void;
}

/** Searches once. Never rejects. */
export async function reachQemu(search: Search): Promise<Reached> {
  const silent: string[] = [];
  for (const path of search.dialer.paths()) {
    const { name: via } = path;
    const met = await tryPath(search, path, silent.length === 0);
    if (typeof met !== 'string') return { channel: met.channel, via, certificateEndsAt: met.certificateEndsAt };
    if (met !== 'silent') return { channel: null, seen: { kind: met, via, ageMs: 0 } };
    silent.push(via);
  }
  return { channel: null, seen: { kind: 'silent', paths: silent, ageMs: 0 } };
}

/**
 * Tries the monitors on one path. A monitor that others hold drops connections as soon as its short queue is full: only
 * the spare ones tell that from a machine that is gone. After silence they are asked on the first silent path alone
 * (`isFirst`), since all paths lead to the same monitors.
 */
async function tryPath(
  { dialer, target, monitor, onEvent }: Search,
  path: Path,
  isFirst: boolean,
): Promise<Extract<Dialed, { outcome: 'answers' }> | 'refused' | 'mute' | 'silent'> {
  const { qmp } = portsOfSlot(target.slot);
  let isMute = false;
  for (let spare = 0; spare < qmp.length; spare++) {
    const port = qmp[(monitor + spare) % qmp.length] ?? qmp[0];
    const dialed = await dialer.dial(target, { path, port }, { deadlineMs: CONNECT_MS, onEvent });
    if (dialed.outcome === 'answers') return dialed;
    if (dialed.outcome === 'refused') return 'refused';
    if (isSpeechless(dialed.outcome)) isMute = true;
    const maySpareTell =
      dialed.outcome === 'accepted-but-silent' || (dialed.outcome === 'silent' && (spare > 0 || isFirst));
    if (!maySpareTell) break;
  }
  return isMute ? 'mute' : 'silent';
}

/** Whether a process is there that does not answer as the incarnation should. */
function isSpeechless(outcome: DialFailure): boolean {
  return outcome === 'accepted-but-silent' || outcome === 'rejected';
}
