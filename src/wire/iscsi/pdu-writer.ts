/**
 * Encodes PDUs of a target (RFC 7143, section 11), gathered for as few system calls as possible. Guarantees: padding
 * and digests are right for all data that is appended; small data is copied behind its header, large data is passed on
 * as it is and must not change until it is sent.
 */
import { crc32c } from './crc32c.ts';
import { BHS_BYTES, NO_TAG, OPCODE } from './pdu.ts';

/** Data up to this length is copied: cheaper than one more element for the kernel to gather. */
const INLINE_BYTES_MAX = 16 * 1024;
const OVERHEAD_BYTES_MAX = BHS_BYTES + 4 + 3 + 4;

/** The source of the writer's blocks. */
export interface BlockSource {
  /** A block of at least 32 KiB; its content does not matter. */
  take(): Uint8Array;
}

/** The output, in order; `blocks` go back to their source when they have been sent. */
export interface Output {
  readonly segments: readonly Uint8Array[];
  readonly blocks: readonly Uint8Array[];
  readonly bytes: number;
}

/** Sequence numbers that every PDU of the target carries. */
export interface Sequence {
  readonly statSn: number;
  readonly expCmdSn: number;
  readonly maxCmdSn: number;
}

/** One per connection. Fields of the header are set first, then `append` completes the PDU. */
export class PduWriter {
  readonly #source: BlockSource;
  readonly #header = new Uint8Array(BHS_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  #segments: Uint8Array[] = [];
  #blocks: Uint8Array[] = [];
  #block: Uint8Array | null = null;
  #from = 0;
  #at = 0;
  #bytes = 0;
  /** Whether headers and data end with a digest; takes effect with the next PDU. */
  headerDigest = false;
  dataDigest = false;

  constructor(source: BlockSource) {
    this.#source = source;
  }

  /** Bytes appended since the last `take`. */
  get bytes(): number {
    return this.#bytes;
  }

