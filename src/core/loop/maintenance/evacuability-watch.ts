/**
 * Hosts that cannot be drained, or lost, and that nobody signed for. What is asked of the API is judged before it is
 * made; a host that is lost, removed, cordoned or drained, or that comes back with less memory, is not asked for: it is
 * found here, and said.
 *
 * Guarantees: what passes by itself within STANDS_MS is not said; what this leader saw begin is said once, and again when
 * it is over. A new leader lists what there is and repeats nothing.
 */
import { messageOf } from '../../../base/errors.ts';
import type { HostName, VmId } from '../../../base/ids.ts';
import { listed } from '../../../base/listed.ts';
import type { HostVerdict } from '../../maintenance/evacuability.ts';
import type { Question } from '../../maintenance/reasons.ts';
import { recordsOf } from '../../model/cluster-index.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import { debtsOf } from '../../request/debts.ts';
import { CpuModels, tieOfCluster, tiesOfVm } from '../../request/effect.ts';

export interface EvacuabilityWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  /** What is kept of hosts (estate-keeper.ts). */
  readonly estate: {
    readonly isSettled: boolean;
    verdict(host: HostName): HostVerdict | null;
    owing(): ReadonlySet<VmId>;
    bound(): ReadonlySet<VmId>;
  };
}

/** A host that cannot be drained, or lost. */
export interface UnsignedRefusal {
  readonly host: HostName;
  readonly question: Question;
  /** The VMs in the way. */
  readonly vms: readonly VmId[];
  readonly because: readonly string[];
  /** Since when this leader has seen it, Unix ms. */
  readonly since: number;
}

/** Between two looks, in ms. */
const LOOK_MS = 10_000;
/** What stands for so long is said, in ms. */
const STANDS_MS = 60_000;
const HOSTS_NAMED = 5;

interface Seen extends UnsignedRefusal {
  /** This leader saw that it was not so before. */
  readonly began: boolean;
  isTold: boolean;
}

/** One per leader; `stop` is final. */
export class EvacuabilityWatch {
  readonly #ports: EvacuabilityWatchPorts;
  /** By host and question. */
  #seen = new Map<string, Seen>();
  /** Questions of which this leader has once seen no refusal. */
  readonly #wereFine = new Set<string>();
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(ports: EvacuabilityWatchPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#cancel = this.#ports.clock.after(LOOK_MS, () => void this.#look());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** What stands for some time. */
  get standing(): readonly UnsignedRefusal[] {
    const now = this.#ports.clock.wallMs();
    return [...this.#seen.values()].filter(({ since }) => now - since >= STANDS_MS);
  }

  async #look(): Promise<void> {
    const { clock, log, estate } = this.#ports;
    try {
      if (estate.isSettled) await this.#tell(this.#take());
    } catch (error) {
      log.warn('hosts that cannot be drained: a look failed', { reason: messageOf(error) });
    }
    if (!this.#isStopped) this.#cancel = clock.after(LOOK_MS, () => void this.#look());
  }

  /** Takes in what is refused now; returns what was said and is over. */
  #take(): readonly Seen[] {
    const before = this.#seen;
    const now = this.#ports.clock.wallMs();
    const found = new Map(this.#refused().map((each) => [keyOf(each), each]));
    this.#seen = new Map(
      [...found].map(([key, { host, question, vms, because }]) => {
        const known = before.get(key);
        const since = known?.since ?? now;
        const began = known?.began ?? this.#wereFine.has(key);
        return [key, { host, question, vms, because, since, began, isTold: known?.isTold ?? false }];
      }),
    );
    for (const { name } of recordsOf(this.#ports.store.snapshot.hosts))
      for (const question of ['drain', 'loss'] as const) {
        const key = keyOf({ host: name, question });
        if (found.has(key)) this.#wereFine.delete(key);
        else this.#wereFine.add(key);
      }
    return [...before].flatMap(([key, seen]) => (found.has(key) || !seen.isTold ? [] : [seen]));
  }

  /** Refusals that no debt and no tie explains. Where no other host is in service, nothing could go anywhere. */
  #refused(): readonly Pick<UnsignedRefusal, 'host' | 'question' | 'vms' | 'because'>[] {
    const { store, estate } = this.#ports;
    const hosts = [...recordsOf(store.snapshot.hosts)].filter(
      ({ quarantine, maintenance = null }) => quarantine === null && maintenance === null,
    );
    const open = hosts.filter(({ cordoned }) => !cordoned);
    const { vms: tied, broke } = this.#explained();
    return hosts.flatMap(({ name }) => {
      if (!open.some((other) => other.name !== name)) return [];
      const verdict = estate.verdict(name);
      return (['drain', 'loss'] as const).flatMap((question) => {
        const answer = verdict?.[question];
        if (answer?.kind !== 'cannot' || broke.has(keyOf({ host: name, question }))) return [];
        if (answer.vms.some((vm) => tied.has(vm))) return [];
        return [{ host: name, question, vms: answer.vms, because: answer.because }];
      });
    });
  }

  /** The VMs of debts and ties, and what debts broke. */
  #explained(): { readonly vms: ReadonlySet<VmId>; readonly broke: ReadonlySet<string> } {
    const { store, estate } = this.#ports;
    const { snapshot } = store;
    const models = new CpuModels(snapshot);
    const vms = new Set<VmId>();
    const broke = new Set<string>();
    for (const { debt, about } of debtsOf(snapshot, estate.owing())) {
      for (const vm of about.kind === 'vm' ? [about.vm.id] : about.cluster.members) vms.add(vm);
      for (const each of debt.broke) broke.add(keyOf(each));
    }
    for (const id of estate.bound()) {
      const vm = snapshot.vms.get(id)?.value;
      if (vm !== undefined && tiesOfVm(models, vm).length > 0) vms.add(id);
    }
    for (const cluster of recordsOf(snapshot.guestClusters))
      if (tieOfCluster(snapshot, cluster) !== null) for (const vm of cluster.members) vms.add(vm);
    return { vms, broke };
  }

  async #tell(over: readonly Seen[]): Promise<void> {
    const now = this.#ports.clock.wallMs();
    for (const question of ['drain', 'loss'] as const) {
      const verb = question === 'drain' ? 'drained' : 'lost';
      const fresh = [...this.#seen.values()].filter(
        (each) => each.question === question && each.began && !each.isTold && now - each.since >= STANDS_MS,
      );
      const [first] = fresh;
      if (first !== undefined) {
        const names = listed(fresh.map(({ host }) => host).sort(), HOSTS_NAMED);
        const message = `${names} cannot be ${verb} any more, and nobody signed for it. ${first.host}: ${first.because.join('; ')}`;
        if (!(await this.#write('evacuability-lost', fresh, message))) continue;
        for (const each of fresh) each.isTold = true;
      }
      const ended = over.filter((each) => each.question === question);
      const back = listed(ended.map(({ host }) => host).sort(), HOSTS_NAMED);
      if (ended.length > 0) await this.#write('evacuability-back', ended, `${back} can be ${verb} again.`);
    }
  }

  async #write(kind: string, about: readonly Seen[], message: string): Promise<boolean> {
    const { clock, store } = this.#ports;
    if (this.#isStopped || !store.leads()) return false;
    const host = about.length === 1 ? (about[0]?.host ?? null) : null;
    const event = { at: clock.wallMs(), kind, vm: null, vmName: null, host, generation: null, message };
    return (await store.commit({ changes: [], events: [event] })) === 'committed';
  }
}

function keyOf({ host, question }: Pick<UnsignedRefusal, 'host' | 'question'>): string {
  return `${question} ${host}`;
}
