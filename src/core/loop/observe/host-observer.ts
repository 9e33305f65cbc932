/**
 * Watches hosts: asks every agent at an interval, and as soon as an agent is late tries the host's kernel on every
 * path. Guarantees: its statement about a host reflects the last finished attempts; a round in which the prober itself
 * was not scheduled in time counts for nothing; `silent` needs every path that can try; a single late heartbeat changes
 * only the agent's state.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Generation, HostName, StorageName, VmId } from '../../../base/ids.ts';
import { type ClockOffset, clockOffset } from '../../model/clock-offset.ts';
import { type HostRecord, sameCapacity } from '../../model/cluster.ts';
import type { HostObservation, KernelObservation } from '../../model/observation.ts';
import type { Path } from '../../model/paths.ts';
import type { Clock } from '../../ports/clock.ts';
import type { HostLink, HostReport, RunningIncarnation } from '../../ports/host-link.ts';
import type { Paths } from '../../ports/paths.ts';

export interface ObserverTiming {
  /** The time between two questions to one agent, in ms. */
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
  /** The slots of the last report that differed from the one before it, and the report's entry for each incarnation. */
  occupiedSlots: readonly number[];
  running: ReadonlyMap<VmId, readonly Generation[]>;
  /** Counts reports that differed from the one before. */
  processesCount: number;
  /** Monotonic ms when the last answered question was *sent*: the report is at least that new. */
  reportSentAt: number | null;
  /** Offset of the host's wall clock from ours by the last report; null if the host has not reported it. */
  clock: ClockOffset | null;
  kernel:
    | { kind: 'unknown' }
    | { kind: 'reachable'; via: string; at: number }
    | { kind: 'silent'; rounds: number; paths: string[]; nodes: StorageName[] };
  storageCut: ReadonlySet<StorageName>;
  probing: boolean;
  /** The round that is under way. */
  round: Promise<void> | null;
  stopped: boolean;
}

export interface ObserverPorts {
  readonly clock: Clock;
  readonly hosts: HostLink;
  readonly paths: Paths;
}

type Tried = Awaited<ReturnType<Paths['probe']>>;

/** One per leader. Every question and probe has a deadline (ObserverTiming); `stop` ends all of them. */
export class HostObserver {
  readonly #ports: ObserverPorts;
  readonly #timing: ObserverTiming;
  readonly #hosts = new Map<HostName, WatchedHost>();
  readonly #onReport: (host: HostName) => void;
  readonly #onState: (host: HostName) => void;
  readonly #onProcesses: (vms: ReadonlySet<VmId>) => void;
  /** Hosts that no attempt to ask has ended for yet. */
  readonly #unasked = new Set<HostName>();
  readonly #withStorageCut = new Set<HostName>();

  constructor(
    ports: ObserverPorts,
    listeners: {
      /** A report came. */
      onReport: (host: HostName) => void;
      /** The observation of the host changed in a way that may change a decision. */
      onState: (host: HostName) => void;
      /** Processes of these VMs came or went on a host whose agent was alive and is. */
      onProcesses: (vms: ReadonlySet<VmId>) => void;
    },
    timing: ObserverTiming = OBSERVER_TIMING,
  ) {
    this.#ports = ports;
    this.#onReport = listeners.onReport;
    this.#onState = listeners.onState;
    this.#onProcesses = listeners.onProcesses;
    this.#timing = timing;
  }

  /** Watches a host from now on, or knows its changed record. */
  watch(record: HostRecord): void {
    const known = this.#hosts.get(record.name);
    if (known !== undefined) {
      known.record = record;
      return;
    }
    const watched: WatchedHost = {
      record,
      agent: 'unknown',
      agentError: null,
      report: null,
      occupiedSlots: [],
      running: new Map(),
      processesCount: 0,
      reportSentAt: null,
      clock: null,
      kernel: { kind: 'unknown' },
      storageCut: new Set(),
      probing: false,
      round: null,
      stopped: false,
    };
    this.#hosts.set(record.name, watched);
    this.#unasked.add(record.name);
    void this.#poll(watched);
  }

