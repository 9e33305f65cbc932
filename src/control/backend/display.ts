/**
 * A viewer's connection to the display of one incarnation. Guarantees: it ends when the VM no longer runs as that
 * incarnation; if the VM continues as another one, the stream says `moved` first, so that the viewer connects again:
 * RFB cannot continue with another server (its compressed encodings have a state).
 */
import { Duplex } from 'node:stream';
import { currentIncarnation, type Incarnation, type VmRecord } from '../../core/model/vm.ts';
import type { ConsolePorts } from './following-console.ts';

/**
 * RFB 3.8 with the security type None (RFC 6143, 7.1): the greeting that a viewer gets before the display itself
 * answers.
 */
const VERSION = Buffer.from('RFB 003.008\n', 'latin1');
const SECURITY_NONE = Buffer.from([1, 1]);
const SECURITY_OK = Buffer.alloc(4);
const NONE = 1;

/** Connects a viewer. Rejects as `ports.openDisplay` does. */
export async function showDisplay(ports: ConsolePorts, vm: VmRecord, incarnation: Incarnation): Promise<Duplex> {
  return new Display(ports, vm, { display: await ports.openDisplay(vm, incarnation), incarnation });
}

/** See the module's comment. To the viewer it is an RFB server from the first byte on. */
class Display extends Duplex {
  readonly #display: Duplex;
  readonly #unsubscribe: () => void;
  /** The viewer's bytes before the end of the handshake; null: the handshake is over. */
  #said: Buffer | null = Buffer.alloc(0);
  #isVersionSeen = false;

  constructor(
    ports: ConsolePorts,
    { id }: VmRecord,
    { display, incarnation }: { readonly display: Duplex; readonly incarnation: Incarnation },
  ) {
    super({ allowHalfOpen: false });
    this.#display = display;
    this.#unsubscribe = ports.onChange(id, () => this.#look(ports.vm(id), incarnation));
    display.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) display.pause();
    });
    const ended = (): void => this.#end();
    display.once('end', ended);
    display.once('close', ended);
    display.on('error', ended);
    this.push(VERSION);
    this.#look(ports.vm(id), incarnation);
  }

  override _read(): void {
    this.#display.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#said === null) {
      this.#display.write(chunk, () => done());
      return;
    }
    this.#said = Buffer.concat([this.#said, chunk]);
    const rest = this.#shakeHands(this.#said);
    if (rest !== null) this.#said = null;
    if (rest === null || rest.length === 0) done();
    else this.#display.write(rest, () => done());
  }

  override _final(done: () => void): void {
    this.#end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#unsubscribe();
    this.#display.destroy();
    done(error);
  }

  /** The bytes after the viewer's part of the handshake; null while that part is not complete. */
  #shakeHands(said: Buffer): Buffer | null {
    if (said.length < VERSION.length) return null;
    if (!this.#isVersionSeen) {
      this.#isVersionSeen = true;
      // Viewers of older versions would choose no security type.
      if (!said.subarray(0, VERSION.length).equals(VERSION)) {
        this.#end();
        return null;
      }
      this.push(SECURITY_NONE);
    }
    if (said.length === VERSION.length) return null;
    if (said[VERSION.length] !== NONE) {
      this.#end();
      return null;
    }
    this.push(SECURITY_OK);
    return said.subarray(VERSION.length + 1);
  }

  #look(vm: VmRecord | undefined, shown: Incarnation): void {
    const current = vm === undefined ? null : currentIncarnation(vm.phase);
    if (current?.generation === shown.generation) return;
    if (current !== null) this.emit('moved');
    this.#end();
  }

  #end(): void {
    this.#unsubscribe?.();
    if (!this.readableEnded && !this.destroyed) this.push(null);
    this.#display.destroy();
  }
}
