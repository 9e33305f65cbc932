import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseDiskId } from '../base/ids.ts';
import type { ReservationRecord } from '../core/model/guest-cluster.ts';
import { keyOf } from '../core/model/keys.ts';
import { NO_RESERVATIONS, type ReservationState } from '../core/scsi/reservations.ts';
import type { Etcd, TxnResult } from '../etcd/api.ts';
import { EtcdDeadlineUnknown } from '../etcd/errors.ts';
import type { KeyValue, Transaction } from '../etcd/records.ts';
import { EtcdReservations } from './etcd-reservations.ts';

const DISK = parseDiskId('disk-0123456789ab');
const KEY = keyOf.reservation(DISK);
const A = 'iqn.test:a';
const B = 'iqn.test:b';

/** One key with revisions; a transaction can be lost, or come late. */
class OneKey implements Pick<Etcd, 'get' | 'txn'> {
  revision = 10;
  found: KeyValue | undefined;
  /** The fate of the next transaction: applied with its answer lost, or on its way until `arrive`. */
  next: 'answer lost' | 'late' | null = null;
  readonly late: Transaction[] = [];

  async get(): Promise<KeyValue | undefined> {
    return this.found;
  }

  async txn(transaction: Transaction): Promise<TxnResult> {
    const { next } = this;
    this.next = null;
    if (next === 'late') this.late.push(transaction);
    const result = next === 'late' ? null : this.apply(transaction);
    if (result === null || next !== null) throw new EtcdDeadlineUnknown('no answer');
    return result;
  }

  apply({ compare, success }: Transaction): TxnResult {
    const [condition] = compare;
    const [put] = success;
    assert.ok(condition !== undefined && 'modRevision' in condition && put !== undefined && 'put' in put);
    const succeeded = (this.found?.modRevision ?? 0) === condition.modRevision;
    if (succeeded) {
      this.revision += 1;
      const createRevision = this.found?.createRevision ?? this.revision;
      this.found = { key: put.put, value: put.value, createRevision, modRevision: this.revision, lease: '0' };
    }
    return { succeeded, revision: this.revision, reads: [] };
  }

  get record(): ReservationRecord {
    return JSON.parse(this.found?.value ?? 'null') as ReservationRecord;
  }
}

const registered = (...nexuses: readonly string[]): ReservationState => ({
  generation: nexuses.length,
  registrations: nexuses.map((nexus, at) => ({
    nexus,
    key: String(at + 1).padStart(16, '0'),
    isAllTargetPorts: false,
  })),
  reservation: null,
});

async function opened(): Promise<{ etcd: OneKey; store: EtcdReservations; clock: { nowMs: number } }> {
  const etcd = new OneKey();
  const clock = { nowMs: 1_000 };
  const time = { wallMs: () => clock.nowMs, monotonicMs: () => clock.nowMs, after: () => () => undefined };
  const store = new EtcdReservations({ etcd, disk: DISK, clock: time });
  assert.equal(await store.load(), null);
  return { etcd, store, clock };
}

test('what is saved is read again, with the time of each registration and of the reservation', async () => {
  const { etcd, store, clock } = await opened();
  await store.save(registered(A));
  clock.nowMs = 2_000;
  const held: ReservationState = { ...registered(A, B), reservation: { type: 5, holder: A } };
  await store.save(held);
  clock.nowMs = 3_000;
  await store.save({ ...held, registrations: held.registrations.slice(0, 1) });
  assert.equal(etcd.found?.key, KEY);
  assert.deepEqual(etcd.record.registeredAt, { [A]: 1_000 });
  assert.equal(etcd.record.reservedAt, 2_000);
  await store.save(registered(A));
  assert.equal(etcd.record.reservedAt, null);
  assert.deepEqual(await store.load(), registered(A));
});

test('what somebody else wrote is not replaced unseen', async () => {
  const { etcd, store } = await opened();
  const other = new EtcdReservations({
    etcd,
    disk: DISK,
    clock: { wallMs: () => 1, monotonicMs: () => 1, after: () => () => undefined },
  });
  await other.load();
  await other.save(registered(B));
  await assert.rejects(store.save(registered(A)), (error) => error instanceof CodedError && error.code === 'conflict');
  assert.deepEqual(await store.load(), registered(B));
  await store.save(registered(B, A));
  assert.deepEqual(etcd.record.state, registered(B, A));
});

test('a change whose answer was lost counts', async () => {
  const { etcd, store } = await opened();
  etcd.next = 'answer lost';
  await assert.rejects(store.save(registered(A)), EtcdDeadlineUnknown);
  assert.deepEqual(await store.load(), registered(A));
});

test('a change that comes late is overtaken: what was read after it is what counts', async () => {
  for (const first of [null, registered(B)]) {
    const { etcd, store } = await opened();
    if (first !== null) await store.save(first);
    etcd.next = 'late';
    await assert.rejects(store.save(registered(A)), EtcdDeadlineUnknown);
    assert.deepEqual((await store.load()) ?? NO_RESERVATIONS, first ?? NO_RESERVATIONS);
    for (const transaction of etcd.late) assert.equal(etcd.apply(transaction).succeeded, false);
    await store.save(registered(A, B));
    assert.deepEqual(etcd.record.state, registered(A, B));
  }
});

test('a record that is none of ours is no reservation: the disk is not opened', async () => {
  const { etcd, store } = await opened();
  for (const value of [
    '{',
    '{}',
    JSON.stringify({ ...{ disk: DISK, registeredAt: {}, reservedAt: null }, state: {} }),
  ]) {
    etcd.found = { key: KEY, value, createRevision: 1, modRevision: 1, lease: '0' };
    await assert.rejects(store.load());
  }
});
