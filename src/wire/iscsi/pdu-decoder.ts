/**
 * Decodes chunks of a TCP stream into PDUs (RFC 7143, 11.1 and 11.2). Guarantees: any chunking gives the same PDUs; a
 * data segment goes to the place its receiver names, copied once from the chunk, or not at all if the chunk is read
 * into `room`; nothing is kept beyond one header; a header announcing more than the bounds is refused before any of it
 * is stored; after an error nothing is decoded any more.
 */
import { crc32c } from './crc32c.ts';
import { BHS_BYTES, IscsiProtocolError, type PduHeader, REJECT } from './pdu.ts';

/** The longest additional header segments taken: room for the longest CDB there is (260 bytes). */
const AHS_BYTES_MAX = 256;
const DIGEST_BYTES = 4;
/** From this many remaining bytes on, a data segment is worth a read of its own. */
const DIRECT_BYTES_MIN = 8 * 1024;
const NOTHING: Uint8Array = new Uint8Array(0);

/** The receiver of PDUs. Both may throw IscsiProtocolError; the decoder is over then. */
export interface PduReceiver {
  /**
   * A header is complete. Answers where its data segment goes: exactly `dataBytes` long. Asked only where there is
   * data.
   */
  place(header: PduHeader): Uint8Array;
  /** A PDU is complete; `data` is what `place` answered, or empty. */
  receive(header: PduHeader, data: Uint8Array): void;
}

type Part = 'header' | 'data' | 'tail';

/** One per connection. */
export class PduDecoder {
  readonly #receiver: PduReceiver;
  readonly #buffer = new Uint8Array(BHS_BYTES + AHS_BYTES_MAX + DIGEST_BYTES);
  readonly #tail = new Uint8Array(3 + DIGEST_BYTES);
  readonly #header: PduHeader;
  #part: Part = 'header';
  #have = 0;
  #need = BHS_BYTES;
  #data: Uint8Array = NOTHING;
  #isOver = false;
  /** Whether headers and data end with a digest; takes effect with the next PDU. */
  headerDigest = false;
  dataDigest = false;
  /** The longest data segment taken: the MaxRecvDataSegmentLength we declared. */
  dataBytesMax: number;

  constructor(receiver: PduReceiver, dataBytesMax: number) {
    this.#receiver = receiver;
    this.dataBytesMax = dataBytesMax;
    const bytes = this.#buffer.subarray(0, BHS_BYTES);
    const view = new DataView(bytes.buffer, 0, BHS_BYTES);
    this.#header = { bytes, view, ahs: NOTHING, opcode: 0, immediate: false, dataBytes: 0 };
  }

  /** The bytes of the header in hand: what a Reject quotes. */
  get headerBytes(): Uint8Array {
    return this.#header.bytes;
  }

  /** Takes the next bytes of the stream. Throws IscsiProtocolError, once; afterwards bytes are ignored. */
  push(chunk: Uint8Array): void {
    let at = 0;
    try {
      while (at < chunk.length && !this.#isOver) at = this.#step(chunk, at);
    } catch (error) {
      this.#isOver = true;
      throw error;
    }
  }

  /**
   * The buffer into which the next bytes of a long data segment may be read instead of being pushed; null if they are
   * to be pushed.
   */
  room(): Uint8Array | null {
    if (this.#part !== 'data' || this.#need - this.#have < DIRECT_BYTES_MIN || this.#isOver) return null;
    return this.#have === 0 ? this.#data : this.#data.subarray(this.#have);
  }

  /** This many bytes were read into the buffer that `room` returned. Throws as `push` does. */
  filled(bytes: number): void {
    if (this.#isOver) return;
    try {
      this.#have += bytes;
      if (this.#have === this.#need) this.#partComplete();
    } catch (error) {
      this.#isOver = true;
      throw error;
    }
  }

  /** Ignores all further input. */
  stop(): void {
    this.#isOver = true;
    this.#data = NOTHING;
  }

  /** Moves as much as the part in hand can take; answers the place in the chunk after it. */
  #step(chunk: Uint8Array, at: number): number {
    const target = this.#part === 'header' ? this.#buffer : this.#part === 'data' ? this.#data : this.#tail;
    const take = Math.min(chunk.length - at, this.#need - this.#have);
    target.set(at === 0 && take === chunk.length ? chunk : chunk.subarray(at, at + take), this.#have);
    this.#have += take;
    if (this.#have === this.#need) this.#partComplete();
    return at + take;
  }

  #partComplete(): void {
    if (this.#part === 'header') this.#headerComplete();
    else if (this.#part === 'data') this.#begin('tail', this.#tailBytes());
    else this.#pduComplete();
  }

  #begin(part: Part, need: number): void {
    this.#part = part;
    this.#have = 0;
    this.#need = need;
    if (need === 0) this.#partComplete();
  }

  #tailBytes(): number {
    const { dataBytes } = this.#header;
    if (dataBytes === 0) return 0;
    return (-dataBytes & 3) + (this.dataDigest ? DIGEST_BYTES : 0);
  }

  /** The basic header first; it says how much more belongs to the header. */
  #headerComplete(): void {
    const bytes = this.#buffer;
    const ahsBytes = (bytes[4] ?? 0) * 4;
    if (ahsBytes > AHS_BYTES_MAX) throw new IscsiProtocolError(`${ahsBytes} bytes of additional headers`);
    const whole = BHS_BYTES + ahsBytes + (this.headerDigest ? DIGEST_BYTES : 0);
    if (this.#need < whole) {
      this.#need = whole;
      return;
    }
    if (this.headerDigest) this.#checkHeader(whole - DIGEST_BYTES);
    const header = this.#header;
    header.opcode = (bytes[0] ?? 0) & 0x3f;
    header.immediate = ((bytes[0] ?? 0) & 0x40) !== 0;
    header.dataBytes = ((bytes[5] ?? 0) << 16) | ((bytes[6] ?? 0) << 8) | (bytes[7] ?? 0);
    header.ahs = ahsBytes === 0 ? NOTHING : bytes.slice(BHS_BYTES, BHS_BYTES + ahsBytes);
    if (header.dataBytes > this.dataBytesMax) {
      throw new IscsiProtocolError(`a data segment of ${header.dataBytes} bytes; ${this.dataBytesMax} are allowed`);
    }
    if (header.dataBytes === 0) {
      this.#data = NOTHING;
      this.#pduComplete();
      return;
    }
    this.#data = this.#receiver.place(header);
    this.#begin('data', header.dataBytes);
  }

  #checkHeader(length: number): void {
    const said = readLittleEndian(this.#buffer, length);
    // If a header cannot be trusted, neither can the place of the next one (RFC 7143, 7.7).
    if (crc32c(this.#buffer.subarray(0, length)) !== said) throw new IscsiProtocolError('a header digest is wrong');
  }

  #pduComplete(): void {
    const header = this.#header;
    const data = this.#data;
    if (this.dataDigest && header.dataBytes > 0) {
      const padding = -header.dataBytes & 3;
      const crc = crc32c(this.#tail.subarray(0, padding), crc32c(data));
      if (crc !== readLittleEndian(this.#tail, padding)) {
        throw new IscsiProtocolError('a data digest is wrong', REJECT.dataDigest);
      }
    }
    this.#part = 'header';
    this.#have = 0;
    this.#need = BHS_BYTES;
    this.#data = NOTHING;
    this.#receiver.receive(header, data);
  }
}

function readLittleEndian(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(at, at + DIGEST_BYTES);
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}
