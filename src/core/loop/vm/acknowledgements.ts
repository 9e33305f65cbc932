/**
 * The acknowledgements that one leader got for one VM: the writable side of `Acknowledged`, which decisions read. Steps
 * write it as answers arrive (an answer that comes after its step was given up counts as well); it is forgotten with
 * the leader.
 * Guarantees: nothing is noted before its answer, except effects that an order may have whatever its answer is (a guest
 * that was told to continue may run; after a sharing began it is unknown who has which disk).
 */
import type { Generation, StorageName } from '../../../base/ids.ts';
import type { Acknowledged } from '../../plan/vm/steps.ts';
import type { LaunchOrder } from '../../ports/host-link.ts';

/** The credentials of one incarnation. */
export type Credentials = LaunchOrder['credentials'];

/** One per VM and leader. Times are of the leader's monotonic clock, in ms. */
export class Acknowledgements implements Acknowledged {
  fencedBelow = 0;
  shared: Acknowledged['shared'] = null;
  continued: Acknowledged['continued'] = null;
  standingSince: number | null = null;
  reset: Acknowledged['reset'] = null;
  diskError: Acknowledged['diskError'] = null;
  failure: Acknowledged['failure'] = null;
  readonly sharedFences = new Map<StorageName, number>();
  readonly granted = new Set<Generation>();
  readonly launched = new Set<Generation>();
  readonly neverContinued = new Map<Generation, number | null>();
  readonly listening = new Set<Generation>();
  readonly activated = new Set<Generation>();
  readonly sent = new Set<Generation>();
  readonly revoked = new Set<Generation>();
  readonly ended = new Set<Generation>();
  readonly resisted = new Set<Generation>();
  readonly poweredDown = new Map<Generation, number>();
  /** Credentials that are made for a generation while it is committed and granted; its launch takes them. */
  issuing: { readonly generation: Generation; readonly credentials: Promise<Credentials> } | null = null;

  /** Every storage node with a disk of the VM's own revoked all below `below`. */
  fenced(below: Generation): void {
    this.fencedBelow = Math.max(this.fencedBelow, below);
  }

  /** A storage node that holds a shared disk of the VM revoked all below `below`. */
  sharedFenced(node: StorageName, below: Generation): void {
    this.sharedFences.set(node, Math.max(this.sharedFences.get(node) ?? 0, below));
  }

  /** The grant of one generation is gone again. */
  wasRevoked(generation: Generation): void {
    this.granted.delete(generation);
    this.revoked.add(generation);
  }

  /** An incarnation runs as a process; `listens`: and waits for the stream of its source. */
  wasLaunched(generation: Generation, { listens }: { readonly listens: boolean }): void {
    this.launched.add(generation);
    if (listens) this.listening.add(generation);
  }

  /** A process of this generation exists since `at`, if its guest was never told to run by then. */
  waitsSince(generation: Generation, at: number): void {
    if (this.neverContinued.has(generation)) this.neverContinued.set(generation, at);
  }

  /** Forgets a generation that no record names any more: no later one has its number. */
  forget(generation: Generation): void {
    const { granted, launched, listening, activated, sent, revoked, ended, resisted } = this;
    for (const set of [granted, launched, listening, activated, sent, revoked, ended, resisted]) set.delete(generation);
    this.neverContinued.delete(generation);
    this.poweredDown.delete(generation);
  }
}
