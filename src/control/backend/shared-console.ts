/**
 * One VM's serial console for several people at once: one of them writes, the others read along.
 *
 * Guarantees: everybody gets what the guest prints, readers from the latest lines on that others have seen, and the
 * sentences of the console (moves, its end); what readers type
 * reaches nobody; a reader who is too slow loses output, says so to that reader, and holds nobody up, while a slow writer
 * holds the guest's output back for everybody; the port is released when the last one has left.
 */
import { Duplex } from 'node:stream';
import type { Clock } from '../../core/ports/clock.ts';
import { type FollowingConsole, LAST_WORDS_MS } from './following-console.ts';

/** Output that is kept for one reader who is slow, in bytes. */
const READER_BYTES_MAX = 256 * 1024;
/** The latest output that a person sees who begins to read along, in bytes. */
const RECENT_BYTES_MAX = 4 * 1024;

/** The person who may type at a console. */
export interface ConsoleHolder {
  /** Name of the holder's API token. */
  readonly name: string;
  /** When the console was opened (RFC 3339). */
  readonly since: string;
  /** Name of the control node through which the console is open. */
  readonly node: string;
}

/** See the module. Calls `onOver` when the port is released. */
export class SharedConsole {
  readonly #following: FollowingConsole;
  readonly #clock: Clock;
  readonly #seats = new Set<Seat>();
  #writer: Seat | null = null;
  #recent = Buffer.alloc(0);

  constructor(following: FollowingConsole, clock: Clock, onOver: () => void) {
    this.#following = following;
    this.#clock = clock;
    following.on('data', (chunk: Buffer) => {
      this.#recent = Buffer.concat([this.#recent, chunk]).subarray(-RECENT_BYTES_MAX);
      for (const seat of this.#seats) if (!seat.give(chunk) && seat === this.#writer) following.pause();
    });
    const end = (): void => {
      for (const seat of this.#seats) seat.finish();
    };
    following.once('end', end);
    following.once('close', () => {
      onOver();
      end();
    });
  }

  /** Whoever writes; else somebody who reads along; null: nobody is left. */
  get holder(): ConsoleHolder | null {
    const [first] = this.#seats;
    return (this.#writer ?? first)?.holder ?? null;
  }

  /** Whoever writes. */
  get writer(): ConsoleHolder | null {
    return this.#writer?.holder ?? null;
  }

  /** The console is closed, or about to be. */
  get isOver(): boolean {
    return this.#following.isEnding;
  }

  /** A seat for somebody who writes; whoever wrote until then is told, and gets up. */
  write(holder: ConsoleHolder): Duplex {
    const before = this.#writer;
    const pass: Pass = (chunk, done) => void this.#following.write(chunk, () => done());
    this.#writer = this.#add(new Seat(holder, this.#clock, pass));
    before?.say(`${holder.name} took this console over`);
    before?.finish();
    this.#following.resume();
    return this.#writer;
  }

  /** A seat for somebody who reads along. */
  read(holder: ConsoleHolder): Duplex {
    const seat = this.#add(new Seat(holder, this.#clock, null));
    if (this.#recent.length > 0) seat.push(this.#recent);
    seat.say(this.#writer === null ? 'you read along' : `you read along; ${this.#writer.holder.name} writes`);
    return seat;
  }

  /** Releases the port where nobody came. */
  closeIfEmpty(): void {
    if (this.#seats.size === 0) this.#following.destroy();
  }

  /** Ends the console for everybody, with a sentence. */
  endWith(sentence: string): void {
    this.#following.endWith(sentence);
  }

  #add(seat: Seat): Seat {
    this.#seats.add(seat);
    seat.onRead(() => {
      if (seat === this.#writer) this.#following.resume();
    });
    seat.once('close', () => {
      this.#seats.delete(seat);
      if (this.#writer === seat) {
        this.#writer = null;
        // What its slowness held back.
        this.#following.resume();
      }
      this.closeIfEmpty();
    });
    return seat;
  }
}

type Pass = (chunk: Buffer, done: () => void) => void;

/** One person's end of a console. */
class Seat extends Duplex {
  readonly holder: ConsoleHolder;
  readonly #clock: Clock;
  /** Where what is typed goes; null: nowhere. */
  readonly #pass: Pass | null;
  #isEnding = false;
  #isTold = false;
  /** Bytes that were left out. */
  #missing = 0;
  #onRead: () => void = () => undefined;
  #cancelEnd: () => void = () => undefined;

  constructor(holder: ConsoleHolder, clock: Clock, pass: Pass | null) {
    super({ allowHalfOpen: false });
    this.holder = holder;
    this.#clock = clock;
    this.#pass = pass;
  }

  onRead(listener: () => void): void {
    this.#onRead = listener;
  }

  /** Takes output; returns false while this one has more than it is to have. */
  give(chunk: Buffer): boolean {
    if (this.#isEnding) return true;
    if (this.#pass === null && this.readableLength + chunk.length > READER_BYTES_MAX) {
      this.#missing += chunk.length;
      return true;
    }
    this.#sayWhatIsMissing();
    return this.push(chunk);
  }

  say(sentence: string): void {
    if (!this.#isEnding) this.push(`\r\n[groundplane: ${sentence}]\r\n`);
  }

  /** Ends once what was said is read, or some time later. */
  finish(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.push(null);
    this.#cancelEnd = this.#clock.after(LAST_WORDS_MS, () => this.destroy());
  }

  override _read(): void {
    this.#sayWhatIsMissing();
    this.#onRead();
  }

  #sayWhatIsMissing(): void {
    if (this.#missing === 0) return;
    const missing = this.#missing;
    this.#missing = 0;
    this.say(`${missing} bytes are missing here: they came faster than they were read`);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#pass !== null && !this.#isEnding) {
      this.#pass(chunk, done);
      return;
    }
    if (!this.#isTold) this.say('you read along: what you type reaches nobody');
    this.#isTold = true;
    done();
  }

  override _final(done: () => void): void {
    this.finish();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#isEnding = true;
    this.#cancelEnd();
    done(error);
  }
}
