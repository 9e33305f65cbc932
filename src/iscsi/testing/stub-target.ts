/**
 * A device server for tests of the transport: one unit, the commands an initiator cannot do without, no reservations.
 */
import type {
  BackingStore,
  ScsiAnswer,
  ScsiCommand,
  ScsiTarget,
  TaskRequest,
  TaskResult,
} from '../../core/scsi/target-port.ts';

const GOOD = { status: 0, sense: null };
const INVALID_OPCODE = Uint8Array.of(0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0);
const FAILED = Uint8Array.of(0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0);

/** Executes commands on `store`; `log` lists them. */
export class StubTarget implements ScsiTarget {
  readonly #store: BackingStore;
  readonly managed: TaskRequest[] = [];
  readonly lost: string[] = [];
  executed = 0;

  constructor(store: BackingStore) {
    this.#store = store;
  }

  execute(command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    this.executed += 1;
    const { cdb, expectedInBytes } = command;
    const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.length);
    if (cdb[0] === 0x00) return { ...GOOD, dataIn: null, transferBytes: 0 };
    if (cdb[0] === 0x28) return this.#read(view.getUint32(2), view.getUint16(7), expectedInBytes);
    if (cdb[0] === 0x88) return this.#read(view.getUint32(6), view.getUint32(10), expectedInBytes);
    if (cdb[0] === 0x2a) return this.#write(view.getUint32(2), view.getUint16(7), command);
    if (cdb[0] === 0x12) return given(inquiry(), Math.min(view.getUint16(3), expectedInBytes));
    if (cdb[0] === 0x9e) return given(this.#capacity(), Math.min(view.getUint32(10), expectedInBytes));
    return { status: 2, sense: INVALID_OPCODE, dataIn: null, transferBytes: 0 };
  }

  manage(request: TaskRequest): Promise<TaskResult> {
    this.managed.push(request);
    return Promise.resolve(request.function === 'abort-task' && !request.task ? 'no-such-task' : 'complete');
  }

  units(): ReadonlySet<object> {
    return new Set([this]);
  }

  nexusLost(nexus: string): void {
    this.lost.push(nexus);
  }

  nexusQuiet(): Promise<void> {
    return Promise.resolve();
  }

  #read(lba: number, count: number, expected: number): ScsiAnswer | Promise<ScsiAnswer> {
    const answer = (data: Uint8Array): ScsiAnswer => ({
      ...GOOD,
      dataIn: data.length > expected ? data.subarray(0, expected) : data,
      transferBytes: data.length,
    });
    const data = this.#store.read(lba, count);
    return data instanceof Promise ? data.then(answer, failed) : answer(data);
  }

  #write(lba: number, count: number, { dataOut }: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer> {
    const transferBytes = count * this.#store.blockBytes;
    const answer: ScsiAnswer = { ...GOOD, dataIn: null, transferBytes };
    const done = this.#store.write(lba, (dataOut ?? new Uint8Array(0)).subarray(0, transferBytes), { fua: false });
    return done instanceof Promise ? done.then(() => answer, failed) : answer;
  }

  #capacity(): Uint8Array {
    const data = new Uint8Array(32);
    const view = new DataView(data.buffer);
    view.setBigUint64(0, BigInt(this.#store.blockCount - 1));
    view.setUint32(8, this.#store.blockBytes);
    return data;
  }
}

function failed(): ScsiAnswer {
  return { status: 2, sense: FAILED, dataIn: null, transferBytes: 0 };
}

function given(data: Uint8Array, length: number): ScsiAnswer {
  return { ...GOOD, dataIn: data.subarray(0, length), transferBytes: data.length };
}

function inquiry(): Uint8Array {
  const data = new Uint8Array(36);
  data.set([0, 0, 5, 2, 31]);
  return data;
}
