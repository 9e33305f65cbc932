/**
 * Campaigning and leading: from each election won a Controller lives until the leadership is lost.
 *
 * Guarantees: before a controller begins, everything was read linearizably after the election was won; when the
 * leadership ends, its controller begins no further step, and what it might still write is refused by its guard. A
 * leadership ends with the first commit of which nobody knows whether it was applied, and where another control node
 * reaches more of the cluster (core/loop/lead/lead-watch.ts): the node campaigns again at once, behind those that wait
 * already.
 */
import { termOf } from '../base/epoch.ts';
import { messageOf } from '../base/errors.ts';
import type { Term } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import { Controller, type ControllerPorts } from '../core/loop/controller.ts';
import { ELECTION } from '../core/model/keys.ts';
import { GIVEN_OFTEN, keptMs } from '../core/plan/lead/lead-decision.ts';
import type { Log } from '../core/ports/log.ts';
import type { Etcd } from '../etcd/api.ts';
import { campaign, type Leadership } from '../etcd/election.ts';
import type { ClusterStore } from './store/cluster-store.ts';
import { leaderStore, type TermEnd } from './store/leader-store.ts';

/**
 * Shortest lease that etcd allows with its default election timeout, in seconds: what a failover of the control plane
 * costs.
 */
const LEASE_SECONDS = 2;
const RETRY_MS = 500;
const WHY_OVER: Readonly<Record<TermEnd, string>> = {
  deposed: 'a commit was refused: another leader was elected meanwhile',
  'unknown-outcome':
    'it is unknown whether a commit was applied: this term ends, and with it every transaction that compares its key',
};

export interface LeadershipOptions {
  readonly etcd: Etcd;
  readonly store: ClusterStore;
  readonly log: Log;
  /** Name and address of this node as JSON, for the others. */
  readonly value: string;
  readonly ports: Omit<ControllerPorts, 'store' | 'lead'>;
  readonly signal: AbortSignal;
  readonly onLead: (leading: { readonly term: Term; readonly controller: Controller } | null) => void;
}

/**
 * The times at which this node gave the lead away (monotonic ms), over all of its terms: the last GIVEN_OFTEN times,
 * oldest first.
 */
type Given = number[];

/** Campaigns again and again until `signal` aborts. */
export async function leadForEver(options: LeadershipOptions): Promise<void> {
  const { etcd, log, signal, value } = options;
  const given: Given = [];
  while (!signal.aborted) {
    try {
      const leadership = await campaign(etcd, { prefix: ELECTION, value, ttlSeconds: LEASE_SECONDS, signal });
      await lead(leadership, options, given);
    } catch (error) {
      if (signal.aborted) return;
      log.warn('campaign failed', { error: messageOf(error) });
      await sleep(options.ports.clock, RETRY_MS, { signal });
    }
  }
}

async function lead(leadership: Leadership, options: LeadershipOptions, given: Given): Promise<void> {
  const { log, signal } = options;
  const over = new AbortController();
  const end = (): void => over.abort();
  void leadership.lost.then(end, end);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  try {
    await reign(leadership, options, { over, given });
  } finally {
    signal.removeEventListener('abort', end);
    // However the leadership ended, also if it failed to begin: a key that is kept alive and not used would keep every
    // node from leading.
    await leadership.resign().catch((error: unknown) => log.warn('resigning failed', { error: messageOf(error) }));
  }
}

async function reign(
  leadership: Leadership,
  options: LeadershipOptions,
  { over, given }: { readonly over: AbortController; readonly given: Given },
): Promise<void> {
  const { store, log, ports, onLead } = options;
  await store.catchUp();
  const epoch = store.epoch.number;
  if (over.signal.aborted) return;
  const ended = new Promise<void>((resolve) => {
    over.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const hand = leaderStore(store, { ...leadership, epoch }, (why) => {
    log.warn(WHY_OVER[why], { term: termOf(epoch, leadership.createRevision) });
    over.abort();
  });
  const { clock } = ports;
  const giveAway = (why: string): void => {
    log.warn('the lead is given away', { term: termOf(epoch, leadership.createRevision), why });
    given.push(clock.monotonicMs());
    if (given.length > GIVEN_OFTEN) given.shift();
    over.abort();
  };
  const lead = { giveAway, keptMs: keptMs(given, clock.monotonicMs()) };
  const controller = new Controller({ ...ports, store: hand, lead });
  log.info('leading', { term: termOf(epoch, leadership.createRevision) });
  controller.start();
  onLead({ term: hand.term, controller });
  await ended;
  onLead(null);
  controller.stop();
  hand.close();
  log.info('no longer leading', { term: termOf(epoch, leadership.createRevision) });
}
