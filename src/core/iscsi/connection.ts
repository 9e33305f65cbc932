/**
 * One connection of an initiator from its first byte to its last: log-in, then full feature phase (RFC 7143). Does no
 * I/O: chunks come in by `receive`, bytes go to the writer. State: login -> full -> over; login -> over. Guarantees:
 * all input ends in an answer or in the connection being closed, never in an exception; only log-in requests are
 * accepted before log-in is complete; after `close` nothing is written.
 */
import { messageOf } from '../../base/errors.ts';
import { negotiate, RECEIVE_BYTES_MAX } from '../../wire/iscsi/negotiation.ts';
import {
  expStatSn,
  IscsiProtocolError,
  NO_TAG,
  OPCODE,
  type PduHeader,
  REJECT,
  readLogin,
  readLogout,
  readText as readTextPdu,
  taskTag,
} from '../../wire/iscsi/pdu.ts';
import { PduDecoder } from '../../wire/iscsi/pdu-decoder.ts';
import { type BlockSource, PduWriter } from '../../wire/iscsi/pdu-writer.ts';
import { readText, TEXT_BYTES_MAX, writeText } from '../../wire/iscsi/text-keys.ts';
import type { ScsiTarget } from '../scsi/target-port.ts';
import type { Budget } from './budget.ts';
import { type LoggedIn, LoginExchange, type LoginPolicy } from './login.ts';
import { Numbers } from './sequence-numbers.ts';
import { Session } from './session.ts';

const NOTHING = new Uint8Array(0);
const ASYNC_DROPS_ALL = 3;

/** The surroundings that a connection needs. */
export interface ConnectionPort {
  /** The target of that name, one of the policy's. */
  targetNamed(name: string): ScsiTarget;
  readonly policy: LoginPolicy;
  readonly budget: Budget;
  readonly blocks: BlockSource;
  /** The target's address, as the initiator reached it: `192.0.2.1:3260,1`. */
  readonly address: string;
  allocate(bytes: number): Uint8Array;
  /** Memory that `allocate` gave and that is not looked at any more. */
  release(piece: Uint8Array): void;
  /** Bytes handed over and not yet sent. */
  unsentBytes(): number;
  /** Something was written outside the handling of input. */
  wantsSend(): void;
  /** The connection is to be closed as soon as all output is sent. */
  ended(reason: string): void;
  /**
   * Log-in is complete: a session identifier for it, and older sessions that it replaces are closed. Null: there is no
   * room.
   */
  loggedIn(who: LoggedIn, isid: string): number | null;
  abortElsewhere(lun: number | null): void;
  /** Whether this session gets no unit attentions (ScsiCommand.isStandby). */
  isStandby(who: LoggedIn): boolean;
}

/** See above. */
export class Connection {
  readonly #port: ConnectionPort;
  readonly #decoder: PduDecoder;
  readonly writer: PduWriter;
  #login: LoginExchange | null;
  #numbers: Numbers | null = null;
  #session: Session | null = null;
  #who: LoggedIn | null = null;
  #isOver = false;
  /** The next StatSN during log-in; an initiator says where it starts. */
  #statSn: number | null = null;
  #textBytes = 0;
  #text: Uint8Array[] = [];

  constructor(port: ConnectionPort) {
    this.#port = port;
    const receiver = {
      place: (header: PduHeader) => this.#place(header),
      receive: (header: PduHeader, data: Uint8Array) => this.#take(header, data),
    };
    this.#decoder = new PduDecoder(receiver, RECEIVE_BYTES_MAX);
    this.writer = new PduWriter(port.blocks);
    this.#login = new LoginExchange(port.policy);
  }

  /** The initiator, as soon as it named itself: proved once the log-in is complete. */
  get initiator(): string | null {
    return this.#who?.initiator ?? this.#login?.initiator ?? null;
  }

  /** The initiator that is logged in; null: none yet. */
  get who(): LoggedIn | null {
    return this.#who;
  }

  /** The session, where it is a normal one in full feature phase. */
  get session(): Session | null {
    return this.#session;
  }

