/**
 * The full feature phase of a normal session (RFC 7143, sections 4, 7, 11): commands in, data and answers out. Error
 * recovery level 0, one connection. Guarantees: commands are taken in the order of CmdSN and each at most once; data in
 * the order agreed; running and waiting commands are bounded (limits.ts); an aborted or closed session sends nothing
 * more for its commands, and `quiet` reports when the last of them has ended. Does no I/O: bytes go to the writer, and
 * `wantsSend` notifies the writer's owner.
 */
import { present } from '../../base/assert.ts';
import type { IscsiParameters } from '../../wire/iscsi/negotiation.ts';
import {
  type DataOutPdu,
  IscsiProtocolError,
  lunOf,
  NO_TAG,
  OPCODE,
  type PduHeader,
  REJECT,
  readDataOut,
  readScsiCommand,
  readTaskManagement,
} from '../../wire/iscsi/pdu.ts';
import type { PduWriter } from '../../wire/iscsi/pdu-writer.ts';
import { lunFromBytes } from '../../wire/scsi/lun.ts';
import {
  type ScsiAnswer,
  type ScsiCommand,
  type ScsiTarget,
  type TaskFunction,
  TRANSFER_BYTES_MAX,
} from '../scsi/target-port.ts';
import type { Budget } from './budget.ts';
import { LIMITS } from './limits.ts';
import type { Numbers } from './sequence-numbers.ts';
import { Task } from './task.ts';

const ORDERED = 2;
const HEAD_OF_QUEUE = 3;
const TASK_ABORTED = 0x40;
const CHECK_CONDITION = 0x02;
const NO_DATA = new Uint8Array(0);

/** Fixed format: ABORTED COMMAND, PROTOCOL SERVICE CRC ERROR. */
const DATA_LOST = Uint8Array.of(0x70, 0, 0x0b, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x47, 0x05, 0, 0, 0, 0);

/** Task management functions of 11.5.1 that we carry out. */
const FUNCTIONS: Readonly<Record<number, TaskFunction>> = {
  1: 'abort-task',
  2: 'abort-task-set',
  4: 'clear-task-set',
  5: 'logical-unit-reset',
  6: 'target-warm-reset',
};

/** Responses of 11.6.1. */
const RESPONSE = { complete: 0, 'no-such-task': 1, 'no-such-lun': 2, unsupported: 5, rejected: 255 } as const;

/** The surroundings that a session needs. */
export interface SessionPort {
  readonly target: ScsiTarget;
  readonly writer: PduWriter;
  readonly numbers: Numbers;
  readonly parameters: IscsiParameters;
  readonly budget: Budget;
  /** Memory for data-out; its content does not matter. */
  allocate(bytes: number): Uint8Array;
  /** Memory that `allocate` gave and that is not looked at any more. */
  release(piece: Uint8Array): void;
  /** Bytes handed over and not yet sent. */
  unsentBytes(): number;
  /** Something was written outside the handling of input. */
  wantsSend(): void;
  /**
   * A function that touches all commands of a logical unit (null: of all) is about to run: other sessions drop theirs.
   */
  abortElsewhere(lun: number | null): void;
}

/** One normal session in full feature phase. */
export class Session {
  readonly nexus: string;
  readonly #port: SessionPort;
  readonly #tasks = new Map<number, Task>();
  readonly #waiting: Task[] = [];
  readonly #wake = (): void => this.#admitWaiting(true);
  #cost = 0;
  /** Memory of commands that wait. */
  #heldBytes = 0;
  #admitted = 0;
  #running = 0;
  #managing = 0;
  #orderedRuns = false;
  #isAdmitting = false;
  #transferTag = 0;
  #isOver = false;
  #quiet: (() => void)[] = [];
  #dataOut: { readonly pdu: DataOutPdu; readonly task: Task | null } | null = null;
  #placed: Task | null = null;
  /** Counts data that arrived: progress, for who watches for stalls. */
  progress = 0;
  /** See ScsiCommand. */
  isStandby = false;

  constructor(nexus: string, port: SessionPort) {
    this.nexus = nexus;
    this.#port = port;
  }