  /** Watches a host no more. */
  unwatch(host: HostName): void {
    const watched = this.#hosts.get(host);
    if (watched !== undefined) watched.stopped = true;
    this.#hosts.delete(host);
    this.#unasked.delete(host);
    this.#withStorageCut.delete(host);
  }

  /** Ends all watching. */
  stop(): void {
    for (const host of [...this.#hosts.keys()]) this.unwatch(host);
  }

  /** True once an attempt to ask each host has ended. */
  get areAllAsked(): boolean {
    return this.#unasked.size === 0;
  }

  /** The observation of `host` now. */
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
        gone: `${host} is no member of the cluster.`,
      };
    return {
      host,
      agent: watched.agent,
      agentAgeMs: watched.reportSentAt === null ? null : Math.round(now - watched.reportSentAt),
      agentError: watched.agentError,
      kernel: kernelView(watched.kernel, now),
      occupiedSlots: watched.occupiedSlots,
      ...(watched.record.lost === undefined ? {} : { gone: `${host} was declared lost by ${watched.record.lost.by}.` }),
    };
  }

  /** True while its agent is silent and no path is known to reach its kernel. */
  mayBeGone(host: HostName): boolean {
    const watched = this.#hosts.get(host);
    return watched !== undefined && watched.agent === 'silent' && watched.kernel.kind !== 'reachable';
  }

  /** Returns true if the host's agent did not answer the last request. */
  isSilent(host: HostName): boolean {
    return this.#hosts.get(host)?.agent === 'silent';
  }

  /** The last report, and the monotonic ms when it was asked for, while the agent is alive. */
  report(host: HostName): { readonly report: HostReport; readonly sentAt: number } | null {
    const watched = this.#hosts.get(host);
    if (watched === undefined || watched.agent !== 'alive' || watched.report === null || watched.reportSentAt === null)
      return null;
    return { report: watched.report, sentAt: watched.reportSentAt };
  }

  /** Returns the offset of a host's wall clock from ours; null if unknown. */
  clockOffset(host: HostName): ClockOffset | null {
    return this.#hosts.get(host)?.clock ?? null;
  }

  /** Whether a process exists, by a report asked for after `since` (monotonic ms). */
  processState(host: HostName, vm: VmId, generation: Generation, since: number): 'present' | 'absent' | 'unknown' {
    const watched = this.#hosts.get(host);
    if (watched === undefined || watched.agent !== 'alive' || watched.reportSentAt === null) return 'unknown';
    if (watched.running.get(vm)?.includes(generation) === true) return 'present';
    return watched.reportSentAt > since ? 'absent' : 'unknown';
  }

  /** Whether the last report of a host whose agent is alive says that a guest acknowledged a notice. */
  hasAcknowledged(host: HostName, notice: string): boolean {
    return this.report(host)?.report.acknowledgedNotices?.includes(notice) === true;
  }

  /** A number that changes whenever a report shows other processes than the one before. */
  processesCount(host: HostName): number {
    return this.#hosts.get(host)?.processesCount ?? 0;
  }