  /** The next bytes from the initiator. */
  receive(chunk: Uint8Array): void {
    if (this.#isOver) return;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The buffer into which input may be read instead of being given to `receive`; null: there is none. */
  room(): Uint8Array | null {
    return this.#isOver ? null : this.#decoder.room();
  }

  /** This many bytes were read into the buffer that `room` returned. */
  filled(bytes: number): void {
    if (this.#isOver) return;
    try {
      this.#decoder.filled(bytes);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Bytes were sent. */
  sent(): void {
    this.#session?.sent();
  }

  /** Tells an initiator that all connections are about to be dropped (11.9). */
  announceEnd(): void {
    const numbers = this.#numbers;
    if (this.#isOver || numbers === null || this.#session === null) return;
    const view = this.writer.begin(OPCODE.async, { flags: 0x80, tag: NO_TAG, sequence: numbers.next() });
    view.setUint8(36, ASYNC_DROPS_ALL);
    this.writer.append(null);
  }

  /** From here on input is ignored and nothing is written. */
  close(): void {
    this.#isOver = true;
    this.#decoder.stop();
    this.#session?.close();
  }

  /** Resolves when no command of this connection runs. */
  async quiet(): Promise<void> {
    await this.#session?.quiet();
  }

  /** The place for a data segment. */
  #place(header: PduHeader): Uint8Array {
    const session = this.#session;
    if (session !== null && header.opcode === OPCODE.scsiCommand) return session.placeCommand(header);
    if (session !== null && header.opcode === OPCODE.dataOut) return session.placeDataOut(header);
    if (this.#login !== null && header.opcode !== OPCODE.login) throw new IscsiProtocolError('no log-in');
    if (this.#login !== null && header.dataBytes > TEXT_BYTES_MAX) throw new IscsiProtocolError('a long login text');
    return new Uint8Array(header.dataBytes);
  }

  #take(header: PduHeader, data: Uint8Array): void {
    if (this.#isOver) return;
    const numbers = this.#numbers;
    if (numbers === null) {
      this.#loginStep(header, data);
      return;
    }
    const session = this.#session;
    const { opcode } = header;
    if (session !== null && opcode === OPCODE.scsiCommand) session.command(header);
    else if (session !== null && opcode === OPCODE.dataOut) session.dataOut(header);
    else if (session !== null && opcode === OPCODE.taskManagement) session.manage(header);
    else if (opcode === OPCODE.nopOut) this.#ping(header, { data, numbers });
    else if (opcode === OPCODE.text) this.#textRequest(header, { data, numbers });
    else if (opcode === OPCODE.logout) this.#logout(header, numbers);
    else this.#unsupported(header, numbers);
  }

  #loginStep(header: PduHeader, data: Uint8Array): void {
    const exchange = this.#login;
    if (exchange === null || header.opcode !== OPCODE.login) throw new IscsiProtocolError('no log-in');
    const pdu = readLogin(header);
    let reply = exchange.step(pdu, data);
    let tsih = 0;
    if (reply.done !== null) {
      const given = this.#port.loggedIn(reply.done, pdu.isid);
      if (given === null) reply = { ...reply, status: 0x0302, flags: 0, text: NOTHING, done: null };
      else tsih = given;
    }
    this.#statSn ??= expStatSn(header);
    const numbers = new Numbers({ statSn: this.#statSn, expCmdSn: pdu.cmdSn });
    this.#statSn = (this.#statSn + 1) >>> 0;
    const about = { flags: reply.flags, isid: pdu.isid, tsih, tag: pdu.tag, status: reply.status };
    this.writer.loginResponse({ ...about, sequence: numbers.next() }, reply.text);
    if (reply.status !== 0) this.#end(`log-in refused with status 0x${reply.status.toString(16).padStart(4, '0')}`);
    else if (reply.done !== null) this.#begin(reply.done, numbers);
  }

  #begin(who: LoggedIn, numbers: Numbers): void {
    this.#login = null;
    this.#who = who;
    this.#numbers = numbers;
    const { headerDigest, dataDigest } = who.parameters;
    Object.assign(this.#decoder, { headerDigest, dataDigest });
    Object.assign(this.writer, { headerDigest, dataDigest });
    if (who.target === null) return;
    this.#session = new Session(who.initiator, {
      target: this.#port.targetNamed(who.target),
      budget: this.#port.budget,
      writer: this.writer,
      numbers,
      parameters: who.parameters,
      allocate: (bytes) => this.#port.allocate(bytes),
      release: (piece) => this.#port.release(piece),
      unsentBytes: () => this.#port.unsentBytes(),
      wantsSend: () => this.#port.wantsSend(),
      abortElsewhere: (lun) => this.#port.abortElsewhere(lun),
    });
    this.#session.isStandby = this.#port.isStandby(who);
  }

  /** NOP-Out (11.18): answered with what it brought; without a task tag it is an answer itself. */
  #ping(header: PduHeader, { data, numbers }: { data: Uint8Array; numbers: Numbers }): void {
    const tag = taskTag(header);
    if (!numbers.accept(header) || tag === NO_TAG) return;
    const view = this.writer.begin(OPCODE.nopIn, { flags: 0x80, tag, sequence: numbers.next() });
    view.setUint32(20, NO_TAG);
    this.writer.append(data.subarray(0, this.#who?.parameters.maxSendBytes));
  }

  /** Text Request (11.10): SendTargets, and the few keys that may change in full feature phase. */
  #textRequest(header: PduHeader, { data, numbers }: { data: Uint8Array; numbers: Numbers }): void {
    if (!numbers.accept(header)) return;
    const pdu = readTextPdu(header);
    this.#textBytes += data.length;
    if (this.#textBytes > TEXT_BYTES_MAX) throw new IscsiProtocolError('a text that is too long');
    this.#text.push(data);
    const text = pdu.continues ? NOTHING : this.#textAnswer();
    const view = this.writer.begin(OPCODE.textResponse, {
      flags: pdu.isFinal && !pdu.continues ? 0x80 : 0,
      tag: pdu.tag,
      sequence: numbers.next(),
    });
    // A sender that continues the exchange needs a tag for it.
    view.setUint32(20, pdu.isFinal && !pdu.continues ? NO_TAG : 1);
    this.writer.append(text);
  }

  #textAnswer(): Uint8Array {
    const whole = new Uint8Array(this.#textBytes);
    let at = 0;
    for (const part of this.#text) {
      whole.set(part, at);
      at += part.length;
    }
    this.#text = [];
    this.#textBytes = 0;
    const pairs = readText(whole);
    const answers: [string, string][] = [];
    const wanted = pairs.get('SendTargets');
    pairs.delete('SendTargets');
    if (wanted !== undefined) answers.push(...this.#targets(wanted));
    if (this.#who !== null) answers.push(...negotiate(this.#who.parameters, pairs, { isLogin: false }));
    return writeText(answers);
  }

  #targets(wanted: string): [string, string][] {
    const isAll = wanted === 'All' || wanted === '';
    const names = this.#who === null ? [] : this.#port.policy.targetsOf(this.#who.initiator);
    return names
      .filter((name) => isAll || wanted.toLowerCase() === name.toLowerCase())
      .flatMap((name): [string, string][] => [
        ['TargetName', name],
        ['TargetAddress', this.#port.address],
      ]);
  }

  /** Logout (11.14). There is one connection: closing it and closing the session are the same. */
  #logout(header: PduHeader, numbers: Numbers): void {
    if (!numbers.accept(header)) return;
    const { tag, reason } = readLogout(header);
    const response = reason <= 1 ? 0 : 2;
    const view = this.writer.begin(OPCODE.logoutResponse, { flags: 0x80, tag, sequence: numbers.next() });
    view.setUint8(2, response);
    this.writer.append(null);
    if (response === 0) this.#end('logged out');
  }

  #unsupported(header: PduHeader, numbers: Numbers): void {
    if (header.opcode === OPCODE.login) throw new IscsiProtocolError('a second log-in');
    if (header.opcode === OPCODE.dataOut) throw new IscsiProtocolError('data in a discovery session');
    if (!numbers.accept(header)) return;
    this.writer.reject({ reason: REJECT.unsupported, header: header.bytes, sequence: numbers.next() });
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    const numbers = this.#numbers;
    // Before log-in is complete a Reject means nothing to an initiator (6.3.1): the connection just ends.
    if (error instanceof IscsiProtocolError && numbers !== null) {
      const header = this.#decoder.headerBytes;
      this.writer.reject({ reason: error.rejectReason, header, sequence: numbers.next() });
    } else if (!(error instanceof IscsiProtocolError)) {
      this.#end(`a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      return;
    }
    this.#end(messageOf(error));
  }

  #end(reason: string): void {
    this.close();
    this.#port.ended(reason);
  }
}
