/**
 * Watches hosts: asks every agent at an interval, and as soon as one is late tries the host's kernel on every path.
 *
 * Guarantees: what it says of a host is what the last finished attempts met; a round in which the prober itself was not scheduled in
 * time counts for nothing; `silent` needs every path that can try; a single late heartbeat changes nothing but the agent's state.
 */
import { messageOf } from '../../base/errors.ts';
import type { Generation, HostName, StorageName, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { HostObservation, KernelObservation } from '../model/observation.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostLink, HostReport } from '../ports/host-link.ts';
import type { Paths } from '../ports/paths.ts';

export interface ObserverTiming {
  /** Between two questions to one agent, in ms. */
  readonly pollMs: number;
  /** After this an unanswered question starts the first round of probes. */
  readonly suspectMs: number;
  /** After this the agent counts as silent. */
  readonly agentDeadlineMs: number;
  /** Deadline of one probe. */
  readonly probeMs: number;
  /** A timer that fired later than this makes its round void. */
  readonly lateMsMax: number;
}

const OBSERVER_TIMING: ObserverTiming = {
  pollMs: 400,
  suspectMs: 250,
  agentDeadlineMs: 900,
  probeMs: 350,
  lateMsMax: 150,
};

interface WatchedHost {
  record: HostRecord;
  agent: HostObservation['agent'];
  agentError: string | null;
  report: HostReport | null;
  /** Monotonic ms when the last answered question was *sent*: what the report says is at least that new. */
  reportSentAt: number | null;
  kernel:
    | { kind: 'unknown' }
    | { kind: 'reachable'; via: string; at: number }
    | { kind: 'silent'; rounds: number; paths: string[]; nodes: StorageName[] };
  storageCut: Map<StorageName, boolean>;
  probing: boolean;
  stopped: boolean;
}

export interface ObserverPorts {
  readonly clock: Clock;
  readonly hosts: HostLink;
  readonly paths: Paths;
}

/** One per leader. Every question and probe has a deadline (ObserverTiming); `stop` ends all of them. */
export class HostObserver {
  readonly #ports: ObserverPorts;
  readonly #timing: ObserverTiming;
  readonly #hosts = new Map<HostName, WatchedHost>();
  readonly #onReport: (host: HostName) => void;
  readonly #onState: (host: HostName) => void;

  constructor(
    ports: ObserverPorts,
    listeners: {
      /** A report came. */
      onReport: (host: HostName) => void;
      /** What is seen of the host changed in a way that may change a decision. */
      onState: (host: HostName) => void;
    },
    timing: ObserverTiming = OBSERVER_TIMING,
  ) {
    this.#ports = ports;
    this.#onReport = listeners.onReport;
    this.#onState = listeners.onState;
    this.#timing = timing;
  }

  /** Watches exactly these hosts from now on. */
  watch(records: readonly HostRecord[]): void {
    const named = new Set(records.map((record) => record.name));
    for (const [name, watched] of this.#hosts) {
      if (named.has(name)) continue;
      watched.stopped = true;
      this.#hosts.delete(name);
    }
    for (const record of records) {
      const known = this.#hosts.get(record.name);
      if (known !== undefined) {
        known.record = record;
        continue;
      }
      const watched: WatchedHost = {
        record,
        agent: 'unknown',
        agentError: null,
        report: null,
        reportSentAt: null,
        kernel: { kind: 'unknown' },
        storageCut: new Map(),
        probing: false,
        stopped: false,
      };
      this.#hosts.set(record.name, watched);
      void this.#poll(watched);
    }
  }

  /** Ends all watching. */
  stop(): void {
    this.watch([]);
  }

  /** What is seen of `host` now. */
  see(host: HostName): HostObservation {
    const watched = this.#hosts.get(host);
    const now = this.#ports.clock.monotonicMs();
    if (watched === undefined)
      return {
        host,
        agent: 'unknown',
        agentAgeMs: null,
        agentError: 'not joined',
        kernel: { kind: 'unknown' },
        occupiedSlots: [],
      };
    return {
      host,
      agent: watched.agent,
      agentAgeMs: watched.reportSentAt === null ? null : Math.round(now - watched.reportSentAt),
      agentError: watched.agentError,
      kernel: kernelView(watched.kernel, now),
      occupiedSlots: watched.report?.incarnations.map((incarnation) => incarnation.slot) ?? [],
    };
  }

  /** The last report and when it was asked for (monotonic ms), while the agent is alive. */
  report(host: HostName): { readonly report: HostReport; readonly sentAt: number } | null {
    const watched = this.#hosts.get(host);
    if (watched === undefined || watched.agent !== 'alive' || watched.report === null || watched.reportSentAt === null)
      return null;
    return { report: watched.report, sentAt: watched.reportSentAt };
  }

  /** Whether a process is there, by a report asked for after `since` (monotonic ms). */
  processState(host: HostName, vm: VmId, generation: Generation, since: number): 'present' | 'absent' | 'unknown' {
    const latest = this.report(host);
    if (latest === null) return 'unknown';
    if (latest.report.incarnations.some((running) => running.vm === vm && running.generation === generation))
      return 'present';
    return latest.sentAt > since ? 'absent' : 'unknown';
  }

  /** Storage nodes whose last attempt to reach the host met silence. */
  storageCutFrom(host: HostName): readonly StorageName[] {
    const watched = this.#hosts.get(host);
    return watched === undefined ? [] : [...watched.storageCut].filter(([, cut]) => cut).map(([node]) => node);
  }

  /** Tries every path once now, for one who wants to know (a guest paused by a disk error, a person). */
  async probeNow(host: HostName): Promise<void> {
    const watched = this.#hosts.get(host);
    if (watched !== undefined) await this.#round(watched);
  }

  async #poll(watched: WatchedHost): Promise<void> {
    const { clock, hosts } = this.#ports;
    while (!watched.stopped) {
      const sentAt = clock.monotonicMs();
      let open = true;
      const cancelSuspicion = clock.after(this.#timing.suspectMs, () => {
        if (open) void this.#suspect(watched);
      });
      try {
        const report = await hosts.report(watched.record.name, { deadlineMs: this.#timing.agentDeadlineMs });
        this.#answered(watched, report, sentAt);
      } catch (error) {
        this.#unanswered(watched, messageOf(error), sentAt);
      }
      open = false;
      cancelSuspicion();
      const spent = clock.monotonicMs() - sentAt;
      await new Promise<void>((resolve) => void clock.after(Math.max(20, this.#timing.pollMs - spent), resolve));
    }
  }

  #answered(watched: WatchedHost, report: HostReport, sentAt: number): void {
    const changed = watched.agent !== 'alive' || !sameIncarnations(watched.report, report);
    watched.agent = 'alive';
    watched.agentError = null;
    watched.report = report;
    watched.reportSentAt = sentAt;
    watched.kernel = { kind: 'reachable', via: 'its agent', at: this.#ports.clock.monotonicMs() };
    this.#onReport(watched.record.name);
    if (changed) this.#onState(watched.record.name);
  }

  #unanswered(watched: WatchedHost, message: string, sentAt: number): void {
    const late = this.#ports.clock.monotonicMs() - sentAt - this.#timing.agentDeadlineMs;
    // A prober that was itself not running heard nothing for that reason: no observation.
    if (late > this.#timing.lateMsMax) return;
    const changed = watched.agent !== 'silent';
    watched.agent = 'silent';
    watched.agentError = message;
    if (changed) this.#onState(watched.record.name);
    void this.#suspect(watched);
  }

  /** Rounds of probes until some path answers, the agent does, or silence is established; then one round per poll. */
  async #suspect(watched: WatchedHost): Promise<void> {
    if (watched.probing || watched.stopped) return;
    watched.probing = true;
    try {
      for (let round = 0; round < 2 && !watched.stopped; round++) {
        await this.#round(watched);
        if (watched.kernel.kind !== 'silent') break;
      }
    } finally {
      watched.probing = false;
    }
  }

  async #round(watched: WatchedHost): Promise<void> {
    const { clock, paths } = this.#ports;
    const answeredBefore = watched.reportSentAt;
    const tried = await Promise.all(
      paths
        .list()
        .map(async (path) => ({ path, result: await paths.probe(path, watched.record, this.#timing.probeMs) })),
    );
    const counting = tried.filter(({ result }) => result.outcome !== 'no-path');
    for (const { path, result } of counting) {
      if (path.storage !== null && result.outcome !== 'void')
        watched.storageCut.set(path.storage, result.outcome === 'silent');
    }
    // The agent answered meanwhile: whatever the probes met is older than that.
    if (watched.reportSentAt !== answeredBefore && watched.agent === 'alive') return;
    const met = counting.find(({ result }) => result.outcome === 'accepted' || result.outcome === 'refused');
    const before = watched.kernel.kind;
    if (met !== undefined) {
      watched.kernel = { kind: 'reachable', via: met.path.name, at: clock.monotonicMs() };
    } else if (counting.length > 0 && counting.every(({ result }) => result.outcome === 'silent')) {
      const rounds = watched.kernel.kind === 'silent' ? watched.kernel.rounds + 1 : 1;
      const nodes = counting.flatMap(({ path }) => (path.storage === null ? [] : [path.storage]));
      watched.kernel = { kind: 'silent', rounds, paths: counting.map(({ path }) => path.name), nodes };
    } else {
      watched.kernel = { kind: 'unknown' };
    }
    if (watched.kernel.kind !== before || watched.kernel.kind === 'silent') this.#onState(watched.record.name);
  }
}

function kernelView(kernel: WatchedHost['kernel'], now: number): KernelObservation {
  return kernel.kind === 'reachable'
    ? { kind: 'reachable', via: kernel.via, ageMs: Math.round(now - kernel.at) }
    : kernel;
}

function sameIncarnations(before: HostReport | null, after: HostReport): boolean {
  if (before === null || before.bootId !== after.bootId || before.networkRevision !== after.networkRevision)
    return false;
  const key = (report: HostReport): string =>
    report.incarnations.map(({ vm, generation, pid }) => `${vm}:${generation}:${pid}`).join();
  return key(before) === key(after);
}
