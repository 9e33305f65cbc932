/** For tests: a viewer that speaks the part of RFB (RFC 6143) that it needs to see the guest's picture. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';

/** The content of a display at one moment. */
export interface Picture {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** 4 bytes for each pixel, in rows from the top. */
  readonly pixels: Buffer;
}

const SERVER_INIT_BYTES = 24;
const RAW = 0;
const PIXEL_BYTES = 4;
/** 32 bits, 24 of them colour, little-endian, true colour, 255 of each at 16, 8 and 0. */
const PIXEL_FORMAT = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

/** A viewer on a stream that begins with ClientInit. */
export class RfbViewer {
  readonly #stream: Duplex;
  #bytes = Buffer.alloc(0);
  #name = '';
  #size = { width: 0, height: 0 };

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      stream.emit('more');
    });
    stream.once('close', () => stream.emit('more'));
  }

  /** Begins, beside existing viewers. */
  async begin(): Promise<void> {
    this.#stream.write(Buffer.from([1]));
    const init = await this.#read(SERVER_INIT_BYTES);
    this.#size = { width: init.readUInt16BE(0), height: init.readUInt16BE(2) };
    this.#name = (await this.#read(init.readUInt32BE(20))).toString();
    this.#stream.write(Buffer.from([0, 0, 0, 0, ...PIXEL_FORMAT]));
    this.#stream.write(Buffer.from([2, 0, 0, 1, 0, 0, 0, RAW]));
  }

  /** Asks for the whole picture. Rejects when the display ends. */
  async look(): Promise<Picture> {
    const { width, height } = this.#size;
    const request = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.writeUInt16BE(width, 6);
    request.writeUInt16BE(height, 8);
    this.#stream.write(request);
    const pixels = Buffer.alloc(width * height * PIXEL_BYTES);
    const [type] = await this.#read(1);
    if (type !== 0) throw new Error(`message ${type} instead of a picture`);
    const rectangles = (await this.#read(3)).readUInt16BE(1);
    for (let count = 0; count < rectangles; count++) await this.#rectangle(pixels);
    return { name: this.#name, width, height, pixels };
  }

  /** Presses and releases a key (a keysym of X11). */
  key(symbol: number): void {
    for (const isDown of [1, 0]) {
      const event = Buffer.from([4, isDown, 0, 0, 0, 0, 0, 0]);
      event.writeUInt32BE(symbol, 4);
      this.#stream.write(event);
    }
  }

  async #rectangle(pixels: Buffer): Promise<void> {
    const head = await this.#read(12);
    const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at)) as [number, number, number, number];
    if (head.readInt32BE(8) !== RAW) throw new Error(`encoding ${head.readInt32BE(8)}`);
    const content = await this.#read(width * height * PIXEL_BYTES);
    for (let row = 0; row < height; row++)
      content.copy(
        pixels,
        ((y + row) * this.#size.width + x) * PIXEL_BYTES,
        row * width * PIXEL_BYTES,
        (row + 1) * width * PIXEL_BYTES,
      );
  }

  async #read(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.#stream.destroyed || this.#stream.readableEnded) throw new Error('the display has ended');
      await once(this.#stream, 'more');
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }
}

/** The number of pixels in a picture that are not black. */
export function litPixels({ pixels }: Picture): number {
  let lit = 0;
  for (let at = 0; at < pixels.length; at += PIXEL_BYTES) if (pixels.readUIntLE(at, 3) !== 0) lit++;
  return lit;
}
