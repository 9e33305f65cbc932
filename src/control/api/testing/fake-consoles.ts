/**
 * Serial ports of the fake backend: each sends a greeting, then echoes its input in upper case; one holder at a time.
 */
import { Duplex } from 'node:stream';
import { CodedError } from '../../../base/errors.ts';

/** The consoles of the fake backend; see the module. */
export class FakeConsoles {
  readonly #open = new Map<string, Duplex>();

  open(vm: string, takeOver: boolean): Duplex {
    const before = this.#open.get(vm);
    if (before !== undefined && !takeOver)
      throw new CodedError('conflict', `The console of ${vm} is held.`, { advice: 'Take it over.' });
    before?.push('\r\n[taken over]\r\n');
    before?.push(null);
    const serial = new Duplex({
      allowHalfOpen: false,
      read: () => undefined,
      write(chunk: Buffer, _encoding, done) {
        this.push(chunk.toString('latin1').toUpperCase());
        done();
      },
    });
    this.#open.set(vm, serial);
    serial.once('close', () => {
      if (this.#open.get(vm) === serial) this.#open.delete(vm);
    });
    serial.push(`${vm} login: `);
    return serial;
  }
}
