/**
 * Keeps hosts in line with the records: ends stale processes, lifts quarantines, hands out network plans, removes hosts
 * that were declared lost. Idempotent; the next report, or look, is the retry.
 * Guarantees: the cost of a report depends on its host's processes, and the cost of a change on the objects that it
 * names: nothing here walks the cluster, except for a change of the quarantined hosts, which concerns every host. A
 * host gets a new network plan GATHER_MS after the first of some changes, with all of them in it, and no more than one
 * per PLAN_INTERVAL_MS when changes come in a row.
 */
import { epochOf, floorOfEpoch } from '../../../base/epoch.ts';
import { messageOf } from '../../../base/errors.ts';
import type { HostName, NetworkName, VmId } from '../../../base/ids.ts';
import { tunnelsOfLost } from '../../model/certificate.ts';
import { type HostRecord, sameCapacity } from '../../model/cluster.ts';
import { type ClusterIndex, recordsOf } from '../../model/cluster-index.ts';
import { keyOf } from '../../model/keys.ts';
import { type HostRelease, sameRelease } from '../../model/release.ts';
import { decideHost, hasUnclear } from '../../plan/hosts/host-decision.ts';
import { removalWait } from '../../plan/hosts/lost-host-decision.ts';
import { type Members, membersForHosts } from '../../plan/hosts/port-filter.ts';
import { NetworkPlanner } from '../../plan/network-plan.ts';
import type { Clock } from '../../ports/clock.ts';
import type { HostLink, HostReport, NetworkPlan } from '../../ports/host-link.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import type { HostObserver } from '../observe/host-observer.ts';

export interface HostLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly observer: HostObserver;
  /** Follows the snapshot. */
  readonly index: ClusterIndex;
  /** False while it is being found out after a restore what runs where: a plan would cut off what it does not know. */
  readonly mayPlan: () => boolean;
}

const ORDER_DEADLINE_MS = 5_000;
/** The time between two network plans for one host, in ms. A launch brings the plan that its VM needs. */
const PLAN_INTERVAL_MS = 500;
/**
 * Changes within this are handed out together: hosts that are lost, and their VMs that go elsewhere, are seldom alone.
 */
const GATHER_MS = 50;
const OFFERS_PER_TURN = 50;
/** Between two looks at what the removal of lost hosts waits for, in ms, where no change of a record brings one. */
const LOST_LOOK_MS = 1_000;
const NO_VM = { vm: null, vmName: null, generation: null } as const;

interface HostState {
  busy: boolean;
  /** Counts what may have changed the host's network plan, apart from what concerns every host. */
  planVersion: number;
  /** The version the host acknowledged, and when that was ordered (monotonic ms); null before the first. */
  planned: { readonly common: number; readonly own: number; readonly at: number } | null;
  /** When a record last began or ceased to name this host (monotonic ms). */
  placementAt: number;
  /**
   * The processes (by the observer's count) that all were expected, and by which records (by `placementAt`); null: not
   * known.
   */
  clean: { readonly processes: number; readonly placementAt: number } | null;
}

/** One order at a time per host; what a host acknowledged is remembered for this term only. */
export class HostLoop {
  readonly #ports: HostLoopPorts;
  readonly #states = new Map<HostName, HostState>();
  readonly #planner: NetworkPlanner;
  /** Null when the list has to be rebuilt. */
  #members: Members | null = null;
  /** Counts what changes the plan of every host. */
  #commonVersion = 0;
  /** Changes that were not handed out yet: the common version that was, and what concerns single hosts. */
  #commonOffered = 0;
  readonly #changedNetworks = new Set<NetworkName>();
  readonly #changedHosts = new Set<HostName>();
  #isGathering = false;
  #isLooking = false;
  #cancelLook: () => void = () => undefined;
  /** When lost hosts are looked at next (monotonic ms); null: no look is due. */
  #lookAt: number | null = null;
  #stopped = false;