  /** Storage nodes whose last attempt to reach the host met silence. */
  storageCutFrom(host: HostName): readonly StorageName[] {
    return [...(this.#hosts.get(host)?.storageCut ?? [])];
  }

  /** The hosts that some storage node met silence from at its last attempt. */
  hostsWithStorageCut(): readonly HostName[] {
    return [...this.#withStorageCut];
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
    if (watched.stopped) return;
    const before = watched.report;
    const isNews = watched.agent !== 'alive' || before === null || before.bootId !== report.bootId;
    const isSame = before !== null && sameProcesses(before, report);
    const isAcknowledged = before !== null && hasMoreAcknowledged(before, report);
    const moved = isNews || isSame ? new Set<VmId>() : movedBetween(before, report);
    if (!isSame) {
      watched.processesCount++;
      watched.occupiedSlots = report.incarnations.map(({ slot }) => slot);
      watched.running = generationsByVm(report);
    }
    watched.agent = 'alive';
    watched.agentError = null;
    // A report without news is dropped at once: thousands of reports per second would otherwise each live until the
    // next one.
    watched.report = isSame && before !== null && sameHost(before, report) ? before : report;
    watched.reportSentAt = sentAt;
    watched.clock = this.#offsetOf(report, sentAt);
    watched.kernel = { kind: 'reachable', via: 'its agent', at: this.#ports.clock.monotonicMs() };
    this.#unasked.delete(watched.record.name);
    this.#onReport(watched.record.name);
    if (isNews || isAcknowledged) this.#onState(watched.record.name);
    else if (moved.size > 0) this.#onProcesses(moved);
  }

  #offsetOf({ wallMs }: HostReport, sentAt: number): ClockOffset | null {
    const { clock } = this.#ports;
    if (wallMs === undefined) return null;
    return clockOffset(wallMs, { receivedAt: clock.wallMs(), roundTripMs: clock.monotonicMs() - sentAt });
  }

  #unanswered(watched: WatchedHost, message: string, sentAt: number): void {
    const late = this.#ports.clock.monotonicMs() - sentAt - this.#timing.agentDeadlineMs;
    // A prober that was not running heard nothing for that reason: no observation.
    if (late > this.#timing.lateMsMax) return;
    if (watched.stopped) return;
    const changed = watched.agent !== 'silent';
    watched.agent = 'silent';
    this.#unasked.delete(watched.record.name);
    watched.agentError = message;
    // Between two rounds of silence nothing can be decided yet: the result of the second round is reported when it
    // ends.
    const isBetweenRounds = watched.round !== null && watched.kernel.kind === 'silent';
    if (changed && !isBetweenRounds) this.#onState(watched.record.name);
    void this.#suspect(watched);
  }

  /**
   * Rounds of probes until some path answers, the agent does, or silence is established; then again with each
   * unanswered question.
   */
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

  /** One round at a time: two at once would meet the same silence and count it twice. */
  #round(watched: WatchedHost): Promise<void> {
    watched.round ??= this.#tryAll(watched).finally(() => {
      watched.round = null;
    });
    return watched.round;
  }

  async #tryAll(watched: WatchedHost): Promise<void> {
    const { paths } = this.#ports;
    const answeredBefore = watched.reportSentAt;
    const attempt = async (path: Path): Promise<{ path: Path; result: Tried }> => {
      const result = await paths.probe(path, watched.record, this.#timing.probeMs);
      if (hasMet(result)) this.#reached(watched, path);
      return { path, result };
    };
    const tried = await Promise.all(paths.list().map(attempt));
    const counting = tried.filter(({ result }) => result.outcome !== 'no-path');
    this.#noteStoragePaths(watched, counting);
    // The agent answered in the meantime: the results of the probes are older than that.
    if (watched.reportSentAt !== answeredBefore && watched.agent === 'alive') return;
    if (counting.some(({ result }) => hasMet(result))) return;
    const before = watched.kernel.kind;
    if (counting.length > 0 && counting.every(({ result }) => result.outcome === 'silent')) {
      const rounds = watched.kernel.kind === 'silent' ? watched.kernel.rounds + 1 : 1;
      const nodes = counting.flatMap(({ path }) => (path.storage === null ? [] : [path.storage]));
      watched.kernel = { kind: 'silent', rounds, paths: counting.map(({ path }) => path.name), nodes };
    } else {
      watched.kernel = { kind: 'unknown' };
    }
    if (watched.kernel.kind !== before || watched.kernel.kind === 'silent') this.#kernelSeen(watched);
  }

  /** Some path reached the host's kernel: that counts at once, whatever the other paths still wait for. */
  #reached(watched: WatchedHost, path: Path): void {
    const before = watched.kernel.kind;
    watched.kernel = { kind: 'reachable', via: path.name, at: this.#ports.clock.monotonicMs() };
    if (before !== 'reachable') this.#kernelSeen(watched);
  }

