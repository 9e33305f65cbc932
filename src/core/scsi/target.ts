/**
 * A target: logical units by number behind one target port, as the transport sees them. For the guarantees see
 * ScsiTarget. Units come and go while it serves, and one unit may belong to several targets, one for each VM for
 * instance.
 */

import { assert } from '../../base/assert.ts';
import { putU32, u16, u32 } from '../../wire/scsi/bytes.ts';
import { encodeInquiry } from '../../wire/scsi/inquiry.ts';
import { lunToBytes } from '../../wire/scsi/lun.ts';
import { ATTENTION, CONDITION, type SenseCondition, STATUS, senseBytes } from '../../wire/scsi/sense.ts';
import { dataAnswer } from './answers.ts';
import type { LogicalUnit } from './logical-unit.ts';
import type { ScsiAnswer, ScsiCommand, ScsiTarget, TaskRequest, TaskResult } from './target-port.ts';

const REPORT_LUNS = 0xa0;
const SELECT_REPORT = { addressable: 0, wellKnown: 1, all: 2 } as const;
const REPORT_LUNS_BYTES_MIN = 16;

/** The device server's side of the interface. */
export class DeviceServer implements ScsiTarget {
  readonly #units = new Map<number, LogicalUnit>();
  readonly #initiator: string | undefined;

  /** `initiator`: the only one that can log in, where that is so. */
  constructor(units: ReadonlyMap<number, LogicalUnit>, { initiator }: { readonly initiator?: string } = {}) {
    this.#initiator = initiator;
    for (const [lun, unit] of units) this.#units.set(lun, unit);
  }

  /** Adds a unit under a number that is free. */
  add(lun: number, unit: LogicalUnit): void {
    assert(!this.#units.has(lun), `logical unit ${lun} is there already`);
    this.#units.set(lun, unit);
    for (const each of this.#units.values()) each.lunsChanged(this.#initiator);
  }

  /** Removes a unit: later commands do not find it. Resolves when those in flight have ended. */
  async remove(lun: number): Promise<void> {
    const unit = this.#units.get(lun);
    if (unit === undefined) return;
    this.#units.delete(lun);
    for (const each of this.#units.values()) each.lunsChanged(this.#initiator);
    await (this.#initiator === undefined ? unit.idle() : unit.quiet(this.#initiator));
  }

  units(lun: number | null): ReadonlySet<object> {
    if (lun === null) return new Set(this.#units.values());
    const unit = this.#units.get(lun);
    return new Set(unit === undefined ? [] : [unit]);
  }

  execute(command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    const unit = this.#units.get(command.lun);
    if (command.cdb[0] === REPORT_LUNS) return this.#reportLuns(command, unit);
    return unit === undefined ? this.#withoutUnit(command) : unit.execute(command);
  }

  async manage(request: TaskRequest): Promise<TaskResult> {
    if (request.function === 'target-warm-reset' || request.function === 'target-cold-reset') {
      await Promise.all([...this.#units.values()].map((unit) => unit.reset(ATTENTION.busReset)));
      return 'complete';
    }
    const unit = this.#units.get(request.lun);
    if (unit === undefined) return 'no-such-lun';
    switch (request.function) {
      case 'abort-task':
        if (request.task === undefined || !unit.has(request.task)) return 'no-such-task';
        await unit.abort((command) => command === request.task);
        return 'complete';
      case 'abort-task-set':
        await unit.abort((command) => command.nexus === request.nexus);
        return 'complete';
      case 'clear-task-set':
        await unit.abort(() => true);
        return 'complete';
      case 'logical-unit-reset':
        await unit.reset(ATTENTION.deviceReset);
        return 'complete';
    }
  }

  nexusLost(nexus: string): void {
    for (const unit of this.#units.values()) unit.lose(nexus);
  }

  async nexusQuiet(nexus: string): Promise<void> {
    await Promise.all([...this.#units.values()].map((unit) => unit.quiet(nexus)));
  }

  #luns(): readonly number[] {
    return [...this.#units.keys()].sort((a, b) => a - b);
  }

  /**
   * REPORT LUNS (SPC-4 6.33), which neither reservations nor unit attentions hold up. There are no well known logical
   * units.
   */
  #reportLuns(command: ScsiCommand, unit: LogicalUnit | undefined): ScsiAnswer {
    if (command.transfer === 'both') return unit?.refuse(CONDITION.lengthMismatch) ?? refused(CONDITION.lengthMismatch);
    const select = command.cdb[2] ?? 0;
    const allocationBytes = u32(command.cdb, 6);
    if (select > SELECT_REPORT.all || allocationBytes < REPORT_LUNS_BYTES_MIN)
      return unit?.refuse(CONDITION.invalidCdb) ?? refused(CONDITION.invalidCdb);
    return dataAnswer(encodeLuns(select === SELECT_REPORT.wellKnown ? [] : this.#luns()), command, allocationBytes);
  }

  /** INQUIRY and REQUEST SENSE are answered where there is no logical unit (SPC-4 6.6.1, 6.39); nothing else is. */
  #withoutUnit(command: ScsiCommand): ScsiAnswer {
    const { cdb } = command;
    const sense = senseBytes(CONDITION.lunNotSupported, { isDescriptor: false });
    if (command.transfer === 'both') return refused(CONDITION.lengthMismatch);
    if (cdb[0] === 0x12 && ((cdb[1] ?? 0) & 0x01) === 0 && cdb[2] === 0)
      return dataAnswer(encodeInquiry(false), command, u16(cdb, 3));
    if (cdb[0] === 0x03) return dataAnswer(sense, command, cdb[4] ?? 0);
    return refused(CONDITION.lunNotSupported);
  }
}

function refused(condition: SenseCondition): ScsiAnswer {
  const sense = senseBytes(condition, { isDescriptor: false });
  return { status: STATUS.checkCondition, sense, dataIn: null, transferBytes: 0 };
}

/** REPORT LUNS data: a header, and eight bytes for each unit. */
function encodeLuns(luns: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(8 + luns.length * 8);
  putU32(bytes, 0, luns.length * 8);
  luns.forEach((lun, index) => {
    bytes.set(lunToBytes(lun), 8 + index * 8);
  });
  return bytes;
}
