/**
 * One logical unit: access, unit attentions, commands in flight. Guarantees: U1 access is checked when a command
 * arrives, and a change of reservations is acknowledged only when the commands of those who lost
 *      access by it have ended: after the answer nothing of theirs reaches the disk;
 * U2  a unit attention is reported once to each nexus, before any command of it but INQUIRY, REPORT LUNS and REQUEST
 * SENSE, and never to a
 *      session that does not run the guest;
 * U3  an aborted command has ended, on the disk too, when the abort is acknowledged; U4  memory is bounded: NEXUSES_MAX
 * nexuses, each with one unit attention of a kind; U5  where cached writes are recorded: a write is answered when its
 * nexus is in the record, and the first flush after a loss of power
 *      that took writes of its nexus fails.
 */
import type { UnitIdentity } from '../../wire/scsi/inquiry.ts';
import { DEFAULT_MODE, type ModeSettings } from '../../wire/scsi/mode.ts';
import { ATTENTION, CONDITION, type SenseCondition, STATUS, senseBytes } from '../../wire/scsi/sense.ts';
import { type Access, accessOf, legacyRule } from './access.ts';
import { RESERVATION_CONFLICT, recovered, statusAnswer, TASK_ABORTED } from './answers.ts';
import type { CacheKeeper } from './cache-keeper.ts';
import type { Admission } from './cached-writes.ts';
import { isWrongWay } from './direction.ts';
import { type Dispatch, dispatchOf, isFlush } from './dispatch.ts';
import { RangeGate } from './range-gate.ts';
import { ReservationKeeper, type ReservationStore } from './reservation-keeper.ts';
import type { ReservationCommand, ReservationOutcome, ReservationState } from './reservations.ts';
import type { BackingStore, ScsiAnswer, ScsiCommand } from './target-port.ts';
import type { UnitContext } from './unit-context.ts';

/** Initiator ports that one unit knows at a time; a lost one makes room for the next. */
const NEXUSES_MAX = 1024;

interface Nexus {
  readonly name: string;
  attentions: SenseCondition[];
  access: Access;
  isLost: boolean;
}

interface Task {
  readonly command: ScsiCommand;
  isAborted: boolean;
  readonly done: Promise<unknown>;
}

/** The parts of a unit. */
export interface UnitOptions {
  readonly identity: UnitIdentity;
  readonly backing: BackingStore;
  readonly reservations: ReservationStore;
  /** The record of nexuses with writes that may be in the cache only; absent: no loss of power is reported. */
  readonly cached?: CacheKeeper;
}

const nothing = (): undefined => undefined;

/** Opens a unit with the reservations that were saved; rejects when they cannot be read. */
export async function openLogicalUnit(options: UnitOptions): Promise<LogicalUnit> {
  return new LogicalUnit(options, await options.reservations.load());
}

/** A logical unit; made by openLogicalUnit. */
export class LogicalUnit implements UnitContext {
  readonly backing: BackingStore;
  readonly identity: UnitIdentity;
  readonly gate = new RangeGate();
  readonly #keeper: ReservationKeeper;
  readonly #cached: CacheKeeper | null;
  readonly #nexuses = new Map<string, Nexus>();
  readonly #tasks = new Set<Task>();
  #mode: ModeSettings = DEFAULT_MODE;
  #legacyHolder: string | null = null;

  constructor(options: UnitOptions, state: ReservationState | null) {
    this.backing = options.backing;
    this.identity = options.identity;
    this.#cached = options.cached ?? null;
    this.#keeper = new ReservationKeeper(options.reservations, state, (outcome) => this.#apply(outcome));
  }

  get mode(): ModeSettings {
    return this.#mode;
  }

  get reservations(): ReservationState {
    return this.#keeper.state;
  }