  /** While the agent is not silent no verdict depends on the host's kernel: its state needs no question to the VMs. */
  #kernelSeen(watched: WatchedHost): void {
    if (watched.agent === 'silent') this.#onState(watched.record.name);
  }

  /** Notes which storage nodes reach the host; a node that could not try, or was late itself, reports nothing new. */
  #noteStoragePaths(watched: WatchedHost, tried: readonly { readonly path: Path; readonly result: Tried }[]): void {
    // A storage node that is no longer a path was declared lost: its last result must not count.
    const paths = new Set(this.#ports.paths.list().map(({ storage }) => storage));
    const cut = new Set([...watched.storageCut].filter((node) => paths.has(node)));
    for (const { path, result } of tried) {
      if (path.storage === null || result.outcome === 'void') continue;
      if (result.outcome === 'silent') cut.add(path.storage);
      else cut.delete(path.storage);
    }
    watched.storageCut = cut;
    if (watched.stopped || cut.size === 0) this.#withStorageCut.delete(watched.record.name);
    else this.#withStorageCut.add(watched.record.name);
  }
}

function kernelView(kernel: WatchedHost['kernel'], now: number): KernelObservation {
  return kernel.kind === 'reachable'
    ? { kind: 'reachable', via: kernel.via, ageMs: Math.round(now - kernel.at) }
    : kernel;
}

/** Whether two reports show the same processes, in the same order. */
function sameProcesses(before: HostReport, after: HostReport): boolean {
  const [old, now] = [before.incarnations, after.incarnations];
  if (old.length !== now.length) return false;
  for (let i = 0; i < now.length; i++) {
    const [a, b] = [old[i], now[i]];
    if (a?.pid !== b?.pid || a?.generation !== b?.generation || a?.vm !== b?.vm || a?.slot !== b?.slot) return false;
  }
  return true;
}

/** Whether two reports agree about the host itself. */
function sameHost(before: HostReport, after: HostReport): boolean {
  return (
    before.bootId === after.bootId &&
    before.agentVersion === after.agentVersion &&
    before.qemuVersion === after.qemuVersion &&
    before.networkRevision === after.networkRevision &&
    sameCapacity(before.capacity, after.capacity) &&
    sameItems(before.acknowledgedNotices, after.acknowledgedNotices)
  );
}

const NO_ITEMS: readonly string[] = [];

function sameItems(before: readonly string[] = NO_ITEMS, after: readonly string[] = NO_ITEMS): boolean {
  return before.length === after.length && before.every((each, index) => each === after[index]);
}

/** Whether a report says that a notice was acknowledged, and the report before it did not. */
function hasMoreAcknowledged(before: HostReport, { acknowledgedNotices = NO_ITEMS }: HostReport): boolean {
  return acknowledgedNotices.some((notice) => before.acknowledgedNotices?.includes(notice) !== true);
}

/** The VMs whose processes one of the reports shows and the other does not. */
function movedBetween(before: HostReport, after: HostReport): ReadonlySet<VmId> {
  const key = ({ vm, generation, pid }: RunningIncarnation): string => `${vm}:${generation}:${pid}`;
  const [old, now] = [new Set(before.incarnations.map(key)), new Set(after.incarnations.map(key))];
  const moved = [
    ...before.incarnations.filter((incarnation) => !now.has(key(incarnation))),
    ...after.incarnations.filter((incarnation) => !old.has(key(incarnation))),
  ];
  return new Set(moved.map(({ vm }) => vm));
}

/** Found by the VM's id alone: a key of id and generation would have to be made, and hashed, at every look. */
function generationsByVm({ incarnations }: HostReport): Map<VmId, readonly Generation[]> {
  const running = new Map<VmId, readonly Generation[]>();
  for (const { vm, generation } of incarnations) running.set(vm, [...(running.get(vm) ?? []), generation]);
  return running;
}

/** Whether an attempt reached a kernel, whatever the kernel answered. */
const hasMet = ({ outcome }: Tried): boolean => outcome === 'accepted' || outcome === 'refused';
