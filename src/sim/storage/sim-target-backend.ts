/**
 * The storage service's target (core/ports/target-backend.ts), simulated, as one run of the service sees it.
 * Guarantees: what the service asked of the target is carried out although the service dies; no answer reaches a
 * service that is dead.
 */
import { CodedError } from '../../base/errors.ts';
import type { DiskId, VmId } from '../../base/ids.ts';
import type {
  TargetBackend,
  TargetDaemon,
  TargetProcess,
  TargetSession,
  TargetState,
  TargetUnit,
} from '../../core/ports/target-backend.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { SimPool } from './sim-pool.ts';
import { killAndWait, SimSession } from './sim-session.ts';
import type { SimTarget } from './sim-target.ts';

/** What of the node outlives the service. */
export interface SimTargetNode {
  readonly pool: SimPool;
  readonly random: SimRandom;
  /** Targets that are not gone. */
  targets(): readonly SimTarget[];
  /** CodedError 'failed' while another one has the port and the disks. */
  spawnTarget(): SimTarget;
}

const WHAT = 'The target';
const FILE_MS = 0.1;
const START_MS = [50, 300] as const;
const CREATE_MS = [5, 30] as const;

/** One per run of the service; `process` is that run. */
export class SimTargetBackend implements TargetBackend {
  readonly #node: SimTargetNode;
  readonly #process: SimProcess;

  constructor(node: SimTargetNode, process: SimProcess) {
    this.#node = node;
    this.#process = process;
  }

  findTargets(): readonly TargetProcess[] {
    return this.#node.targets().map(({ identity }) => identity);
  }

  async killTarget({ pid }: TargetProcess): Promise<void> {
    const target = this.#targetOf(pid);
    if (target === undefined) return this.#after(FILE_MS, () => undefined);
    await killAndWait(target, this.#process);
  }

  async adoptTarget({ pid }: TargetProcess): Promise<TargetDaemon> {
    const unavailable = new CodedError('unavailable', `${WHAT} does not answer.`);
    const target = this.#targetOf(pid);
    if (target === undefined) return this.#after(FILE_MS, () => Promise.reject(unavailable));
    const session = new Session(target, { service: this.#process, what: WHAT });
    await session.state().catch(() => Promise.reject(unavailable));
    return session;
  }

  async startTarget(): Promise<TargetDaemon> {
    const target = await this.#after(this.#between(START_MS), () => this.#node.spawnTarget());
    return new Session(target, { service: this.#process, what: WHAT });
  }

  listUnits(): Promise<readonly TargetUnit[]> {
    return this.#after(FILE_MS, () => this.#node.pool.listShared());
  }

  createUnit(unit: TargetUnit): Promise<void> {
    return this.#after(this.#between(CREATE_MS), () => this.#node.pool.createShared(unit));
  }

  growUnit(unit: TargetUnit): Promise<void> {
    return this.#after(this.#between(CREATE_MS), () => this.#node.pool.createShared(unit));
  }

  deleteUnit(disk: DiskId): Promise<void> {
    return this.#after(1, () => this.#node.pool.deleteShared(disk));
  }

  #targetOf(pid: number): SimTarget | undefined {
    return this.#node.targets().find(({ identity }) => identity.pid === pid);
  }

  #between([least, most]: readonly [number, number]): number {
    return this.#node.random.between(least, most);
  }

  /** What the service does itself, `delayMs` from now: not at all when it dies before. */
  #after<T>(delayMs: number, act: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#process.after(delayMs, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

class Session extends SimSession<SimTarget> implements TargetDaemon {
  state(): Promise<TargetState> {
    return this.ask((target) => target.state);
  }

  apply(state: TargetState): Promise<void> {
    return this.until<void>((target, answer) => target.apply(state, answer));
  }

  async ready(vm: VmId): Promise<void> {
    const { vms } = await this.state();
    if (!vms.some((each) => each.vm === vm)) throw new CodedError('unavailable', `${vm} cannot log in yet.`);
  }

  sessions(): Promise<readonly TargetSession[]> {
    return this.ask((target) => target.sessions);
  }
}
