/**
 * An administrator who rolls over all hosts, and whoever runs the roll's commands: plans, approves, begins, does the
 * work on each host (it may restart), dies and is replaced, resumes a roll that has paused, and sees it to its end.
 */
import { createHash } from 'node:crypto';
import { approvedTextOf } from '../../api/approved.ts';
import type { MaintenancePlan } from '../../api/maintenance-views.ts';
import type { OperationId } from '../../api/operations.ts';
import type { Roll } from '../../api/roll-views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { namedIncarnations } from '../../core/check/records.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import type { RollSwarm } from '../faults/swarm.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** Between two looks at the roll, and between two attempts to begin it, in ms. */
const LOOK_MS = 700;
const AGAIN_MS = 3_000;
/** How long a command takes, and a host is off that it restarts, in ms. */
const COMMAND_MS = [100, 4_000] as const;
const RESTART_MS = [500, 6_000] as const;
/** Whoever asks a control node waits so long for its answer, in ms. */
const ASK_MS = 12_000;
const FREEZE_MS = [5_000, 20_000] as const;

type Work = Roll['hosts'][number];

/** See the module's comment. */
export class RollPeople {
  readonly #cluster: SimCluster;
  readonly #swarm: RollSwarm;
  readonly #random: SimRandom;
  #id: string | null = null;
  #last: Roll | null = null;
  /** Names one run of `gp maintenance roll`: another one after its end. */
  #gp = 1;
  #attempts = 0;
  readonly #busy = new Set<string>();

  constructor(cluster: SimCluster, swarm: RollSwarm) {
    this.#cluster = cluster;
    this.#swarm = swarm;
    this.#random = cluster.random.fork('roll people');
  }

