/**
 * The display of a simulated guest: a small picture whose colour follows from the VM's name, with a bar that moves with
 * the keys that are pressed. RFB from ClientInit on (RFC 6143), raw encoding only. Any number of viewers.
 */
import { createHash } from 'node:crypto';
import { Duplex } from 'node:stream';
import type { QemuProcess } from '../qemu/qemu-process.ts';

const [WIDTH, HEIGHT] = [320, 200];
const PIXEL_BYTES = 4;
const BAR_WIDTH = 8;
/** Lengths of a viewer's messages by their first byte; those of variable length are counted as they come. */
const LENGTHS: Readonly<Record<number, number>> = { 0: 20, 3: 10, 4: 8, 5: 6 };
const [SET_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, KEY, CUT_TEXT] = [0, 2, 3, 4, 6];

/** Keys pressed so far, by guest: two viewers see the same. */
const PRESSED = new WeakMap<QemuProcess, { count: number; readonly viewers: Set<SimDisplay> }>();

/** One viewer's connection. */
export class SimDisplay extends Duplex {
  readonly #qemu: QemuProcess;
  #said = Buffer.alloc(0);
  #isInitialized = false;
  #shifts = [16, 8, 0];
  #isWaiting = false;

  constructor(qemu: QemuProcess) {
    super({ allowHalfOpen: false });
    this.#qemu = qemu;
    const shown = PRESSED.get(qemu) ?? { count: 0, viewers: new Set() };
    PRESSED.set(qemu, shown);
    shown.viewers.add(this);
    qemu.process.onEnd(() => this.destroy());
  }

  override _read(): void {
    // A picture is pushed when it is asked for.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#said = Buffer.concat([this.#said, chunk]);
    while (this.#take());
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    PRESSED.get(this.#qemu)?.viewers.delete(this);
    done(error);
  }

  /** Takes one message; false while none is complete. */
  #take(): boolean {
    if (this.#said.length === 0) return false;
    if (!this.#isInitialized) {
      this.#isInitialized = true;
      this.#said = this.#said.subarray(1);
      this.push(serverInit(this.#qemu.order.vmName));
      return true;
    }
    const length = this.#messageLength();
    if (length === null || this.#said.length < length) return false;
    const message = this.#said.subarray(0, length);
    this.#said = this.#said.subarray(length);
    this.#obey(message);
    return true;
  }

  #messageLength(): number | null {
    const [type = 0] = this.#said;
    if (type === SET_ENCODINGS) return this.#said.length < 4 ? null : 4 + 4 * this.#said.readUInt16BE(2);
    if (type === CUT_TEXT) return this.#said.length < 8 ? null : 8 + this.#said.readUInt32BE(4);
    return LENGTHS[type] ?? 1;
  }

  #obey(message: Buffer): void {
    const [type = 0] = message;
    if (type === SET_FORMAT) this.#shifts = [message[14] ?? 0, message[15] ?? 0, message[16] ?? 0];
    if (type === KEY && message[1] === 1) this.#pressed();
    if (type !== UPDATE_REQUEST) return;
    // An incremental request is answered when something changed.
    if (message[1] === 0) this.#draw();
    else this.#isWaiting = true;
  }

  #pressed(): void {
    const shown = PRESSED.get(this.#qemu);
    if (shown === undefined) return;
    shown.count++;
    for (const viewer of shown.viewers) if (viewer.#isWaiting) viewer.#draw();
  }

  #draw(): void {
    this.#isWaiting = false;
    const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt16BE(WIDTH, 8);
    header.writeUInt16BE(HEIGHT, 10);
    const count = PRESSED.get(this.#qemu)?.count ?? 0;
    const pixels = Buffer.alloc(WIDTH * HEIGHT * PIXEL_BYTES);
    const bar = (count * BAR_WIDTH) % WIDTH;
    const [ground, bright] = [this.#pixel(colourOf(this.#qemu.order.vmName)), this.#pixel([255, 255, 255])];
    for (let at = 0; at < WIDTH * HEIGHT; at++) {
      const isBar = at % WIDTH >= bar && at % WIDTH < bar + BAR_WIDTH;
      pixels.writeUInt32LE(isBar ? bright : ground, at * PIXEL_BYTES);
    }
    this.push(Buffer.concat([header, pixels]));
  }

  #pixel(colour: readonly number[]): number {
    return colour.reduce((sum, part, index) => sum + part * 2 ** (this.#shifts[index] ?? 0), 0);
  }
}

/** The colour of the picture of a VM: red, green, blue. */
export function colourOf(name: string): readonly number[] {
  return [...createHash('sha256').update(name).digest().subarray(0, 3)].map((part) => part % 160);
}

function serverInit(name: string): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt16BE(WIDTH, 0);
  head.writeUInt16BE(HEIGHT, 2);
  // 32 bits, 24 of them colour, little-endian, true colour, 255 of each at 16, 8 and 0.
  Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0]).copy(head, 4);
  head.writeUInt32BE(Buffer.byteLength(name), 20);
  return Buffer.concat([head, Buffer.from(name)]);
}
