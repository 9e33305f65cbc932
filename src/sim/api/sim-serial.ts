/**
 * The serial port of a simulated guest: a login prompt that echoes what is typed. It ends with its QEMU and serves one
 * client at a time.
 */
import { Duplex } from 'node:stream';
import type { QemuProcess } from '../qemu/qemu-process.ts';

const OPEN = new WeakMap<QemuProcess, SimSerial>();

/** One client's connection to a serial port. */
export class SimSerial extends Duplex {
  readonly #qemu: QemuProcess;

  /** Connects to a guest; null while another client is connected. */
  static open(qemu: QemuProcess): SimSerial | null {
    if (OPEN.has(qemu)) return null;
    const serial = new SimSerial(qemu);
    OPEN.set(qemu, serial);
    qemu.process.onEnd(() => serial.destroy());
    return serial;
  }

  private constructor(qemu: QemuProcess) {
    super({ allowHalfOpen: false });
    this.#qemu = qemu;
    this.push(this.#prompt());
  }

  override _read(): void {
    // The guest's output is pushed when the guest says it.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.push(chunk.toString('latin1').replaceAll('\r', `\r\n${this.#prompt()}`));
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (OPEN.get(this.#qemu) === this) OPEN.delete(this.#qemu);
    done(error);
  }

  #prompt(): string {
    return `${this.#qemu.order.vmName} login: `;
  }
}
