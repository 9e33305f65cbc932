/**
 * Sequence numbers of a session (RFC 7143, 4.2.2). Guarantees: what is outside the window is ignored, what is taken is
 * taken once, and MaxCmdSN never goes back. All numbers are serial numbers of 32 bits.
 */
import { cmdSn, IscsiProtocolError, OPCODE, type PduHeader } from '../../wire/iscsi/pdu.ts';
import type { Sequence } from '../../wire/iscsi/pdu-writer.ts';
import { LIMITS } from './limits.ts';

/** One per session. */
export class Numbers implements Sequence {
  statSn: number;
  expCmdSn: number;
  maxCmdSn: number;
  #open = 0;

  constructor({ statSn, expCmdSn }: { statSn: number; expCmdSn: number }) {
    this.statSn = statSn;
    this.expCmdSn = expCmdSn;
    this.maxCmdSn = (expCmdSn + LIMITS.commandWindow - 1) >>> 0;
  }

  /** Numbers for a PDU that carries status: StatSN goes on after it. */
  next(): Sequence {
    const sequence = { statSn: this.statSn, expCmdSn: this.expCmdSn, maxCmdSn: this.maxCmdSn };
    this.statSn = (this.statSn + 1) >>> 0;
    return sequence;
  }

  /**
   * Whether a request is to be carried out. Throws IscsiProtocolError if a request before it is missing: TCP loses
   * none.
   */
  accept(header: PduHeader): boolean {
    if (header.immediate) return true;
    const number = cmdSn(header);
    const ahead = (number - this.expCmdSn) | 0;
    if (ahead < 0 || ((number - this.maxCmdSn) | 0) > 0) return false;
    if (ahead > 0) throw new IscsiProtocolError(`command number ${number} where ${this.expCmdSn} is next`);
    this.expCmdSn = (this.expCmdSn + 1) >>> 0;
    // A SCSI command keeps its place in the window until it has ended.
    if (header.opcode === OPCODE.scsiCommand) this.#open += 1;
    else this.#widen();
    return true;
  }

  /** A SCSI command that was accepted by its number has ended. */
  closed(): void {
    this.#open -= 1;
    this.#widen();
  }

  #widen(): void {
    const max = (this.expCmdSn + LIMITS.commandWindow - 1 - this.#open) >>> 0;
    if (((max - this.maxCmdSn) | 0) > 0) this.maxCmdSn = max;
  }
}