  constructor(ports: HostLoopPorts) {
    this.#ports = ports;
    const { networks } = ports.store.snapshot;
    this.#planner = new NetworkPlanner(ports.index, {
      network: (name) => networks.get(name)?.value,
      members: () => (this.#members ??= membersForHosts(ports.store.snapshot)),
      tunnelsOfLost: () => tunnelsOfLost(recordsOf(ports.store.snapshot.certificates)),
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  /** The network state `host` should have now. */
  planFor(host: HostName): NetworkPlan {
    const { term, snapshot } = this.#ports.store;
    // As a term, so that it grows although etcd was restored.
    return this.#planner.planFor(host, floorOfEpoch(epochOf(term)) + snapshot.revision);
  }

  /** A VM's record began or ceased to name `hosts`. */
  placementChanged(hosts: readonly HostName[]): void {
    for (const host of hosts) this.#state(host).placementAt = this.#ports.clock.monotonicMs();
  }

  /** A network's record changed, or its list of hosts, or one of these hosts: hand out plans that differ. */
  networkChanged(network: NetworkName): void {
    this.#planner.networkChanged(network);
    this.#changedNetworks.add(network);
    this.#gather();
  }

  /** The host has no member of a network any more, or has its first. */
  hostPlanChanged(host: HostName): void {
    this.#changedHosts.add(host);
    this.#gather();
  }

  /** The quarantined hosts changed, or the address of one: every host's plan is another one. */
  everyPlanChanged(): void {
    this.#planner.quarantineChanged();
    this.#commonVersion++;
    this.#gather();
  }

  /**
   * Handles a member that joined, left, or changed its addresses. `isUrgent`: hosts must learn of it soon. Hosts need
   * not learn of a new host at once: the launch of a migration's destination names its source.
   */
  membersChanged({ isUrgent }: { readonly isUrgent: boolean }): void {
    this.#members = null;
    if (!isUrgent) return;
    this.#commonVersion++;
    this.#gather();
  }

  /** A host is no more. */
  forget(host: HostName): void {
    this.#states.delete(host);
    this.#changedHosts.delete(host);
  }

  /**
   * A record changed that the removal of a host which was declared lost may wait for: looks at that `afterMs` later.
   * Changes in a row do not put the look off.
   */
  lookAtLost(afterMs = GATHER_MS): void {
    if (this.#isLooking || this.#stopped || this.#lostHosts().length === 0) return;
    const at = this.#ports.clock.monotonicMs() + afterMs;
    if (this.#lookAt !== null && this.#lookAt <= at) return;
    this.#cancelLook();
    this.#lookAt = at;
    this.#cancelLook = this.#ports.clock.after(afterMs, () => void this.#removeLost());
  }

  /** A report of `host` came. */
  reported(host: HostName): void {
    const state = this.#state(host);
    const latest = this.#ports.observer.report(host);
    if (latest === null) return;
    if (latest.report.networkRevision === 0) state.planned = null;
    // Almost every report finds everything in order.
    if (this.#isPlanDue(state) || this.#areFactsNew(host) || !this.#isClean(host, state)) void this.#serve(host, state);
  }

  #lostHosts(): readonly HostRecord[] {
    return [...this.#ports.index.quarantined()].filter(({ lost }) => lost !== undefined);
  }

  /** Removes the hosts that were declared lost and that nothing waits for any more, one after the other. */
  async #removeLost(): Promise<void> {
    const { clock, index, log, store } = this.#ports;
    this.#isLooking = true;
    this.#lookAt = null;
    try {
      for (const { name: host, lost } of this.#lostHosts()) {
        if (!this.#mayOrder()) break;
        // A record that cannot be read is not what the index has of it.
        const isKnown = store.snapshot.hosts.has(host);
        if (!isKnown || removalWait(index, store.snapshot.unreadable, host) !== null) continue;
        const message = `${host}, which ${lost?.by} declared lost, is removed: its VMs are fenced.`;
        const event = { ...{ at: clock.wallMs(), kind: 'host-removed', host, message }, ...NO_VM };
        await store.commit({ changes: [{ kind: 'host', id: host, value: null }], events: [event] });
      }
    } catch (error) {
      log.warn('a lost host could not be removed', { error: messageOf(error) });
    }
    this.#isLooking = false;
    // Whatever prevented it: the next look is the retry.
    this.lookAtLost(LOST_LOOK_MS);
  }

  #state(host: HostName): HostState {
    let state = this.#states.get(host);
    if (state === undefined) {
      state = { busy: false, planVersion: 0, planned: null, placementAt: 0, clean: null };
      this.#states.set(host, state);
    }
    return state;
  }

  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#ports.clock.after(GATHER_MS, () => {
      this.#isGathering = false;
      if (!this.#stopped) this.#handOut();
    });
  }

  /** Offers plans to the hosts that the changes since the last time concern. */
  #handOut(): void {
    const hosts = new Set(this.#changedHosts);
    for (const network of this.#changedNetworks)
      for (const host of this.#ports.index.membersOf(network)) hosts.add(host);
    this.#changedNetworks.clear();
    this.#changedHosts.clear();
    for (const host of hosts) this.#state(host).planVersion++;
    const isForAll = this.#commonOffered !== this.#commonVersion;
    this.#commonOffered = this.#commonVersion;
    this.#offerInTurns(isForAll ? [...this.#states.keys()] : [...hosts]);
  }

  /**
   * A plan names every machine of the cluster, so that writing a thousand plans would take too long for one turn of the
   * event loop.
   */
  #offerInTurns(hosts: readonly HostName[]): void {
    for (const host of hosts.slice(0, OFFERS_PER_TURN)) {
      const state = this.#states.get(host);
      if (state !== undefined) this.#offer(host, state);
    }
    const rest = hosts.slice(OFFERS_PER_TURN);
    if (rest.length === 0) return;
    this.#ports.clock.after(0, () => {
      if (!this.#stopped) this.#offerInTurns(rest);
    });
  }

  /** Serves a host whose plan may be due; one that had a plan just now gets the next with a report. */
  #offer(host: HostName, state: HostState): void {
    if (this.#isPlanDue(state) && this.#ports.observer.report(host) !== null) void this.#serve(host, state);
  }

  #isPlanDue({ planned, planVersion }: HostState): boolean {
    if (planned === null) return true;
    if (planned.own === planVersion && planned.common === this.#commonVersion) return false;
    return this.#ports.clock.monotonicMs() - planned.at >= PLAN_INTERVAL_MS;
  }

  async #serve(host: HostName, state: HostState): Promise<void> {
    if (state.busy || !this.#mayOrder()) return;
    state.busy = true;
    try {
      await this.#facts(host);
      if (this.#isPlanDue(state)) await this.#network(host, state);
      if (!this.#isClean(host, state)) await this.#processes(host, state);
    } catch (error) {
      this.#ports.log.warn('order to host failed', { host, error: messageOf(error) });
    } finally {
      state.busy = false;
    }
  }

  /** The next report is the next attempt. */
  #mayOrder(): boolean {
    return !this.#stopped && this.#ports.store.leads();
  }

  /** The agent says what its host can give and what it runs; placement reads the record. */
  async #facts(host: HostName): Promise<void> {
    const { observer, store } = this.#ports;
    const record = store.snapshot.hosts.get(host)?.value;
    const report = observer.report(host)?.report;
    if (record === undefined || report === undefined || !this.#areFactsNew(host)) return;
    const value = { ...record, capacity: report.capacity, release: releaseOf(record, report) };
    await store.commit({ changes: [{ kind: 'host', id: host, value }], events: [] });
  }

  #areFactsNew(host: HostName): boolean {
    const { observer, index } = this.#ports;
    const [record, report] = [index.host(host), observer.report(host)?.report];
    if (record === null || report === undefined) return false;
    return (
      !sameCapacity(record.capacity, report.capacity) || !sameRelease(record.release ?? null, releaseOf(record, report))
    );
  }

  /** True where nothing about the host's processes, and what is expected there, changed since all was well. */
  #isClean(host: HostName, { clean, placementAt }: HostState): boolean {
    if (clean === null || clean.placementAt !== placementAt) return false;
    const { observer, index } = this.#ports;
    return clean.processes === observer.processesCount(host) && index.host(host)?.quarantine === null;
  }

  async #network(host: HostName, state: HostState): Promise<void> {
    const { clock, observer, hosts, store } = this.#ports;
    if (observer.report(host) === null || !this.#mayOrder() || !this.#ports.mayPlan()) return;
    const planned = { common: this.#commonVersion, own: state.planVersion, at: clock.monotonicMs() };
    await hosts.applyNetwork(host, { ...this.planFor(host), term: store.term }, { deadlineMs: ORDER_DEADLINE_MS });
    state.planned = planned;
  }

  async #processes(host: HostName, state: HostState): Promise<void> {
    const { observer, store, hosts, log } = this.#ports;
    const latest = observer.report(host);
    const record = store.snapshot.hosts.get(host);
    // A report asked for before the last placement change may show a process that was expected then: wait for the next
    // one.
    if (latest === null || record === undefined || latest.sentAt <= state.placementAt) return;
    const { vms, unreadable } = store.snapshot;
    const vm = (id: VmId) => vms.get(id)?.value;
    const isUnreadable = (id: VmId) => unreadable.has(keyOf.vm(id));
    const { epoch } = store.snapshot;
    const situation = { host: record.value, report: latest.report, vm, isUnreadable, epoch };
    const steps = decideHost(situation);
    const { placementAt } = state;
    const isAgain = steps.length > 0 || hasUnclear(situation);
    state.clean = isAgain ? null : { processes: observer.processesCount(host), placementAt };
    for (const step of steps) {
      if (!this.#mayOrder()) return;
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
        const message = `${host} is back and clean: no older generation runs there.`;
        const event = {
          at: this.#ports.clock.wallMs(),
          kind: 'host-clean',
          vm: null,
          vmName: null,
          host,
          generation: null,
          message,
        };
        await store.commit({ changes: [{ kind: 'host', id: host, value }], events: [event] });
      }
    }
  }
}

/** The release that the host runs. If the agent does not know its QEMU (yet), the release that was known stays. */
function releaseOf({ release }: HostRecord, { agentVersion, qemuVersion }: HostReport): HostRelease {
  return { agent: agentVersion, qemu: qemuVersion ?? release?.qemu ?? null };
}
