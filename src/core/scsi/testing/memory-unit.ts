/** A logical unit over memory, for tests: synchronous, or with every operation waiting until it is let go. */
import type { UnitIdentity } from '../../../wire/scsi/inquiry.ts';
import type { CachedWritesStore } from '../cache-keeper.ts';
import { type CachedWrites, NOTHING_CACHED } from '../cached-writes.ts';
import { dispatchOf } from '../dispatch.ts';
import { openLogicalUnit } from '../logical-unit.ts';
import type { ReservationStore } from '../reservation-keeper.ts';
import type { ReservationState } from '../reservations.ts';
import { DeviceServer } from '../target.ts';
import type { BackingStore, BlockExtent, ScsiAnswer, ScsiCommand } from '../target-port.ts';

/** An identity whose UUID has a different digit in every place that matters. */
const TEST_IDENTITY: UnitIdentity = {
  uuid: '00112233-4455-4677-8899-aabbccddeeff',
  targetName: 'iqn.2026-11.test:disk',
};

/** Blocks in memory that remember which of them were written and whether they reached stable storage. */
export class MemoryStore implements BackingStore {
  readonly blockBytes: number;
  isReadOnly = false;
  blockCount: number;
  /** Writes that were not flushed, then flushes: the order of what happened. */
  readonly log: string[] = [];
  /** The next operation fails with it. */
  failure: Error | null = null;
  readonly #bytes: Uint8Array;
  readonly #mapped = new Set<number>();
  #held: Array<() => void> | null = null;

  constructor(blockCount = 1024, blockBytes = 512) {
    this.blockCount = blockCount;
    this.blockBytes = blockBytes;
    this.#bytes = new Uint8Array(blockCount * blockBytes);
  }

  /** From now on every read and write waits for `release`. */
  hold(): void {
    this.#held = [];
  }

  /** Lets the waiting operations continue, in order, and further ones pass. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const each of held) each();
  }

  get heldCount(): number {
    return this.#held?.length ?? 0;
  }

  read(lba: number, count: number): Uint8Array | Promise<Uint8Array> {
    return this.#through(() => this.#bytes.slice(lba * this.blockBytes, (lba + count) * this.blockBytes));
  }

  write(lba: number, data: Uint8Array, { fua }: { readonly fua: boolean }): void | Promise<void> {
    return this.#through(() => {
      this.log.push(`write ${lba}+${data.length / this.blockBytes}${fua ? ' fua' : ''}`);
      this.#bytes.set(data, lba * this.blockBytes);
      this.#mark(lba, data.length / this.blockBytes, true);
    });
  }

  flush(): void | Promise<void> {
    return this.#through(() => void this.log.push('flush'));
  }

  unmap(lba: number, count: number): void | Promise<void> {
    return this.#through(() => {
      this.log.push(`unmap ${lba}+${count}`);
      this.#bytes.fill(0, lba * this.blockBytes, (lba + count) * this.blockBytes);
      this.#mark(lba, count, false);
    });
  }

  writeZeroes(lba: number, count: number): void | Promise<void> {
    return this.#through(() => {
      this.log.push(`zero ${lba}+${count}`);
      this.#bytes.fill(0, lba * this.blockBytes, (lba + count) * this.blockBytes);
      this.#mark(lba, count, true);
    });
  }

  allocation(lba: number): BlockExtent {
    const isMapped = this.#mapped.has(lba);
    let end = lba;
    while (end < this.blockCount && this.#mapped.has(end) === isMapped) end += 1;
    return { blockCount: end - lba, isMapped };
  }

  #mark(lba: number, count: number, isMapped: boolean): void {
    for (let block = lba; block < lba + count; block++)
      if (isMapped) this.#mapped.add(block);
      else this.#mapped.delete(block);
  }

  #through<T>(work: () => T): T | Promise<T> {
    if (this.failure !== null) {
      const { failure } = this;
      this.failure = null;
      throw failure;
    }
    const held = this.#held;
    if (held === null) return work();
    return new Promise((resolve) => {
      held.push(() => resolve(work()));
    });
  }
}

/** Reservations in memory. `fail`: what the next save does. */
export class MemoryReservations implements ReservationStore {
  saved: ReservationState | null = null;
  fail: 'before' | 'after' | null = null;

