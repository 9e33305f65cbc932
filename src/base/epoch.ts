/**
 * Epochs keep generations and terms growing although etcd goes back in time when it is restored. Both numbers carry the
 * epoch of their cluster: epoch × EPOCH_SPAN + etcd's own counter. A cluster that was never restored is in epoch 0,
 * where both numbers equal etcd's counters. (A power of ten, so that people can read them: 2000000000007 is the seventh
 * of epoch 2.)
 */
import { CodedError } from './errors.ts';
import type { Generation, Term } from './ids.ts';

/** More than etcd's revisions and a VM's generations reach in one epoch: 30 years at 1,000 writes a second. */
export const EPOCH_SPAN = 1_000_000_000_000;
/** The last epoch whose numbers are exact integers. */
export const EPOCH_MAX = Math.floor(Number.MAX_SAFE_INTEGER / EPOCH_SPAN) - 1;

/** The epoch that a generation or a term belongs to. */
export function epochOf(of: number): number {
  return Math.floor(of / EPOCH_SPAN);
}

/** The lowest generation that a VM can have from the beginning of an epoch on: above all that were given before. */
export function floorOfEpoch(epoch: number): Generation | 0 {
  return (epoch * EPOCH_SPAN) as Generation | 0;
}

/** The term of a leader whose election key has this create revision. CodedError 'failed' beyond what a term can be. */
export function termOf(epoch: number, createRevision: number): Term {
  if (createRevision >= EPOCH_SPAN || epoch > EPOCH_MAX)
    throw new CodedError('failed', `Revision ${createRevision} of epoch ${epoch} is too large for a term.`);
  return (epoch * EPOCH_SPAN + createRevision) as Term;
}
