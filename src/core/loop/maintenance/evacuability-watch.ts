/**
 * Reports hosts that cannot be drained, or lost, and that nobody signed for. Changes through the API are judged before
 * they are made; but a host may also be lost, removed, cordoned or drained, or come back with less memory: this watch
 * finds and reports the consequences.
 * Guarantees: a state that passes within STANDS_MS is not reported; a state that this leader saw begin is reported
 * once, and once more when it is over. A new leader lists the present states and repeats nothing.
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
  /** The leader's model of hosts (estate-keeper.ts). */
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
  /** When this leader first saw the state, Unix ms. */
  readonly since: number;
}

/** The time between two looks, in ms. */
const LOOK_MS = 10_000;
/** How long a state must last before it is reported, in ms. */
const STANDS_MS = 60_000;
const HOSTS_NAMED = 5;

interface Seen extends UnsignedRefusal {
  /** Whether this leader saw the state begin. */
  readonly began: boolean;
  isTold: boolean;
}

/** One per leader; `stop` is final. */
export class EvacuabilityWatch {
  readonly #ports: EvacuabilityWatchPorts;
  /** States by host and question. */
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

  /** States that have lasted for some time. */
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

  /** Takes in the present refusals; returns the reported states that are over. */
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
        const message = `${names} cannot be ${verb} any more, and nobody signed for that. ${first.host}: ${first.because.join('; ')}`;
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
