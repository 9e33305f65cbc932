/**
 * Looks after debts: a debt whose date has passed is reported by an event, once; a debt whose reason is gone is
 * settled. All state is in the records: a new leader repeats nothing.
 */
import { messageOf } from '../../../base/errors.ts';
import type { HostName, VmId } from '../../../base/ids.ts';
import type { HostVerdict } from '../../maintenance/evacuability.ts';
import { type Debt, isDue } from '../../model/debt.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import { debtChange, debtsOf, type Owed } from '../../request/debts.ts';
import { CpuModels, tieOfCluster, tiesOfVm } from '../../request/effect.ts';

export interface DebtWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  /** The leader's model of hosts (estate-keeper.ts). */
  readonly estate: {
    readonly isSettled: boolean;
    verdict(host: HostName): HostVerdict | null;
    owing(): ReadonlySet<VmId>;
  };
}

/** The time between two looks, in ms. */
const LOOK_MS = 10_000;
/** A debt is not settled before: its VM may not even run yet. */
const YOUNG_MS = 60_000;
/** Debts that are looked at in one turn of the event loop, and for how long, in ms. */
const DEBTS_PER_TURN = 100;
const TURN_MS = 4;
/** Debts that are changed in one look. */
const CHANGES_MAX = 20;

/** One per leader; `stop` is final. */
export class DebtWatch {
  readonly #ports: DebtWatchPorts;
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(ports: DebtWatchPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#cancel = this.#ports.clock.after(LOOK_MS, () => void this.#look());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async #look(): Promise<void> {
    const { clock, log, store, estate } = this.#ports;
    try {
      let changes = 0;
      let turn = this.#newTurn();
      for (const known of [...debtsOf(store.snapshot, [...estate.owing()])]) {
        if (turn.looked >= DEBTS_PER_TURN || clock.monotonicMs() >= turn.endsAtMs) {
          await new Promise<void>((resolve) => void clock.after(0, resolve));
          turn = this.#newTurn();
        }
        if (this.#isStopped || !store.leads() || changes >= CHANGES_MAX) break;
        turn.looked += 1;
        // The record may have changed since the look began.
        const owed = this.#asItIs(known);
        if (owed === null || !(await this.#lookAt(owed, turn.models))) continue;
        changes += 1;
        turn = this.#newTurn();
      }
    } catch (error) {
      log.warn('debts: a look failed', { reason: messageOf(error) });
    }
    if (!this.#isStopped) this.#cancel = this.#ports.clock.after(LOOK_MS, () => void this.#look());
  }

  /** Conclusions about hosts are valid for one turn: hosts may change after it. */
  #newTurn(): { readonly models: CpuModels; readonly endsAtMs: number; looked: number } {
    const { clock, store } = this.#ports;
    return { models: new CpuModels(store.snapshot), endsAtMs: clock.monotonicMs() + TURN_MS, looked: 0 };
  }

  /** A debt with its object as that is now; null: one of them is gone. */
  #asItIs({ debt: { id }, about }: Owed): Owed | null {
    const { vms, guestClusters } = this.#ports.store.snapshot;
    if (about.kind === 'vm') {
      const vm = vms.get(about.vm.id)?.value;
      const debt = vm?.debts?.find((each) => each.id === id);
      return vm === undefined || debt === undefined ? null : { debt, about: { kind: 'vm', vm } };
    }
    const cluster = guestClusters.get(about.cluster.name)?.value;
    const debt = cluster?.debts?.find((each) => each.id === id);
    return cluster === undefined || debt === undefined ? null : { debt, about: { kind: 'guest-cluster', cluster } };
  }

  /** Returns true if the record was written. */
  async #lookAt(owed: Owed, models: CpuModels): Promise<boolean> {
    const { debt } = owed;
    const now = this.#ports.clock.wallMs();
    const signed = `${debt.owner} signed for it: ${debt.reason}`;
    if (this.#isSettled(owed, models, now))
      return this.#write(owed, null, { kind: 'debt-settled', message: `${debt.id} is settled: ${debt.what}.` });
    if (debt.toldDue === true || !isDue(debt, now)) return false;
    return this.#write(
      owed,
      { ...debt, toldDue: true },
      {
        kind: 'debt-due',
        message: `${debt.id} is due since ${new Date(debt.until).toISOString()}: ${debt.what}. ${signed}`,
      },
    );
  }

  #isSettled({ debt, about }: Owed, models: CpuModels, now: number): boolean {
    const { store, estate } = this.#ports;
    if (now - debt.since < YOUNG_MS) return false;
    if (debt.kind === 'guest-cluster')
      return about.kind === 'guest-cluster' && tieOfCluster(store.snapshot, about.cluster) === null;
    if (debt.kind !== 'room')
      return about.kind === 'vm' && !tiesOfVm(models, about.vm).some(({ kind }) => kind === debt.kind);
    // A verdict that is being looked at may change yet.
    return (
      estate.isSettled &&
      debt.broke.every(({ host, question }) => {
        const known = store.snapshot.hosts.has(host);
        return !known || estate.verdict(host)?.[question].kind === 'can';
      })
    );
  }

  async #write(
    owed: Owed,
    next: Debt | null,
    { kind, message }: { readonly kind: string; readonly message: string },
  ): Promise<boolean> {
    const { clock, store } = this.#ports;
    const { about } = owed;
    const [vm, vmName] = about.kind === 'vm' ? [about.vm.id, about.vm.name] : [null, null];
    const event = { at: clock.wallMs(), kind, vm, vmName, host: null, generation: null, message };
    return (await store.commit({ changes: [debtChange(owed, next)], events: [event] })) === 'committed';
  }
}