  /** Whether requested data is outstanding. */
  get awaitsData(): boolean {
    for (const task of this.#tasks.values()) if (task.state === 'receiving') return true;
    return false;
  }

  /** The target it is at. */
  get target(): ScsiTarget {
    return this.#port.target;
  }

  /** The place for the immediate data of a command. */
  placeCommand(header: PduHeader): Uint8Array {
    this.#placed = this.#accept(header);
    const task = this.#placed;
    if (task === null) return this.#port.allocate(header.dataBytes);
    task.isFilling = true;
    return this.#place(task, 0, header.dataBytes);
  }

  /** A SCSI Command with all of its immediate data. */
  command(header: PduHeader): void {
    const task = header.dataBytes > 0 ? this.#placed : this.#accept(header);
    this.#placed = null;
    if (task === null || task.state === 'over') return;
    task.isFilling = false;
    task.received = header.dataBytes;
    this.progress += 1;
    this.#proceed(task);
  }

  /** The place for the data of a Data-Out. Data of a command that is over is read and dropped. */
  placeDataOut(header: PduHeader): Uint8Array {
    const pdu = readDataOut(header);
    const task = this.#tasks.get(pdu.tag) ?? null;
    this.#dataOut = { pdu, task };
    if (task === null) return this.#port.allocate(header.dataBytes);
    const unsolicitedBytesMax = this.#port.parameters.firstBurstBytes;
    const at = task.placeOf(pdu, { length: header.dataBytes, unsolicitedBytesMax });
    if (at === null) {
      // Lost data ends its command, not the connection (7.8, 11.4.7.2); further data for it belongs to no command.
      this.#drop(task);
      this.#respond(task, { status: CHECK_CONDITION, sense: DATA_LOST, dataIn: null, transferBytes: 0 });
      this.#dataOut = { pdu, task: null };
      return this.#port.allocate(header.dataBytes);
    }
    task.isFilling = true;
    return this.#place(task, at, header.dataBytes);
  }

  /** A complete Data-Out. */
  dataOut(header: PduHeader): void {
    if (header.dataBytes === 0) this.placeDataOut(header);
    const { pdu, task } = present(this.#dataOut, 'the place of a Data-Out');
    this.#dataOut = null;
    if (task === null || task.state === 'over') return;
    task.isFilling = false;
    task.arrived(pdu, header.dataBytes);
    this.progress += 1;
    this.#proceed(task);
  }

  /** A task management request (11.5). */
  manage(header: PduHeader): void {
    if (!this.#port.numbers.accept(header)) return;
    const { tag, function: code, referencedTag } = readTaskManagement(header);
    const lun = lunFromBytes(header.bytes, 8);
    const name = FUNCTIONS[code];
    if (name === undefined || this.#managing >= LIMITS.immediateMax) {
      this.#managed(tag, name === undefined ? RESPONSE.unsupported : RESPONSE.rejected);
      return;
    }
    const task = name === 'abort-task' ? this.#tasks.get(referencedTag) : undefined;
    const wasRunning = task?.state === 'running';
    this.#abort(name, { lun, task });
    if (task !== undefined && !wasRunning) {
      this.#managed(tag, RESPONSE.complete);
      return;
    }
    const { nexus } = this;
    this.#managing += 1;
    void this.#port.target.manage({ function: name, nexus, lun, task: task?.command ?? undefined }).then((result) => {
      this.#managing -= 1;
      if (this.#isOver) return;
      this.#managed(tag, RESPONSE[result]);
      this.#port.wantsSend();
    });
  }

  /**
   * A reset by another session: commands that have not begun end with TASK ABORTED; the device server ends those that
   * run.
   */
  abortedElsewhere(units: ReadonlySet<object>): void {
    for (const task of [...this.#tasks.values()]) {
      const [unit] = this.#port.target.units(task.lun);
      if (unit === undefined || !units.has(unit) || task.state === 'running') continue;
      this.#drop(task);
      this.#respond(task, { status: TASK_ABORTED, sense: null, dataIn: null, transferBytes: 0 });
    }
    this.#port.wantsSend();
  }

  /** Bytes were sent: commands that waited for that may go on. */
  sent(): void {
    this.#admitWaiting(true);
  }

  /** Ends the session: waiting commands are discarded, running ones get no answer. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#port.budget.forget(this.#wake);
    this.#waiting.length = 0;
    for (const task of [...this.#tasks.values()]) {
      task.isAborted = true;
      if (task.state !== 'running') this.#drop(task);
    }
  }

  /** Resolves when no command of this session runs. */
  quiet(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#quiet.push(resolve));
  }

  /** A new command, or null if it is to be ignored. */
  #accept(header: PduHeader): Task | null {
    const { numbers, parameters } = this.#port;
    if (this.#isOver || !numbers.accept(header)) return null;
    const pdu = readScsiCommand(header);
    if (pdu.tag === NO_TAG || this.#tasks.has(pdu.tag)) throw new IscsiProtocolError('a task tag that is in use');
    if (this.#tasks.size >= LIMITS.commandWindow + LIMITS.immediateMax) {
      if (!header.immediate) numbers.closed();
      this.#port.writer.reject({ reason: REJECT.tooManyImmediate, header: header.bytes, sequence: numbers.next() });
      return null;
    }
    const lunBytes = lunOf(header);
    const transferBytesMax = TRANSFER_BYTES_MAX;
    const moves = pdu.isRead || pdu.isWrite;
    const bounded = moves ? pdu : { ...pdu, expectedBytes: 0 };
    const task = new Task(bounded, { lunBytes, lun: lunFromBytes(lunBytes), transferBytesMax });
    const immediateBytesMax = parameters.immediateData ? Math.min(parameters.firstBurstBytes, task.outBytes) : 0;
    if (header.dataBytes > immediateBytesMax) throw new IscsiProtocolError('immediate data that was not agreed');
    if (task.isUnsolicitedOpen && parameters.initialR2T)
      throw new IscsiProtocolError('unsolicited data was not agreed');
    this.#tasks.set(pdu.tag, task);
    task.isNumbered = !header.immediate;
    if (pdu.attribute === HEAD_OF_QUEUE) this.#waiting.unshift(task);
    else this.#waiting.push(task);
    this.#admitWaiting(false);
    return task;
  }

  /**
   * Admits what there is room for, in order. `goOn`: outside the handling of their own PDU, admitted commands continue
   * at once.
   */
  #admitWaiting(goOn: boolean): void {
    // A command that ends at once comes back here: the loop that started it goes on.
    if (this.#isAdmitting) return;
    this.#isAdmitting = true;
    for (let task = this.#waiting[0]; task !== undefined && !this.#isOver; task = this.#waiting[0]) {
      if (!this.#mayStart(task)) break;
      this.#waiting.shift();
      this.#admitted += 1;
      this.#cost += task.cost;
      this.#orderedRuns = task.pdu.attribute === ORDERED;
      task.state = 'receiving';
      this.#unhold(task);
      if (!goOn) continue;
      this.#proceed(task);
      this.#port.wantsSend();
    }
    this.#isAdmitting = false;
  }

  #mayStart(task: Task): boolean {
    if (this.#port.unsentBytes() + this.#port.writer.bytes > LIMITS.unsentBytes) return false;
    if (this.#admitted === 0) return this.#port.budget.take(task.cost, this.#wake);
    if (this.#orderedRuns || task.pdu.attribute === ORDERED) return false;
    if (this.#cost + task.cost > LIMITS.connectionBytes) return false;
    return this.#port.budget.take(task.cost, this.#wake);
  }

  /**
   * The place for this many bytes of a command's data-out: its buffer, or, while the command waits and there is no
   * room, nowhere.
   */
  #place(task: Task, at: number, bytes: number): Uint8Array {
    if (task.state === 'waiting' && task.data === null && !task.isDiscarded) {
      const heldBytes = Math.min(task.outBytes, this.#port.parameters.firstBurstBytes);
      task.isDiscarded = this.#heldBytes + heldBytes > LIMITS.waitingBytes;
      if (!task.isDiscarded) task.heldBytes = heldBytes;
      this.#heldBytes += task.heldBytes;
    }
    if (task.isDiscarded) return this.#port.allocate(bytes);
    return this.#room(task).subarray(at, at + bytes);
  }

  /** A command waits no more. */
  #unhold(task: Task): void {
    this.#heldBytes -= task.heldBytes;
    task.heldBytes = 0;
  }

  /** The buffer of a command's data-out: whole when admitted, the first burst while it waits. */
  #room(task: Task): Uint8Array {
    const { data } = task;
    const isWhole = task.state !== 'waiting';
    const wanted = isWhole ? task.outBytes : Math.min(task.outBytes, this.#port.parameters.firstBurstBytes);
    if (data !== null && data.length >= wanted) return data;
    const room = this.#port.allocate(wanted);
    if (data !== null) {
      room.set(data.subarray(0, task.received));
      this.#port.release(data);
    }
    task.data = room;
    return room;
  }

  /** Does the next thing for an admitted command: runs it, or asks for more of its data. */
  #proceed(task: Task): void {
    if (task.state !== 'receiving' || task.isFilling) return;
    if (task.isComplete) {
      this.#run(task);
      return;
    }
    if (task.isUnsolicitedOpen) return;
    if (task.isDiscarded) task.restart();
    const { parameters, writer, numbers } = this.#port;
    task.requested = Math.max(task.requested, task.received);
    this.#room(task);
    while (task.solicited.length < parameters.maxOutstandingR2T && task.requested < task.outBytes) {
      const length = Math.min(parameters.maxBurstBytes, task.outBytes - task.requested);
      const offset = task.requested;
      this.#transferTag = (this.#transferTag + 1) % NO_TAG;
      const transferTag = this.#transferTag;
      task.solicited.push({ transferTag, offset, length, done: 0, dataSn: 0 });
      writer.r2t({
        tag: task.pdu.tag,
        lun: task.lunBytes,
        transferTag,
        r2tSn: task.r2tSn++,
        offset,
        length,
        sequence: numbers,
      });
      task.requested += length;
    }
  }

  #run(task: Task): void {
    task.state = 'running';
    this.#running += 1;
    const { pdu } = task;
    const transfer = transferOf(pdu);
    const sent = task.data?.subarray(0, task.outBytes) ?? NO_DATA;
    const dataOut = pdu.isWrite ? sent : null;
    const expectedInBytes = transfer === 'in' ? pdu.expectedBytes : 0;
    const { nexus, isStandby } = this;
    const command = { nexus, lun: task.lun, cdb: pdu.cdb, transfer, dataOut, expectedInBytes, isStandby };
    task.command = command;
    const answer = this.#port.target.execute(command);
    if (!(answer instanceof Promise)) {
      this.#finish(task, answer);
      return;
    }
    void answer.then((late) => {
      this.#finish(task, late);
      if (this.#isOver) return;
      this.#admitWaiting(true);
      this.#port.wantsSend();
    });
  }

  #finish(task: Task, answer: ScsiAnswer): void {
    this.#running -= 1;
    // First the window is updated: the answer tells the initiator that there is room again.
    this.#drop(task);
    if (!task.isAborted) this.#respond(task, answer);
    if (this.#running > 0 || this.#quiet.length === 0) return;
    for (const resolve of this.#quiet.splice(0)) resolve();
  }

  /** Forgets a command and gives back what it held. */
  #drop(task: Task): void {
    const before = task.state;
    task.state = 'over';
    // The decoder still owns the buffer that a data segment is being read into.
    if (task.data !== null && !task.isFilling) this.#port.release(task.data);
    task.data = null;
    if (!this.#tasks.delete(task.pdu.tag)) return;
    if (task.isNumbered) this.#port.numbers.closed();
    if (before === 'waiting') {
      this.#unhold(task);
      const at = this.#waiting.indexOf(task);
      if (at !== -1) this.#waiting.splice(at, 1);
      return;
    }
    this.#admitted -= 1;
    this.#cost -= task.cost;
    if (this.#admitted === 0) this.#orderedRuns = false;
    this.#port.budget.give(task.cost);
    if (this.#waiting.length > 0 && !this.#isOver) this.#admitWaiting(true);
  }

  #abort(name: TaskFunction, { lun, task }: { lun: number; task: Task | undefined }): void {
    const everywhere = name !== 'abort-task' && name !== 'abort-task-set';
    const where = name === 'target-warm-reset' ? null : lun;
    const ours = name === 'abort-task' ? [task] : [...this.#tasks.values()];
    for (const each of ours) {
      if (each === undefined || (name !== 'abort-task' && where !== null && each.lun !== where)) continue;
      each.isAborted = true;
      if (each.state !== 'running') this.#drop(each);
    }
    if (everywhere) this.#port.abortElsewhere(where);
  }

  #managed(tag: number, response: number): void {
    const { writer, numbers } = this.#port;
    const view = writer.begin(OPCODE.taskManagementResponse, { flags: 0x80, tag, sequence: numbers.next() });
    view.setUint8(2, response);
    writer.append(null);
  }

  #respond(task: Task, answer: ScsiAnswer): void {
    const { writer, numbers, parameters } = this.#port;
    const { tag, expectedBytes: expected, expectedReadBytes: missingReadBytes, isRead } = task.pdu;
    const { status, sense, dataIn } = answer;
    const residual = answer.transferBytes - (answer.isUnexpectedWay === true ? 0 : expected);
    const length = isRead && dataIn !== null ? Math.min(dataIn.length, expected) : 0;
    const isCollapsed = length > 0 && status === 0 && sense === null;
    let dataSn = 0;
    // A burst ends with a final PDU (11.7.1).
    for (let offset = 0; dataIn !== null && offset < length; dataSn++) {
      const burstEnd = Math.min(length, offset - (offset % parameters.maxBurstBytes) + parameters.maxBurstBytes);
      const end = Math.min(burstEnd, offset + parameters.maxSendBytes);
      const isLast = end === length;
      const withStatus = isLast && isCollapsed;
      const about = { tag, dataSn, offset, isFinal: end === burstEnd, status: withStatus ? status : null, residual };
      const data = offset === 0 && isLast && end === dataIn.length ? dataIn : dataIn.subarray(offset, end);
      writer.dataIn({ ...about, sequence: withStatus ? numbers.next() : numbers }, data);
      offset = end;
    }
    if (isCollapsed) return;
    writer.scsiResponse({
      tag,
      status,
      residual,
      missingReadBytes,
      expDataSn: dataSn,
      sense,
      sequence: numbers.next(),
    });
  }
}

function transferOf({ isRead, isWrite }: ReturnType<typeof readScsiCommand>): ScsiCommand['transfer'] {
  if (isRead) return isWrite ? 'both' : 'in';
  return isWrite ? 'out' : 'none';
}
