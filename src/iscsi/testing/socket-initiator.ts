/**
 * An initiator on a real connection, for tests: log-in by CHAP, one command after another, and whether the connection
 * is still open.
 */
import { connect, type Socket } from 'node:net';
import { chapResponse, pduBytes, pduHeader, type RawPdu, text } from './initiator.ts';

/** The initiator that logs in, and the target. */
export interface LoginAs {
  /** 127.0.0.1 by default. */
  readonly host?: string;
  readonly port: number;
  readonly initiator: string;
  readonly target: string;
  /** CHAP; absent: none is offered. */
  readonly account?: { readonly name: string; readonly secret: string };
}

/** The end of a command. `sense`: key and code as `key/ascascq`, empty without. */
export interface CommandEnd {
  readonly status: number;
  readonly sense: string;
  readonly data: Buffer;
}

const SCSI_RESPONSE = 0x21;
const DATA_IN = 0x25;
const LOGIN_MS = 10_000;

/** See above. */
export class SocketInitiator {
  readonly #socket: Socket;
  readonly #waiting: ((pdu: RawPdu | null) => void)[] = [];
  readonly #arrived: RawPdu[] = [];
  #bytes = Buffer.alloc(0);
  #cmdSn = 1;
  #tag = 1;
  isOpen = true;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isOpen = false;
        for (const waiting of this.#waiting.splice(0)) waiting(null);
        resolve();
      });
    });
  }

  /** Logs in; the status of the log-in (0: it worked) where the target refuses, -1 where it just closes. */
  static async open(as: LoginAs): Promise<SocketInitiator | number> {
    const socket = connect(as.port, as.host ?? '127.0.0.1');
    socket.setTimeout(LOGIN_MS);
    socket.on('timeout', () => socket.destroy());
    const initiator = new SocketInitiator(socket);
    const status = await initiator.#login(as);
    socket.setTimeout(0);
    if (status === 0) return initiator;
    initiator.close();
    return status;
  }

  /** One command to its end; null if the connection ends before. */
  async command(lun: number, cdb: string, out: Buffer | null = null): Promise<CommandEnd | null> {
    const bytes = Buffer.alloc(16);
    Buffer.from(cdb.replaceAll(' ', ''), 'hex').copy(bytes);
    const expected = out?.length ?? 64 * 1024;
    const tag = this.#tag++;
    const header = pduHeader(0x01, out === null ? 0xc1 : 0xa1, { 16: tag, 20: expected, 24: this.#cmdSn++ });
    header[9] = lun;
    bytes.copy(header, 32);
    if (!this.isOpen) return null;
    this.#socket.write(pduBytes(header, out ?? Buffer.alloc(0)));
    const parts: Buffer[] = [];
    for (;;) {
      const pdu = await this.#next();
      if (pdu === null) return null;
      const opcode = (pdu.header[0] ?? 0) & 0x3f;
      if (opcode === DATA_IN) parts.push(pdu.data);
      const hasStatus = opcode === SCSI_RESPONSE || (opcode === DATA_IN && ((pdu.header[1] ?? 0) & 1) === 1);
      if (!hasStatus) continue;
      const sense = opcode === SCSI_RESPONSE && pdu.data.length > 15 ? pdu.data.subarray(2) : null;
      const code = sense === null ? '' : `${(sense[2] ?? 0).toString(16)}/${sense.subarray(12, 14).toString('hex')}`;
      return { status: pdu.header[3] ?? 0, sense: code, data: Buffer.concat(parts) };
    }
  }

  /**
   * Sends LOGICAL UNIT RESET; `response` is its answer, to be asked for when everything sent before it was answered.
   */
  reset(lun: number): { readonly response: () => Promise<number | null> } {
    const header = pduHeader(0x42, 0x85, { 16: this.#tag++, 20: 0xffffffff, 24: this.#cmdSn });
    header[9] = lun;
    this.#socket.write(pduBytes(header));
    return { response: async () => (await this.#next())?.header[2] ?? null };
  }

  /** PERSISTENT RESERVE OUT by service action; keys are numbers. */
  reserveOut(
    lun: number,
    { action, key = 0, newKey = 0, type = 0 }: { action: number; key?: number; newKey?: number; type?: number },
  ): Promise<CommandEnd | null> {
    const list = Buffer.alloc(24);
    list.writeBigUInt64BE(BigInt(key), 0);
    list.writeBigUInt64BE(BigInt(newKey), 8);
    const hex = (value: number): string => value.toString(16).padStart(2, '0');
    return this.command(lun, `5f ${hex(action)} ${hex(type)} 00 00 00 00 00 18 00`, list);
  }

  /** The registered keys. */
  async keys(lun: number): Promise<number[]> {
    const answer = await this.command(lun, '5e 00 00 00 00 00 00 10 00 00');
    const data = answer?.data ?? Buffer.alloc(8);
    return Array.from({ length: data.readUInt32BE(4) / 8 }, (_, at) => Number(data.readBigUInt64BE(8 + at * 8)));
  }

  /** WRITE(10) of blocks of 512 bytes, each filled with `byte`. */
  write(
    lun: number,
    { lba, byte, blocks = 1 }: { lba: number; byte: number; blocks?: number },
  ): Promise<CommandEnd | null> {
    const cdb = Buffer.alloc(10);
    cdb[0] = 0x2a;
    cdb.writeUInt32BE(lba, 2);
    cdb.writeUInt16BE(blocks, 7);
    return this.command(lun, cdb.toString('hex'), Buffer.alloc(blocks * 512, byte));
  }

  /** Removes and returns the unit attentions. */
  async attentions(lun: number): Promise<string[]> {
    const told: string[] = [];
    for (let answer = await this.command(lun, '00'); answer?.status === 2; answer = await this.command(lun, '00'))
      told.push(answer.sense);
    return told;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #login({ initiator, target, account }: LoginAs): Promise<number> {
    const names = [`InitiatorName=${initiator}`, `TargetName=${target}`];
    if (account === undefined) return this.#request(1, 3, names);
    const started = await this.#request(0, null, [...names, 'AuthMethod=CHAP']);
    if (started !== 0) return started;
    const asked = await this.#exchange(0, null, ['CHAP_A=7']);
    const said = asked?.data.toString('latin1') ?? '';
    const id = Number(/CHAP_I=(\d+)/.exec(said)?.[1]);
    const challenge = Buffer.from(/CHAP_C=0x([0-9a-f]+)/.exec(said)?.[1] ?? '', 'hex');
    const response = chapResponse('sha256', { id, secret: account.secret, challenge }).toString('hex');
    const proved = await this.#request(0, 1, [`CHAP_N=${account.name}`, `CHAP_R=0x${response}`]);
    return proved === 0 ? this.#request(1, 3, []) : proved;
  }

  async #request(stage: number, next: number | null, pairs: readonly string[]): Promise<number> {
    const answer = await this.#exchange(stage, next, pairs);
    return answer === null ? -1 : answer.header.readUInt16BE(36);
  }

  #exchange(stage: number, next: number | null, pairs: readonly string[]): Promise<RawPdu | null> {
    const flags = (stage << 2) | (next === null ? 0 : 0x80 | next);
    // ISID: random, as each session of an initiator port has its own.
    const isid = 0x80000000 + Math.floor(Math.random() * 0x3fffffff);
    const header = pduHeader(0x43, flags, { 8: isid, 16: 1, 24: this.#cmdSn });
    if (this.isOpen) this.#socket.write(pduBytes(header, text(...pairs)));
    return this.#next();
  }

  #next(): Promise<RawPdu | null> {
    const arrived = this.#arrived.shift();
    if (arrived !== undefined) return Promise.resolve(arrived);
    if (!this.isOpen) return Promise.resolve(null);
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 48) {
      const length = this.#bytes.readUIntBE(5, 3);
      const end = 48 + length + (-length & 3);
      if (this.#bytes.length < end) return;
      const pdu = { header: this.#bytes.subarray(0, 48), data: this.#bytes.subarray(48, 48 + length) };
      this.#bytes = this.#bytes.subarray(end);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#arrived.push(pdu);
      else waiting(pdu);
    }
  }
}