  /** All output since the last call, or null. */
  take(): Output | null {
    if (this.#bytes === 0) return null;
    this.#closeSegment();
    const output = { segments: this.#segments, blocks: this.#blocks, bytes: this.#bytes };
    this.#segments = [];
    this.#blocks = [];
    this.#block = null;
    this.#bytes = 0;
    return output;
  }

  /**
   * A header with opcode, the flags of byte 1, tag and sequence numbers; everything else 0. For what has no method of
   * its own.
   */
  begin(opcode: number, { flags, tag, sequence }: { flags: number; tag: number; sequence: Sequence }): DataView {
    this.#header.fill(0);
    this.#header[0] = opcode;
    this.#header[1] = flags;
    const view = this.#view;
    view.setUint32(16, tag);
    view.setUint32(24, sequence.statSn);
    view.setUint32(28, sequence.expCmdSn);
    view.setUint32(32, sequence.maxCmdSn);
    return view;
  }

  /** SCSI Data-In (11.7): `status` where the data is all there is to say. */
  dataIn(
    about: {
      readonly tag: number;
      readonly dataSn: number;
      readonly offset: number;
      readonly isFinal: boolean;
      readonly status: number | null;
      readonly residual: number;
      readonly sequence: Sequence;
    },
    data: Uint8Array,
  ): void {
    const withStatus = about.status === null ? 0 : 0x01 | residualFlags(about.residual);
    const view = this.begin(OPCODE.dataIn, { ...about, flags: (about.isFinal ? 0x80 : 0) | withStatus });
    if (about.status === null) view.setUint32(24, 0);
    else this.#header[3] = about.status;
    view.setUint32(20, NO_TAG);
    view.setUint32(36, about.dataSn);
    view.setUint32(40, about.offset);
    if (about.status !== null) view.setUint32(44, Math.abs(about.residual));
    this.append(data);
  }

  /**
   * SCSI Response (11.4). `residual`: positive where the target had more than was expected, negative where less was
   * moved.
   */
  scsiResponse(about: {
    readonly tag: number;
    readonly status: number;
    readonly residual: number;
    /** The residual of a bidirectional command's read part: bytes that the initiator expected and did not get. */
    readonly missingReadBytes?: number;
    readonly expDataSn: number;
    readonly sense: Uint8Array | null;
    readonly sequence: Sequence;
  }): void {
    const { missingReadBytes = 0 } = about;
    const flags = 0x80 | residualFlags(about.residual) | (missingReadBytes > 0 ? BIDIRECTIONAL_UNDERFLOW : 0);
    const view = this.begin(OPCODE.scsiResponse, { ...about, flags });
    this.#header[3] = about.status;
    view.setUint32(36, about.expDataSn);
    view.setUint32(40, missingReadBytes);
    view.setUint32(44, Math.abs(about.residual));
    if (about.sense === null) {
      this.append(null);
      return;
    }
    const data = new Uint8Array(2 + about.sense.length);
    data[0] = about.sense.length >> 8;
    data[1] = about.sense.length & 0xff;
    data.set(about.sense, 2);
    this.append(data);
  }

  /** Ready To Transfer (11.8). */
  r2t(about: {
    readonly tag: number;
    readonly lun: Uint8Array;
    readonly transferTag: number;
    readonly r2tSn: number;
    readonly offset: number;
    readonly length: number;
    readonly sequence: Sequence;
  }): void {
    const view = this.begin(OPCODE.r2t, { ...about, flags: 0x80 });
    this.#header.set(about.lun, 8);
    view.setUint32(20, about.transferTag);
    view.setUint32(36, about.r2tSn);
    view.setUint32(40, about.offset);
    view.setUint32(44, about.length);
    this.append(null);
  }

  /** Reject (11.17), quoting the header it is about. */
  reject(about: { readonly reason: number; readonly header: Uint8Array; readonly sequence: Sequence }): void {
    this.begin(OPCODE.reject, { flags: 0x80, tag: NO_TAG, sequence: about.sequence });
    this.#header[2] = about.reason;
    this.append(about.header.slice(0, BHS_BYTES));
  }

  /** Login Response (11.13). `status`: class and detail. */
  loginResponse(
    about: {
      readonly flags: number;
      readonly isid: string;
      readonly tsih: number;
      readonly tag: number;
      readonly status: number;
      readonly sequence: Sequence;
    },
    text: Uint8Array,
  ): void {
    const view = this.begin(OPCODE.loginResponse, about);
    for (let at = 0; at < 6; at++) this.#header[8 + at] = Number.parseInt(about.isid.slice(at * 2, at * 2 + 2), 16);
    view.setUint16(14, about.tsih);
    view.setUint16(36, about.status);
    this.append(text);
  }

  /** Completes the PDU whose header was begun. */
  append(data: Uint8Array | null): void {
    const length = data === null ? 0 : data.length;
    this.#header[5] = length >> 16;
    this.#header[6] = (length >> 8) & 0xff;
    this.#header[7] = length & 0xff;
    const inline = length <= INLINE_BYTES_MAX ? length : 0;
    const block = this.#room(OVERHEAD_BYTES_MAX + inline);
    const before = this.#at;
    block.set(this.#header, this.#at);
    this.#at += BHS_BYTES;
    if (this.headerDigest) this.#digest(block, crc32c(this.#header));
    if (data !== null && length > 0) this.#data(block, data, inline > 0);
    this.#bytes += this.#at - before + (inline === length ? 0 : length);
  }

  #data(block: Uint8Array, data: Uint8Array, isInline: boolean): void {
    if (isInline) {
      block.set(data, this.#at);
      this.#at += data.length;
    } else {
      this.#closeSegment();
      this.#segments.push(data);
    }
    const padding = -data.length & 3;
    const from = this.#at;
    block.fill(0, from, from + padding);
    this.#at += padding;
    if (this.dataDigest) this.#digest(block, crc32c(block.subarray(from, from + padding), crc32c(data)));
  }

  #digest(block: Uint8Array, crc: number): void {
    for (let shift = 0; shift < 32; shift += 8) block[this.#at++] = (crc >>> shift) & 0xff;
  }

  #room(bytes: number): Uint8Array {
    if (this.#block !== null && this.#at + bytes <= this.#block.length) return this.#block;
    this.#closeSegment();
    const block = this.#source.take();
    this.#block = block;
    this.#blocks.push(block);
    this.#from = 0;
    this.#at = 0;
    return block;
  }

  #closeSegment(): void {
    if (this.#block !== null && this.#at > this.#from) this.#segments.push(this.#block.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }
}

/** Flag u of a SCSI Response (11.4.1). */
const BIDIRECTIONAL_UNDERFLOW = 0x08;

function residualFlags(residual: number): number {
  return residual > 0 ? 0x04 : residual < 0 ? 0x02 : 0;
}
