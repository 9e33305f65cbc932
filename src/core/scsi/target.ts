/**
 * A target: logical units by number behind one target port, as the transport sees them. For the guarantees see ScsiTarget; units may come
 * and go while it serves.
 */
import { u16, u32 } from '../../wire/scsi/bytes.ts';
import { encodeInquiry } from '../../wire/scsi/inquiry.ts';
import { ATTENTION, CONDITION, STATUS, senseBytes } from '../../wire/scsi/sense.ts';
import { dataAnswer } from './answers.ts';
import type { LogicalUnit } from './logical-unit.ts';
import type { ScsiAnswer, ScsiCommand, ScsiTarget, TaskRequest, TaskResult } from './target-port.ts';
import { encodeLuns } from './unit-commands.ts';

/** The device server's side of the interface. */
export class DeviceServer implements ScsiTarget {
  readonly #units = new Map<number, LogicalUnit>();

  constructor(units: ReadonlyMap<number, LogicalUnit>) {
    for (const [lun, unit] of units) {
      this.#units.set(lun, unit);
      unit.join(() => this.#luns());
    }
  }

  execute(command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    const unit = this.#units.get(command.lun);
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

  /** INQUIRY, REPORT LUNS and REQUEST SENSE are answered where there is no logical unit (SPC-4 6.6.1, 6.33, 6.39); nothing else is. */
  #withoutUnit(command: ScsiCommand): ScsiAnswer {
    const { cdb } = command;
    const sense = senseBytes(CONDITION.lunNotSupported, { isDescriptor: false });
    if (cdb[0] === 0x12 && ((cdb[1] ?? 0) & 0x01) === 0 && cdb[2] === 0)
      return dataAnswer(encodeInquiry(false), command, u16(cdb, 3));
    if (cdb[0] === 0xa0) return dataAnswer(encodeLuns(this.#luns()), command, u32(cdb, 6));
    if (cdb[0] === 0x03) return dataAnswer(sense, command, cdb[4] ?? 0);
    return { status: STATUS.checkCondition, sense, dataIn: null, transferBytes: 0 };
  }
}
