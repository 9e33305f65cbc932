/**
 * One SCSI command of a session while its data is collected and it runs. State: waiting -> receiving -> running ->
 * over; any -> over.
 */

import { type DataOutPdu, IscsiProtocolError, type ScsiCommandPdu } from '../../wire/iscsi/pdu.ts';
import type { ScsiCommand } from '../scsi/target-port.ts';

/** Data that we asked for and that is not complete. */
export interface Solicited {
  readonly transferTag: number;
  readonly offset: number;
  readonly length: number;
  done: number;
  dataSn: number;
}

/** See the module's comment. Offsets and lengths in bytes. */
export class Task {
  readonly pdu: ScsiCommandPdu;
  readonly lunBytes: Uint8Array;
  readonly lun: number;
  /** Data-out that we collect; what the initiator has beyond it is left with it. */
  readonly outBytes: number;
  /** The bytes that its admission takes from the budget. */
  readonly cost: number;
  state: 'waiting' | 'receiving' | 'running' | 'over' = 'waiting';
  /** The initiator aborted it: no answer. */
  isAborted = false;
  /** Whether it counts against the command window: an immediate command does not. */
  isNumbered = false;
  /** A data segment for it is on its way into `data`. */
  isFilling = false;
  /** All of data-out, or the first burst while waiting. */
  data: Uint8Array | null = null;
  received = 0;
  /** Bytes of `data` that count as held while waiting. */
  heldBytes = 0;
  /** There was no room for the data that came while it waited. */
  isDiscarded = false;
  /** Data-out that comes unasked is still expected. */
  isUnsolicitedOpen: boolean;
  unsolicitedDataSn = 0;
  requested = 0;
  r2tSn = 0;
  readonly solicited: Solicited[] = [];
  /** The command as the device server got it. */
  command: ScsiCommand | null = null;

  constructor(
    pdu: ScsiCommandPdu,
    about: { readonly lunBytes: Uint8Array; readonly lun: number; readonly transferBytesMax: number },
  ) {
    this.pdu = pdu;
    this.lunBytes = about.lunBytes;
    this.lun = about.lun;
    this.cost = Math.min(pdu.expectedBytes, about.transferBytesMax);
    this.outBytes = pdu.isWrite ? this.cost : 0;
    this.isUnsolicitedOpen = pdu.isWrite && !pdu.isFinal;
  }

  /** Whether all data has come. */
  get isComplete(): boolean {
    return this.received >= this.outBytes && !this.isDiscarded;
  }

  /**
   * Asks for all data again, as if none had come: a target may do that with data that it discarded (RFC 7143, "Data
   * Transfer Overview"; libiscsi sends it again).
   */
  restart(): void {
    this.isDiscarded = false;
    this.isUnsolicitedOpen = false;
    this.received = 0;
  }

  /**
   * Checks a Data-Out of this many bytes and answers where they go; null if one before it is missing, by its number.
   * Throws IscsiProtocolError where it is not the one that comes next: error recovery level 0 knows no repetition, and
   * in-order delivery was agreed.
   */
  placeOf(
    pdu: DataOutPdu,
    { length, unsolicitedBytesMax }: { length: number; unsolicitedBytesMax: number },
  ): number | null {
    const solicited = this.#expected(pdu);
    if (pdu.dataSn !== (solicited === null ? this.unsolicitedDataSn : solicited.dataSn)) return null;
    if (pdu.offset !== this.received) throw new IscsiProtocolError(`Data-Out at ${pdu.offset}, not ${this.received}`);
    const end = solicited === null ? Math.min(unsolicitedBytesMax, this.outBytes) : solicited.offset + solicited.length;
    if (pdu.offset + length > end) throw new IscsiProtocolError('a Data-Out beyond what was allowed');
    return pdu.offset;
  }

  /** Counts a Data-Out that `placeOf` accepted and that has arrived. */
  arrived(pdu: DataOutPdu, length: number): void {
    const solicited = this.#expected(pdu);
    this.received += length;
    if (solicited === null) {
      this.unsolicitedDataSn += 1;
      if (pdu.isFinal) this.isUnsolicitedOpen = false;
      return;
    }
    solicited.dataSn += 1;
    solicited.done += length;
    const isDone = solicited.done === solicited.length;
    if (pdu.isFinal && !isDone) throw new IscsiProtocolError('a Data-Out sequence that ends early');
    if (isDone) this.solicited.shift();
  }

  #expected(pdu: DataOutPdu): Solicited | null {
    const [first] = this.solicited;
    if (first !== undefined && first.transferTag === pdu.transferTag) return first;
    if (pdu.transferTag === 0xffffffff && this.isUnsolicitedOpen) return null;
    throw new IscsiProtocolError('a Data-Out that nobody asked for');
  }
}