  /** Executes one command: see ScsiTarget. */
  execute(command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    const nexus = this.#nexus(command.nexus);
    if (nexus === null) return statusAnswer(STATUS.busy);
    const dispatch = dispatchOf(command.cdb);
    if (command.isStandby !== true && (typeof dispatch === 'string' || !dispatch.isBeforeAttention)) {
      const attention = nexus.attentions.shift();
      if (attention !== undefined) return this.refuse(attention);
    }
    if (dispatch === 'no-opcode') return this.refuse(CONDITION.invalidOpcode);
    // NACA: there is no auto contingent allegiance here.
    if (dispatch === 'no-service-action' || ((command.cdb[dispatch.controlAt] ?? 0) & 0x04) !== 0)
      return this.refuse(CONDITION.invalidCdb);
    if (isWrongWay(dispatch.direction(command.cdb), command)) return this.refuse(CONDITION.lengthMismatch);
    if (!this.#isAllowed(dispatch, nexus)) return RESERVATION_CONFLICT;
    const answer =
      dispatch.cache === 'none' || this.#cached === null
        ? this.#handled(dispatch, command)
        : this.#recorded(dispatch, command, this.#cached);
    return answer instanceof Promise ? this.#track(command, answer) : answer;
  }

  /** Takes note of the generations of an initiator that may exist; see CacheKeeper. */
  admit(nexus: string, admission: Admission): Promise<void> | undefined {
    return this.#cached?.admit(nexus, admission);
  }

  refuse(condition: SenseCondition, information?: number): ScsiAnswer {
    const sense = senseBytes(condition, { isDescriptor: this.#mode.isDescriptorSense, information });
    return { status: STATUS.checkCondition, sense, dataIn: null, transferBytes: 0 };
  }

  setMode(nexus: string, settings: ModeSettings): void {
    const isSame =
      settings.isDescriptorSense === this.#mode.isDescriptorSense &&
      settings.isWriteProtected === this.#mode.isWriteProtected;
    if (isSame) return;
    this.#mode = settings;
    this.#tellAll(ATTENTION.modeParametersChanged, nexus);
  }

  takeAttention(nexus: string): SenseCondition | undefined {
    return this.#nexuses.get(nexus)?.attentions.shift();
  }

  mayWrite(nexus: string): boolean {
    return accessOf(this.reservations, nexus).mayWrite;
  }

  reserveLegacy(nexus: string): boolean {
    const rule = legacyRule(this.reservations, nexus);
    if (rule !== 'legacy') return rule === 'good';
    this.#legacyHolder = nexus;
    return true;
  }

  releaseLegacy(nexus: string): boolean {
    const rule = legacyRule(this.reservations, nexus);
    if (rule !== 'legacy') return rule === 'good';
    if (this.#legacyHolder === nexus) this.#legacyHolder = null;
    return true;
  }

  async changeReservations(command: ScsiCommand, change: ReservationCommand): Promise<ReservationOutcome> {
    const outcome = await this.#keeper.change(command.nexus, change);
    if (outcome.result !== 'good') return outcome;
    const isLosing = (task: Task): boolean => {
      const access = accessOf(outcome.state, task.command.nexus);
      return outcome.aborted.includes(task.command.nexus) || !access.mayRead || !access.mayWrite;
    };
    await this.#ended((task) => task.command !== command && task.command.cdb[0] !== 0x5f && isLosing(task));
    return outcome;
  }

  /** Aborts commands; resolves when they have ended. */
  abort(isMeant: (command: ScsiCommand) => boolean): Promise<void> {
    for (const task of this.#tasks) if (isMeant(task.command)) task.isAborted = true;
    return this.#ended((task) => isMeant(task.command));
  }

  /** Whether a command is in flight. */
  has(command: ScsiCommand): boolean {
    for (const task of this.#tasks) if (task.command === command) return true;
    return false;
  }

  /**
   * LOGICAL UNIT RESET: every command is aborted, non-persistent settings return to their defaults, every nexus is
   * told.
   */
  async reset(attention: SenseCondition): Promise<void> {
    this.#legacyHolder = null;
    this.#mode = DEFAULT_MODE;
    for (const nexus of this.#nexuses.values()) nexus.attentions = [attention];
    await this.abort(() => true);
  }

  /** Resolves when the commands of a nexus that are in flight now have ended. */
  quiet(nexus: string): Promise<void> {
    return this.#ended((task) => task.command.nexus === nexus);
  }

  /** Resolves when all commands that are in flight now have ended. */
  idle(): Promise<void> {
    return this.#ended(() => true);
  }

  /** I_T nexus loss (SAM-5 6.3.4). */
  lose(name: string): void {
    if (this.#legacyHolder === name) this.#legacyHolder = null;
    const nexus = this.#nexuses.get(name);
    if (nexus === undefined) return;
    nexus.isLost = true;
    nexus.attentions = [...nexus.attentions.filter((each) => each !== ATTENTION.nexusLoss), ATTENTION.nexusLoss];
  }

  /** The backing store has grown: every nexus is told. */
  capacityChanged(): void {
    this.#tellAll(ATTENTION.capacityChanged, null);
  }

  /** The set of the target's units has changed: every nexus is told, or the only one that sees that target. */
  lunsChanged(name?: string): void {
    for (const nexus of this.#nexuses.values())
      if (name === undefined || nexus.name === name) tell(nexus, ATTENTION.lunsChanged);
  }

  #handled(dispatch: Dispatch, command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    return recovered(
      () => dispatch.handle(this, command),
      () => this.refuse(CONDITION.internalFailure),
    );
  }

  /** A command that fills or empties the cache. */
  #recorded(dispatch: Dispatch, command: ScsiCommand, cached: CacheKeeper): ScsiAnswer | Promise<ScsiAnswer> {
    const { nexus, cdb } = command;
    if (dispatch.cache === 'synchronizes')
      return isFlush(cdb) && cached.standingOf(nexus) === 'lost'
        ? this.#tellLoss(dispatch, command, cached)
        : this.#handled(dispatch, command);
    if (cached.isEntered(nexus) || ((cdb[1] ?? 0) & dispatch.fuaBit) !== 0) return this.#handled(dispatch, command);
    return cached.enter(nexus).then(
      () => this.#handled(dispatch, command),
      () => this.refuse(CONDITION.writeError),
    );
  }

  /**
   * Reports the loss at the first flush after a loss of power. Data in the cache is written now: from here on the
   * initiator is recorded with this boot. A session that does not run the guest does not count.
   */
  async #tellLoss(dispatch: Dispatch, command: ScsiCommand, cached: CacheKeeper): Promise<ScsiAnswer> {
    const answer = await this.#handled(dispatch, command);
    if (answer.status !== STATUS.good) return answer;
    // If the record is not saved, the next flush fails as well.
    if (command.isStandby !== true) await cached.told(command.nexus).catch(nothing);
    return this.refuse(CONDITION.writesLost);
  }

  #isAllowed(dispatch: Dispatch, nexus: Nexus): boolean {
    if (this.#legacyHolder !== null) {
      if (dispatch.isPersistentReserve) return false;
      if (this.#legacyHolder !== nexus.name && !dispatch.isFreeUnderLegacy) return false;
    }
    if (dispatch.access === 'read') return nexus.access.mayRead;
    return dispatch.access !== 'write' || nexus.access.mayWrite;
  }

  /** The nexus, new ones with the attention of a fresh start; null: there is no room for another. */
  #nexus(name: string): Nexus | null {
    const known = this.#nexuses.get(name);
    if (known !== undefined) {
      known.isLost = false;
      return known;
    }
    if (this.#nexuses.size >= NEXUSES_MAX && !this.#forgetLost()) return null;
    const access = accessOf(this.reservations, name);
    const nexus: Nexus = { name, attentions: [ATTENTION.powerOn], access, isLost: false };
    this.#nexuses.set(name, nexus);
    return nexus;
  }

  /**
   * A forgotten nexus that comes back gets a unit attention for a fresh start, which stands for everything it missed.
   */
  #forgetLost(): boolean {
    for (const nexus of this.#nexuses.values())
      if (nexus.isLost) {
        this.#nexuses.delete(nexus.name);
        return true;
      }
    return false;
  }

  #apply(outcome: Extract<ReservationOutcome, { result: 'good' }>): void {
    for (const nexus of this.#nexuses.values()) nexus.access = accessOf(outcome.state, nexus.name);
    for (const { nexus: name, attention } of outcome.attentions) {
      const nexus = this.#nexuses.get(name);
      if (nexus !== undefined) tell(nexus, ATTENTION[attention]);
    }
    for (const task of this.#tasks) if (outcome.aborted.includes(task.command.nexus)) task.isAborted = true;
  }

  #tellAll(attention: SenseCondition, but: string | null): void {
    for (const nexus of this.#nexuses.values()) if (nexus.name !== but) tell(nexus, attention);
  }

  #track(command: ScsiCommand, answer: Promise<ScsiAnswer>): Promise<ScsiAnswer> {
    const task: Task = { command, isAborted: false, done: answer };
    this.#tasks.add(task);
    return answer.then((value) => {
      this.#tasks.delete(task);
      return task.isAborted ? TASK_ABORTED : value;
    });
  }

  async #ended(isMeant: (task: Task) => boolean): Promise<void> {
    const waits: Promise<unknown>[] = [];
    for (const task of this.#tasks) if (isMeant(task)) waits.push(task.done.then(nothing));
    if (waits.length > 0) await Promise.all(waits);
  }
}

function tell(nexus: Nexus, attention: SenseCondition): void {
  if (!nexus.attentions.includes(attention)) nexus.attentions.push(attention);
}
