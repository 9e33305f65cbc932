/**
 * Keeps hosts as the records say: ends stale processes, lifts quarantines, hands out network plans. Idempotent; the next report is the retry.
 */
import { messageOf } from '../../base/errors.ts';
import type { HostName, NetworkName } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { decideHost } from '../plan/host-decision.ts';
import { planNetworks } from '../plan/network-plan.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostLink, NetworkPlan } from '../ports/host-link.ts';
import type { Log } from '../ports/log.ts';
import type { LeaderStore } from '../ports/store.ts';
import type { HostObserver } from './observer.ts';

export interface HostLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly observer: HostObserver;
}

const ORDER_DEADLINE_MS = 5_000;

interface HostState {
  busy: boolean;
  /** The plan the host acknowledged, without its revision. */
  plan: string | null;
}

/** One order at a time per host; what a host acknowledged is remembered for this term only. */
export class HostLoop {
  readonly #ports: HostLoopPorts;
  readonly #states = new Map<HostName, HostState>();
  #plans: { revision: number; plans: Map<HostName, NetworkPlan> } | null = null;
  #placementAt = 0;
  #stopped = false;

  constructor(ports: HostLoopPorts) {
    this.#ports = ports;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** The network state `host` should have now. */
  planFor(host: HostName): NetworkPlan {
    const { snapshot } = this.#ports.store;
    if (this.#plans === null || this.#plans.revision !== snapshot.revision) {
      const networks = new Map<NetworkName, NetworkRecord>(
        [...snapshot.networks].map(([name, { value }]) => [name, value]),
      );
      const hosts = [...snapshot.hosts.values()].map(({ value }) => value);
      const vms = [...snapshot.vms.values()].map(({ value }) => value);
      this.#plans = {
        revision: snapshot.revision,
        plans: planNetworks({ revision: snapshot.revision, hosts, vms, networks }),
      };
    }
    return this.#plans.plans.get(host) ?? { revision: snapshot.revision, networks: [], drop: [] };
  }

  /** Records changed so that hosts may need other networks: hand out what differs. */
  placementChanged(): void {
    this.#placementAt = this.#ports.clock.monotonicMs();
    for (const host of this.#ports.store.snapshot.hosts.keys())
      if (this.#ports.observer.report(host) !== null) void this.#serve(host);
  }

  /** A report of `host` came. */
  reported(host: HostName): void {
    void this.#serve(host);
  }

  async #serve(host: HostName): Promise<void> {
    const state = this.#states.get(host) ?? { busy: false, plan: null };
    this.#states.set(host, state);
    if (state.busy || this.#stopped) return;
    state.busy = true;
    try {
      await this.#capacity(host);
      await this.#network(host, state);
      await this.#processes(host);
    } catch (error) {
      this.#ports.log.warn('order to host failed', { host, error: messageOf(error) });
    } finally {
      state.busy = false;
    }
  }

  /** What the host can give is its agent's to say; placement reads the record. */
  async #capacity(host: HostName): Promise<void> {
    const { observer, store } = this.#ports;
    const record = store.snapshot.hosts.get(host);
    const capacity = observer.report(host)?.report.capacity;
    if (
      record === undefined ||
      capacity === undefined ||
      JSON.stringify(capacity) === JSON.stringify(record.value.capacity)
    )
      return;
    await store.commit({ changes: [{ kind: 'host', id: host, value: { ...record.value, capacity } }], event: null });
  }

  async #network(host: HostName, state: HostState): Promise<void> {
    const { observer, hosts, store } = this.#ports;
    const latest = observer.report(host);
    if (latest === null) return;
    if (latest.report.networkRevision === 0) state.plan = null;
    const plan = this.planFor(host);
    const content = JSON.stringify([plan.networks, plan.drop]);
    if (state.plan === content) return;
    await hosts.applyNetwork(host, { ...plan, term: store.term }, { deadlineMs: ORDER_DEADLINE_MS });
    state.plan = content;
  }

  async #processes(host: HostName): Promise<void> {
    const { observer, store, hosts, log } = this.#ports;
    const latest = observer.report(host);
    const record = store.snapshot.hosts.get(host);
    // A report asked for before the last placement change may show a process that was expected then: wait for the next one.
    if (latest === null || record === undefined || latest.sentAt <= this.#placementAt) return;
    const vms = new Map([...store.snapshot.vms].map(([id, { value }]) => [id, value]));
    for (const step of decideHost({ host: record.value, report: latest.report, vms })) {
      if (step.do === 'kill-stale') {
        log.info('ending stale incarnations', {
          host,
          vm: step.vm,
          generations: step.generations,
          reason: step.reason,
        });
        await hosts.kill(
          host,
          { term: store.term, vm: step.vm, generations: step.generations, reason: step.reason },
          { deadlineMs: ORDER_DEADLINE_MS },
        );
      } else {
        const value = { ...record.value, quarantine: null };
        const message = `${host} is back and clean: nothing of an older generation runs there.`;
        const event = {
          at: this.#ports.clock.wallMs(),
          kind: 'host-clean',
          vm: null,
          vmName: null,
          host,
          generation: null,
          message,
        };
        await store.commit({ changes: [{ kind: 'host', id: host, value }], event });
      }
    }
  }
}
