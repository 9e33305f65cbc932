/**
 * How long an answer of QMP counts, and when no question is needed. Guarantees: a move is committed upon answers of the
 * last quarter of a second, or upon events of QEMU; no guest is paused longer for a question that nobody needs. Changes
 * of a QEMU, and the end of its connection, arrive as events, independent of questions.
 */
import type { Generation } from '../../../base/ids.ts';
import type { QmpObservation } from '../../model/observation.ts';
import type { VmPhase } from '../../model/vm.ts';
import { isEnding } from '../../plan/migration/migration-decision.ts';
import type { Acknowledged } from '../../plan/vm/steps.ts';

/** An answer older than this is asked for again, as a rule. */
const FRESH_MS = 250;
/**
 * The same for a destination that receives a stream: it reports the end of the stream by an event, and answers
 * questions only then, while the guest is paused.
 */
const LOADING_MS = 2_000;

type Sent = Pick<Acknowledged, 'granted' | 'listening' | 'sent' | 'fencedBelow'>;

/** How long in ms an answer of `generation` counts, where VMs that run quietly are looked at every `intervalMs`. */
export function keepsMs(
  seen: QmpObservation,
  generation: Generation,
  {
    phase,
    acknowledged,
    intervalMs,
  }: { readonly phase: VmPhase; readonly acknowledged: Sent; readonly intervalMs: number },
): number {
  // One whose run state is about to follow has changed already.
  if (isEnding(seen)) return 0;
  // Less than the shortest time between two looks.
  if (phase.kind === 'running') return intervalMs / 2 - FRESH_MS;
  if (phase.kind !== 'migrating' || seen.kind !== 'answers') return FRESH_MS;
  const { destination } = phase;
  // Nothing was begun yet: the last look at the running VM is at most an interval and a half old.
  if (!acknowledged.granted.has(destination.generation) && seen.status === 'running') return 2 * intervalMs;
  const isLoading = generation === destination.generation && acknowledged.sent.has(generation);
  return isLoading && seen.status === 'inmigrate' ? LOADING_MS : FRESH_MS;
}

/**
 * Returns whether no answer of the QEMU of `generation` could change a decision: while the end of a migration is being
 * recorded, and before its source is fenced, if the guest is paused for as long as its QEMU answers; also for a
 * destination that is known to wait, before anything is sent to it. `isStale`: an order was given since the QEMU was
 * asked (a source was told to halt its guest). `lastToldAt`: when one of the VM's QEMUs last sent an event (on the
 * clock of `now`, ms).
 */
export function hasNothingToAsk(
  phase: VmPhase,
  {
    generation,
    isStale,
    acknowledged,
    lastToldAt,
    now,
  }: {
    readonly generation: Generation;
    readonly isStale: boolean;
    readonly acknowledged: Sent;
    readonly lastToldAt: number | null;
    readonly now: number;
  },
): boolean {
  if (phase.kind === 'switching') return acknowledged.fencedBelow < phase.destination.generation;
  if (phase.kind !== 'migrating') return false;
  const to = phase.destination.generation;
  if (acknowledged.listening.has(to) && !acknowledged.sent.has(to)) return generation === to || !isStale;
  return lastToldAt !== null && now - lastToldAt <= FRESH_MS;
}
