/**
 * The persistent reservations of a shared disk in etcd (`/gp/reservation/DISK`), written by this node's target and by nobody else.
 * Guarantees: a save that resolved is in etcd; none replaces what this process has not seen; after a save whose outcome is not known, `load`
 * answers what counts for good: a transaction that comes late is overtaken, so that it never is applied.
 */
import { CodedError } from '../base/errors.ts';
import { type DiskId, parseDiskId } from '../base/ids.ts';
import type { ReservationRecord } from '../core/model/guest-cluster.ts';
import { keyOf } from '../core/model/keys.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { ReservationStore } from '../core/scsi/reservation-keeper.ts';
import {
  NO_RESERVATIONS,
  RESERVATION_TYPE,
  type ReservationState,
  type ReservationType,
} from '../core/scsi/reservations.ts';
import type { Etcd } from '../etcd/api.ts';
import {
  arrayOf,
  integer,
  isRecord,
  nullable,
  object,
  openObject,
  type Parser,
  parseBoolean,
  text,
} from '../rpc/parse.ts';

/** How long an initiator waits for its change before it is told to try again. */
const SAVE_MS = 4_000;
const LOAD_MS = 4_000;
const OVERTAKINGS_MAX = 3;

const nexus = text({ charsMax: 300 });
const TYPES = Object.values(RESERVATION_TYPE);
const parseType: Parser<ReservationType> = (value, at) => {
  const type = TYPES.find((each) => each === value);
  if (type === undefined) throw new CodedError('bad-input', `${at} is no type of reservation.`);
  return type;
};
const parseState: Parser<ReservationState> = object({
  generation: integer({ min: 0, max: 0xffffffff }),
  registrations: arrayOf(
    object({ nexus, key: text({ charsMax: 16, pattern: /^[0-9a-f]{16}$/ }), isAllTargetPorts: parseBoolean }),
    { itemsMax: 1_000 },
  ),
  reservation: nullable(
    object({
      type: parseType,
      holder: nullable(nexus),
    }),
  ),
});
const parseRecord = openObject({
  disk: (value, at) => parseDiskId(text({ charsMax: 100 })(value, at)),
  state: parseState,
  registeredAt: (value, at): Readonly<Record<string, number>> => {
    if (!isRecord(value)) throw new CodedError('bad-input', `${at} is no object.`);
    return Object.fromEntries(
      Object.entries(value).map(([name, time]) => [name, integer({ min: 0 })(time, `${at}.${name}`)]),
    );
  },
  reservedAt: nullable(integer({ min: 0 })),
}) satisfies Parser<ReservationRecord>;

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
      const record = found === undefined ? null : parseRecord(JSON.parse(found.value), this.#key);
      this.#known = { revision: found?.modRevision ?? 0, record };
      if (!this.#isDoubted) break;
      // Written again as it is, the record has a new revision, at which the late transaction fails.
      if (await this.#put(record ?? this.#recordOf(NO_RESERVATIONS))) break;
      if (attempt === OVERTAKINGS_MAX) throw new CodedError('unavailable', `${this.#key} changes while it is read.`);
    }
    this.#isDoubted = false;
    return this.#known.record?.state ?? null;
  }

  /** Rejects when it was not saved, or when nobody knows: `load` tells. */
  async save(state: ReservationState): Promise<void> {
    this.#isDoubted = true;
    if (!(await this.#put(this.#recordOf(state))))
      throw new CodedError('conflict', `${this.#key} was written by somebody else.`);
    this.#isDoubted = false;
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
      state.registrations.map(({ nexus: name }) => [name, record?.registeredAt[name] ?? now]),
    );
    const before = record?.state.reservation;
    const isSame = before?.type === state.reservation?.type && before?.holder === state.reservation?.holder;
    const reservedAt = state.reservation === null ? null : ((isSame ? record?.reservedAt : null) ?? now);
    return { disk: this.#disk, state, registeredAt, reservedAt };
  }
}
