/**
 * How fast guests write to their memory, measured for plans over QMP, and remembered for a while.
 * Guarantees: `measure` ends after MEASURE_MS at the latest, whatever QEMUs do; each VM is measured once at a time, and
 * at most AT_ONCE VMs at once; a remembered rate belongs to the present incarnation, and is forgotten after KEPT_MS.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Generation, VmId } from '../../../base/ids.ts';
import { currentIncarnation, type VmRecord } from '../../model/vm.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { QmpLink, QmpTarget } from '../../ports/qmp-link.ts';

export interface DirtyRatesPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly qmp: Pick<QmpLink, 'dirtyRate'>;
  readonly target: (vm: VmRecord) => QmpTarget | null;
}

/** The time for all VMs of a plan together. */
const MEASURE_MS = 6_000;
const AT_ONCE = 64;
const KEPT_MS = 60_000;

interface Measured {
  readonly generation: Generation;
  readonly mibPerSecond: number;
  /** Monotonic ms. */
  readonly at: number;
}

/** One per leader. */
export class DirtyRates {
  readonly #ports: DirtyRatesPorts;
  readonly #measured = new Map<VmId, Measured>();
  readonly #underWay = new Map<VmId, Promise<void>>();

  constructor(ports: DirtyRatesPorts) {
    this.#ports = ports;
  }

  /** MiB a second; null if it was not measured lately. */
  of({ id, phase }: VmRecord): number | null {
    const known = this.#measured.get(id);
    const isOld = known === undefined || this.#ports.clock.monotonicMs() - known.at > KEPT_MS;
    return isOld || known.generation !== currentIncarnation(phase)?.generation ? null : known.mibPerSecond;
  }

  /** Measures the running guests among the VMs that were not measured lately. Never rejects. */
  async measure(vms: readonly VmRecord[]): Promise<void> {
    this.#forgetOld();
    const waiting = vms.filter((vm) => vm.phase.kind === 'running' && vm.intent === 'running' && this.of(vm) === null);
    const late = Promise.withResolvers<void>();
    let isLate = false;
    const cancel = this.#ports.clock.after(MEASURE_MS, () => {
      isLate = true;
      late.resolve();
    });
    const work = async (): Promise<void> => {
      for (let vm = waiting.shift(); vm !== undefined && !isLate; vm = waiting.shift()) await this.#once(vm);
    };
    await Promise.race([late.promise, Promise.all(Array.from({ length: AT_ONCE }, work))]);
    cancel();
  }

  #once(vm: VmRecord): Promise<void> {
    const known = this.#underWay.get(vm.id);
    if (known !== undefined) return known;
    const measuring = this.#measureOne(vm).finally(() => this.#underWay.delete(vm.id));
    this.#underWay.set(vm.id, measuring);
    return measuring;
  }

  async #measureOne(vm: VmRecord): Promise<void> {
    const { clock, log, qmp, target } = this.#ports;
    try {
      const at = target(vm);
      if (at === null) return;
      const mibPerSecond = await qmp.dirtyRate(at);
      this.#measured.set(vm.id, { generation: at.generation, mibPerSecond, at: clock.monotonicMs() });
    } catch (error) {
      log.info('how fast a guest writes was not measured', { vm: vm.id, reason: messageOf(error) });
    }
  }

  #forgetOld(): void {
    const now = this.#ports.clock.monotonicMs();
    for (const [vm, { at }] of this.#measured) if (now - at > KEPT_MS) this.#measured.delete(vm);
  }
}