  /** Begins now, and goes on until the roll is over. */
  start(): void {
    void this.#turn()
      .catch((error: unknown) => this.#cluster.say(() => `people: roll: ${messageOf(error)}`))
      .finally(() => {
        if (!this.isOver) this.#cluster.clock.after(this.#id === null ? AGAIN_MS : LOOK_MS, () => this.start());
      });
  }

  /** Whether nothing of it is left to do. */
  get isOver(): boolean {
    return this.#last?.state === 'completed' || this.#last?.state === 'aborted';
  }

  /** How far it is, for who wonders why it does not end. */
  get words(): string {
    if (this.#last === null) return `the roll was not begun in ${this.#attempts} attempts`;
    const { id, state, held, hosts } = this.#last;
    const open = hosts.filter((host) => !['done', 'failed', 'skipped'].includes(host.state));
    const words = open.slice(0, 5).map((host) => `${host.host} ${host.state}`);
    return `${id} is ${state} (${held ?? 'nothing holds it'}): ${words.join(', ')}`;
  }

  async #turn(): Promise<void> {
    if (this.#id === null) return this.#begin();
    const roll = (await this.#ask('getRoll', { params: { roll: this.#id } })) as Roll;
    const before = this.#last;
    this.#last = roll;
    if (roll.state !== before?.state || roll.held !== before.held || roll.done !== before.done)
      this.#cluster.say(() => `people: ${this.words}, ${roll.done} done`);
    if (this.isOver) return;
    // A change manager looks: what has failed was repaired, and is tried again.
    if ((roll.state === 'paused' || roll.failed > 0) && this.#random.chance(20))
      await this.#ask('resumeRoll', { params: { roll: roll.id }, body: { retry: true } });
    else if (roll.state === 'running' && this.#random.chance(this.#swarm.pausePercent))
      await this.#ask('pauseRoll', { params: { roll: roll.id } });
    else if (roll.state === 'running' && this.#random.chance(this.#swarm.abortPercent))
      await this.#ask('abortRoll', { params: { roll: roll.id } });
    if (this.#random.chance(this.#swarm.gpEndsPercent)) this.#gpEnds();
    for (const host of roll.hosts) this.#workOn(roll.id, host);
  }

  #gpEnds(): void {
    this.#gp++;
    this.#busy.clear();
    this.#cluster.say(() => `people: gp ends; gp-${this.#gp} goes on`);
  }

  async #begin(): Promise<void> {
    this.#attempts++;
    await this.#nameRacks();
    const { maxUnavailable, perRack, commands, windows, onFailure } = this.#swarm;
    const limits = { maxUnavailable, parallel: 1 + this.#random.below(3), ...(perRack === null ? {} : { perRack }) };
    const plan = (await this.#ask('planMaintenance', { body: { hosts: ['all'], ...limits } })) as MaintenancePlan;
    const text = approvedTextOf(plan);
    const hash = createHash('sha256').update(text).digest('hex');
    this.#cluster.say(() => `people: roll over ${plan.waves.length} waves`);
    const body = {
      ...{ plan: text, hash, windows, onFailure, freezes: this.#freezes(), workMs: 5_000, backMs: 30_000 },
      ...Object.fromEntries(commands.map((step) => [step, `./${step}.sh {host}`])),
    };
    const roll = (await this.#ask('startRoll', { body })) as Roll;
    this.#id = roll.id;
    this.#last = roll;
  }

  /** The records of hosts say which hosts fail together: a roll counts by them. */
  async #nameRacks(): Promise<void> {
    for (const { name, rack = null } of this.#cluster.truth.tables.host.values()) {
      const there = this.#cluster.hosts.get(name)?.rack;
      if (rack === null && there !== undefined)
        await this.#ask('patchHost', { params: { host: name }, body: { rack: there } });
    }
  }

  #freezes(): object[] {
    if (!this.#random.chance(30)) return [];
    const from = this.#cluster.clock.wallMs() + this.#random.between(1_000, 60_000);
    const until = from + this.#random.between(...FREEZE_MS);
    const at = (ms: number): string => new Date(Math.floor(ms)).toISOString();
    return [{ from: at(from), until: at(until), reason: 'year end' }];
  }

  /** Does the work that a host waits for, if nobody of this run does it. */
  #workOn(roll: string, { host, state, work }: Work): void {
    if (state !== 'pre' && state !== 'run' && state !== 'verify') return;
    const key = `${host} ${state}`;
    const by = `gp-${this.#gp}`;
    if (this.#busy.has(key) || (work !== null && work.by !== by)) {
      // The lease of a run that ended is over some time: then the work may be taken over.
      if (work === null || work.by === by || Date.parse(work.until) > this.#cluster.clock.wallMs()) return;
    }
    this.#busy.add(key);
    void this.#work(roll, { host, step: state, by })
      .catch((error: unknown) => this.#cluster.say(() => `people: ${by}: ${state} on ${host}: ${messageOf(error)}`))
      .finally(() => this.#busy.delete(key));
  }

  async #work(
    roll: string,
    work: { readonly host: string; readonly step: string; readonly by: string },
  ): Promise<void> {
    const report = (outcome: string, message?: string): Promise<unknown> =>
      this.#ask('reportRollWork', {
        params: { roll },
        body: { ...work, outcome, ...(message === undefined ? {} : { message }) },
      });
    const isMine = (): boolean => work.by === `gp-${this.#gp}`;
    await report('begun');
    if (!isMine()) return;
    if (work.step === 'run') this.#demandEmpty(work.host as HostName);
    await this.#sleep(this.#takes(work));
    const outcome = this.#random.chance(this.#swarm.workFailsPercent) ? 'failed' : 'succeeded';
    // How it ended is told once a control node answers.
    for (let attempt = 0; isMine() && attempt < 100; attempt++) {
      try {
        await report(outcome, `exit status ${outcome === 'failed' ? 1 : 0}`);
        return;
      } catch (error) {
        if (error instanceof CodedError && error.code === 'conflict') throw error;
        await this.#sleep(1_000);
      }
    }
  }

  /** Begins a command; returns how long it takes, in ms. A `run` may restart its host. */
  #takes({ host, step }: { readonly host: string; readonly step: string }): number {
    const ms = this.#random.between(...COMMAND_MS);
    const machine = this.#cluster.hosts.get(host as HostName)?.machine;
    if (step !== 'run' || machine === undefined || !this.#random.chance(60)) return ms;
    this.#cluster.powerOff(machine);
    this.#cluster.clock.after(this.#random.between(...RESTART_MS), () => this.#cluster.powerOn(machine));
    return ms;
  }

  /** Who works on a host relies on it: no record may expect anything there. */
  #demandEmpty(host: HostName): void {
    for (const vm of this.#cluster.truth.tables.vm.values())
      if (namedIncarnations(vm).some((incarnation) => incarnation.host === host))
        this.#cluster.accuse('MN5-drained-is-empty', `the work on ${host} begins, and ${vm.name} is there`);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#cluster.clock.after(ms, resolve));
  }

  /** Asks the leader, or else any control node that answers. One that ends meanwhile never answers. */
  async #ask(id: OperationId, request: SimRequest): Promise<unknown> {
    const { controls, leader } = this.#cluster;
    const node = leader ?? [...controls.values()].find(({ context }) => context !== null);
    if (node === undefined) throw new CodedError('unavailable', 'No control node serves.');
    const late = this.#sleep(ASK_MS).then(() => {
      throw new CodedError('deadline', `${node.name} does not answer.`);
    });
    return Promise.race([askNode(this.#cluster, node, id, request), late]);
  }
}