  async load(): Promise<ReservationState | null> {
    return this.saved;
  }

  async save(state: ReservationState): Promise<void> {
    const { fail } = this;
    this.fail = null;
    if (fail === 'before') throw new Error('the store is not there');
    this.saved = JSON.parse(JSON.stringify(state)) as ReservationState;
    if (fail === 'after') throw new Error('the answer was lost');
  }
}

/** A record of cached writes in memory. `fails`: nothing can be saved. */
export class MemoryCachedWrites implements CachedWritesStore {
  saved: CachedWrites = NOTHING_CACHED;
  saves = 0;
  fails = false;

  async load(): Promise<CachedWrites> {
    return this.saved;
  }

  async save(record: CachedWrites): Promise<void> {
    if (this.fails) throw new Error('the disk is full');
    this.saves += 1;
    this.saved = JSON.parse(JSON.stringify(record)) as CachedWrites;
  }
}

/** A target of one unit, and a shorthand for commands. */
export class TestTarget {
  readonly store: MemoryStore;
  readonly reservations: MemoryReservations;
  readonly server: DeviceServer;

  constructor(parts: { store: MemoryStore; reservations: MemoryReservations; server: DeviceServer }) {
    this.store = parts.store;
    this.reservations = parts.reservations;
    this.server = parts.server;
  }

  static async open(store = new MemoryStore(), reservations = new MemoryReservations()): Promise<TestTarget> {
    const unit = await openLogicalUnit({ identity: TEST_IDENTITY, backing: store, reservations });
    return new TestTarget({ store, reservations, server: new DeviceServer(new Map([[0, unit]])) });
  }

  /** The command object for a CDB in hex, filled up to 16 bytes. */
  command(nexus: string, cdb: string, dataOut: Uint8Array | null = null): ScsiCommand {
    const bytes = new Uint8Array(16);
    bytes.set(hex(cdb));
    const dispatch = dispatchOf(bytes);
    const isOut = typeof dispatch !== 'string' && dispatch.direction(bytes) === 'out';
    const transfer = dataOut !== null ? 'out' : isOut ? 'none' : 'in';
    return { nexus, lun: 0, cdb: bytes, transfer, dataOut, expectedInBytes: dataOut === null ? 1 << 20 : 0 };
  }

  /** Executes a command. */
  async run(nexus: string, cdb: string, dataOut: Uint8Array | null = null): Promise<ScsiAnswer> {
    return this.server.execute(this.command(nexus, cdb, dataOut));
  }

  /** Removes the unit attentions of a nexus, and returns them: code and qualifier in hex. */
  async attentions(nexus: string): Promise<string[]> {
    const codes: string[] = [];
    for (let answer = await this.run(nexus, '00'); answer.status === 0x02; answer = await this.run(nexus, '00'))
      codes.push(outcomeOf(answer));
    return codes;
  }

  /** Makes nexuses known, without the attention of the start. */
  async meet(...nexuses: readonly string[]): Promise<void> {
    for (const nexus of nexuses) await this.attentions(nexus);
  }
}

/** Bytes from hex digits; spaces are for the reader. */
export function hex(text: string): Uint8Array {
  const digits = text.replaceAll(' ', '');
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) =>
    Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16),
  );
}

/** 'good', 'conflict', 'aborted', or sense key and code as 'key/ascascq'. */
export function outcomeOf(answer: ScsiAnswer): string {
  const names: Record<number, string> = { 0: 'good', 24: 'conflict', 64: 'aborted', 8: 'busy' };
  const { sense } = answer;
  if (sense === null) return names[answer.status] ?? `status ${answer.status}`;
  const [key, ...code] = sense[0] === 0x72 ? sense.slice(1, 4) : [sense[2] ?? 0, ...sense.slice(12, 14)];
  return `${(key ?? 0).toString(16)}/${code.map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
