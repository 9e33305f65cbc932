/**
 * The persistent reservations of a shared disk in etcd (`/gp/reservation/DISK`), written by this node's target only.
 * Guarantees: a save that resolved is in etcd; no save replaces a state that this process has not seen; after a save
 * with an unknown outcome, `load` returns the final state: a late transaction is overtaken, so that it is never
 * applied.
 */

import { CodedError } from '../base/errors.ts';
import type { DiskId } from '../base/ids.ts';
import { own } from '../base/own.ts';
import type { ReservationRecord } from '../core/model/guest-cluster.ts';
import { keyOf } from '../core/model/keys.ts';
import { readRecord } from '../core/model/record-shapes.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { ReservationStore } from '../core/scsi/reservation-keeper.ts';
import { NO_RESERVATIONS, type ReservationState } from '../core/scsi/reservations.ts';
import type { Etcd } from '../etcd/api.ts';

/** How long an initiator waits for its change before it is told to try again, in ms. */
const SAVE_MS = 4_000;
const LOAD_MS = 4_000;
const OVERTAKINGS_MAX = 3;

/** One disk's; opened by `load`. */
export class EtcdReservations implements ReservationStore {
  readonly #etcd: Pick<Etcd, 'get' | 'txn'>;
  readonly #disk: DiskId;
  readonly #clock: Clock;
  #known: { readonly revision: number; readonly record: ReservationRecord | null } = { revision: 0, record: null };
  #isDoubted = false;

  constructor({ etcd, disk, clock }: { etcd: Pick<Etcd, 'get' | 'txn'>; disk: DiskId; clock: Clock }) {
    this.#etcd = etcd;
    this.#disk = disk;
    this.#clock = clock;
  }

  /** Rejects when etcd cannot be read, or the record not be understood. */
  async load(): Promise<ReservationState | null> {
    for (let attempt = 0; ; attempt++) {
      const found = await this.#etcd.get(this.#key, { deadlineMs: LOAD_MS });
      const record = found === undefined ? null : this.#recordIn(found.value);
      this.#known = { revision: found?.modRevision ?? 0, record };
      if (!this.#isDoubted) break;
      // Written again as it is, the record has a new revision, at which the late transaction fails.
      if (await this.#put(record ?? this.#recordOf(NO_RESERVATIONS))) break;
      if (attempt === OVERTAKINGS_MAX) throw new CodedError('unavailable', `${this.#key} changes while it is read.`);
    }
    this.#isDoubted = false;
    return this.#known.record?.state ?? null;
  }

  /** Rejects if the state was not saved, or if the outcome is unknown: `load` finds out. */
  async save(state: ReservationState): Promise<void> {
    this.#isDoubted = true;
    if (!(await this.#put(this.#recordOf(state))))
      throw new CodedError('conflict', `${this.#key} was written by somebody else.`);
    this.#isDoubted = false;
  }

  #recordIn(json: string): ReservationRecord {
    const read = readRecord(this.#key, json);
    if ('value' in read) return read.value as ReservationRecord;
    throw new CodedError('failed', `What etcd holds at ${this.#key} ${read.finding}: the disk is not served.`, {
      advice:
        'It is read again by itself. Put the value right, or delete the key, which forgets all reservations of the disk.',
    });
  }

  get #key(): string {
    return keyOf.reservation(this.#disk);
  }

  async #put(record: ReservationRecord): Promise<boolean> {
    const { succeeded, revision } = await this.#etcd.txn(
      {
        compare: [{ key: this.#key, modRevision: this.#known.revision }],
        success: [{ put: this.#key, value: JSON.stringify(record) }],
      },
      { deadlineMs: SAVE_MS },
    );
    if (succeeded) this.#known = { revision, record };
    return succeeded;
  }

  #recordOf(state: ReservationState): ReservationRecord {
    const { record } = this.#known;
    const now = this.#clock.wallMs();
    const registeredAt = Object.fromEntries(
      state.registrations.map(({ nexus: name }) => [name, own(record?.registeredAt ?? {}, name) ?? now]),
    );
    const before = record?.state.reservation;
    const isSame = before?.type === state.reservation?.type && before?.holder === state.reservation?.holder;
    const reservedAt = state.reservation === null ? null : ((isSame ? record?.reservedAt : null) ?? now);
    return { disk: this.#disk, state, registeredAt, reservedAt };
  }
}
