/**
 * The behaviour of etcd, real or simulated, on which the code above it relies: one suite for both. The caller provides
 * a world: a client that reaches etcd, others whose connection to it can be disturbed, and time that passes.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep } from '../../base/sleep.ts';
import type { Etcd, Listing } from '../api.ts';
import { campaign, type Leadership, observe } from '../election.ts';
import { EtcdCompacted, EtcdDeadlineUnknown, EtcdUnavailable } from '../errors.ts';
import { follow } from '../follow.ts';
import type { Transaction } from '../records.ts';

/** A client with a connection of its own to etcd. */
export interface SpoilableEtcd {
  readonly etcd: Etcd;
  /** From now on no message passes, in either direction. */
  freeze(): void;
  /** From now on requests arrive and answers do not. */
  mute(): void;
  /** Breaks what is under way; a new connection is possible at once. */
  cut(): void;
  close(): Promise<void>;
}

export interface ComplianceWorld {
  readonly etcd: Etcd;
  spoilable(): Promise<SpoilableEtcd>;
  compact(revision: number): Promise<void>;
  /** Runs a test, during which time passes. */
  run(body: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

const WATCH_MS_MAX = 60_000;

/** Registers the suite's tests for the world that `start` makes. */
export function checkEtcd(start: () => Promise<ComplianceWorld>): void {
  let world: ComplianceWorld;
  before(async () => {
    world = await start();
  });
  after(() => world?.close());
  for (const [name, body] of [...TRANSACTIONS, ...LEASES, ...ELECTIONS, ...WATCHES, ...FAILURES]) {
    test(name, () => world.run(() => body(world)));
  }
}

type Case = readonly [name: string, body: (world: ComplianceWorld) => Promise<void>];

const put = (etcd: Etcd, key: string, value = '') => etcd.txn({ compare: [], success: [{ put: key, value }] });
const keysOf = ({ entries }: Listing): string[] => entries.map(({ key }) => key);

/** Aborts with `stop()`, or when the test has taken too long. */
function bounded(etcd: Etcd): { readonly signal: AbortSignal; readonly stop: () => void } {
  const over = new AbortController();
  const cancel = etcd.clock.after(WATCH_MS_MAX, () => over.abort());
  const stop = (): void => {
    cancel();
    over.abort();
  };
  return { signal: over.signal, stop };
}

const TRANSACTIONS: readonly Case[] = [
  [
    'of two that swap the same value one wins, and the other learns what is there',
    async ({ etcd }) => {
      const key = '/t/swap';
      const created = await etcd.txn({ compare: [{ key, exists: false }], success: [{ put: key, value: '1' }] });
      assert.equal(created.succeeded, true);
      const { revision } = created;
      const expected = { key, value: '1', createRevision: revision, modRevision: revision, lease: '0' };
      assert.deepEqual(await etcd.get(key), expected);
      const swap = (value: string) =>
        etcd.txn({
          compare: [{ key, modRevision: revision }],
          success: [{ put: key, value }],
          failure: [{ get: key }, { get: '/t/none' }],
        });
      const results = await Promise.all([swap('2'), swap('3')]);
      assert.equal(results.filter(({ succeeded }) => succeeded).length, 1);
      const loser = results.find(({ succeeded }) => !succeeded);
      assert.equal(loser?.reads[0]?.value, results[0]?.succeeded ? '2' : '3');
      assert.equal(loser?.reads[0]?.createRevision, revision);
      assert.deepEqual([loser?.reads.length, loser?.reads[1]], [2, undefined]);
    },
  ],
  [
    'conditions: existence, create and mod revision, equal, not equal, greater, less',
    async ({ etcd }) => {
      const { revision } = await put(etcd, '/t/c/a');
      const holds = async (...compare: Transaction['compare']): Promise<boolean> =>
        (await etcd.txn({ compare, success: [] })).succeeded;
      const key = '/t/c/a';
      assert.equal(await holds(), true);
      assert.equal(await holds({ key, exists: true }), true);
      assert.equal(await holds({ key, exists: false }), false);
      assert.equal(await holds({ key: '/t/c/b', exists: true }), false);
      assert.equal(await holds({ key: '/t/c/b', modRevision: 0 }), true);
      assert.equal(await holds({ key, createRevision: revision }), true);
      assert.equal(await holds({ key, createRevision: revision, op: 'not-equal' }), false);
      assert.equal(await holds({ key, modRevision: revision + 1, op: 'less' }), true);
      assert.equal(await holds({ key, modRevision: revision, op: 'greater' }), false);
      assert.equal(await holds({ key, exists: true }, { key: '/t/c/b', exists: true }), false);
    },
  ],
  [
    'what changes nothing is no revision; a record that comes again is a new one; prefixes are deleted whole',
    async ({ etcd }) => {
      const first = await put(etcd, '/t/d/a', '1');
      const nothing = await etcd.txn({ compare: [], success: [{ delete: '/t/d/none' }, { get: '/t/d/a' }] });
      assert.deepEqual([nothing.revision, nothing.reads[0]?.value], [first.revision, '1']);
      const again = await etcd.txn({
        compare: [],
        success: [{ put: '/t/d/a', value: '2' }, { get: '/t/d/a' }, { put: '/t/d/b', value: '' }],
      });
      assert.deepEqual(
        [again.revision, again.reads[0]?.createRevision, again.reads[0]?.modRevision],
        [first.revision + 1, first.revision, again.revision],
      );
      await etcd.txn({ compare: [], success: [{ delete: '/t/d/a' }] });
      const { revision } = await put(etcd, '/t/d/a', '3');
      assert.equal((await etcd.get('/t/d/a'))?.createRevision, revision);
      await put(etcd, '/t/d-other');
      await etcd.txn({ compare: [], success: [{ deletePrefix: '/t/d/' }] });
      assert.deepEqual(keysOf(await etcd.list('/t/d')), ['/t/d-other']);
    },
  ],
  [
    'what is refused was not applied, and says why',
    async ({ etcd }) => {
      const refused = (success: Transaction['success']) => etcd.txn({ compare: [], success });
      const one = { put: '/t/r/1', value: '' };
      await assert.rejects(refused([one, one]), { code: 'failed' });
      await assert.rejects(refused([one, { delete: '/t/r/1' }]), { code: 'failed' });
      await assert.rejects(refused([{ deletePrefix: '/t/r/' }, one]), { code: 'failed' });
      await assert.rejects(refused([one, { put: '/t/r/2', value: '', lease: '12345' }]), { code: 'not-found' });
      const many = Array.from({ length: 129 }, (_, i) => ({ put: `/t/r/${i}`, value: '' }));
      await assert.rejects(refused(many), { code: 'too-large' });
      await assert.rejects(refused([{ put: '', value: '' }]), { code: 'bad-input' });
      await assert.rejects(refused([{ put: '/t/r/1', value: '\ud800' }]), { code: 'bad-input' });
      assert.deepEqual(keysOf(await etcd.list('/t/r/')), []);
    },
  ],
  [
    'a listing is in order, of one revision, and bounded',
    async ({ etcd }) => {
      for (let from = 0; from < 600; from += 100) {
        const success = Array.from({ length: 100 }, (_, i) => ({ put: `/t/l/${599 - from - i}`, value: '{}' }));
        await etcd.txn({ compare: [], success });
      }
      const { revision } = await put(etcd, '/t/l-other');
      const listing = await etcd.list('/t/l/');
      assert.equal(listing.revision, revision);
      assert.deepEqual(keysOf(listing), Array.from({ length: 600 }, (_, i) => `/t/l/${i}`).sort());
      assert.equal((await etcd.list('/t/l/59')).entries.length, 11);
      await assert.rejects(etcd.list('/t/l/', { entriesMax: 599 }), { code: 'too-large' });
    },
  ],
];

const LEASES: readonly Case[] = [
  [
    'a lease that is not renewed ends with its keys, not before its time; a renewed one lives on; a revoked one is gone',
    async ({ etcd }) => {
      const left = await etcd.leaseGrant(1);
      assert.equal(left.ttlSeconds, 2, 'raised to the minimum');
      const kept = etcd.keepLease(await etcd.leaseGrant(2));
      const success = [
        { put: '/l/left', value: '', lease: left.lease },
        { put: '/l/kept', value: '', lease: kept.lease },
      ];
      const { revision } = await etcd.txn({ compare: [], success });
      assert.equal((await etcd.get('/l/left'))?.lease, left.lease);
      const { signal, stop } = bounded(etcd);
      const gone: string[] = [];
      await etcd.watch('/l/', {
        fromRevision: revision + 1,
        signal,
        onEvents: (events) => {
          for (const event of events) gone.push(`${event.type} ${event.key}`);
          stop();
        },
      });
      assert.deepEqual(gone, ['delete /l/left']);
      assert.ok(etcd.clock.monotonicMs() >= left.validUntilMs);
      assert.ok(kept.isValid() && kept.validUntilMs > left.validUntilMs);
      await etcd.leaseRevoke(kept.lease);
      assert.equal(await kept.expired, 'gone');
      assert.equal(kept.isValid(), false);
      assert.deepEqual(keysOf(await etcd.list('/l/')), []);
      await etcd.leaseRevoke(kept.lease);
    },
  ],
  [
    'a lease ends for its holder within its time when etcd cannot be reached, and stopping it ends nothing in etcd',
    async ({ etcd, ...world }) => {
      const behind = await world.spoilable();
      const kept = behind.etcd.keepLease(await behind.etcd.leaseGrant(2), { graceMs: 0 });
      behind.freeze();
      const frozenAtMs = etcd.clock.monotonicMs();
      assert.equal(await kept.expired, 'unreachable');
      assert.equal(kept.isValid(), false);
      assert.ok(kept.validUntilMs <= frozenAtMs + 2_000);
      await behind.close();
      const other = etcd.keepLease(await etcd.leaseGrant(2));
      await etcd.txn({ compare: [], success: [{ put: '/l/stopped', value: '', lease: other.lease }] });
      other.stop();
      assert.equal(await other.expired, 'stopped');
      assert.notEqual(await etcd.get('/l/stopped'), undefined);
    },
  ],
];

/** Whether a write by this leadership, with its guard, is applied. */
async function mayWrite(etcd: Etcd, { compare }: Leadership): Promise<boolean> {
  return (await etcd.txn({ compare: [compare], success: [{ put: '/e/work', value: '' }] })).succeeded;
}

const ELECTIONS: readonly Case[] = [
  [
    'candidates lead one after the other, in the order they came, with growing terms; observers see each',
    async ({ etcd }) => {
      const prefix = '/e/order';
      const seen: (string | undefined)[] = [];
      const { signal, stop } = bounded(etcd);
      const observing = observe(etcd, prefix, { signal, onLeader: (leader) => seen.push(leader?.value) });
      const won: Leadership[] = [];
      const campaigns: Promise<Leadership>[] = [];
      for (const value of ['one', 'two', 'three']) {
        const winning = campaign(etcd, { prefix, value, ttlSeconds: 2, signal });
        campaigns.push(winning);
        winning.then(
          (leadership) => won.push(leadership),
          () => undefined,
        );
        while ((await etcd.list(`${prefix}/`)).entries.length < campaigns.length)
          await sleep(etcd.clock, 5, { signal });
      }
      // An observer learns of a leader from its watch: maybe later than the leader itself.
      while (!seen.includes('one')) await sleep(etcd.clock, 5, { signal });
      for (const [i, winning] of campaigns.entries()) {
        const leadership = await winning;
        assert.equal(won.length, i + 1, 'nobody leads before its turn');
        assert.equal(leadership.isValid(), true);
        assert.deepEqual(
          await Promise.all(won.map((each) => mayWrite(etcd, each))),
          won.map((_, place) => place === i),
        );
        await leadership.resign();
        await leadership.lost;
        assert.equal(leadership.isValid(), false);
        assert.equal(await mayWrite(etcd, leadership), false);
      }
      const terms = won.map(({ createRevision }) => createRevision);
      assert.deepEqual(
        terms,
        [...new Set(terms)].sort((a, b) => a - b),
      );
      while (seen.at(-1) !== undefined) await sleep(etcd.clock, 5, { signal });
      stop();
      await observing;
      assert.deepEqual([...new Set(seen.filter((value) => value !== undefined))], ['one', 'two', 'three']);
    },
  ],
  [
    'a leader that etcd does not hear: the next one leads, the old one knew before, and its guard is refused',
    async ({ etcd, ...world }) => {
      const prefix = '/e/frozen';
      const behind = await world.spoilable();
      const old = await campaign(behind.etcd, { prefix, value: 'old', ttlSeconds: 2, graceMs: 0 });
      behind.freeze();
      const next = await campaign(etcd, { prefix, value: 'next', ttlSeconds: 2 });
      assert.equal(old.isValid(), false);
      assert.deepEqual([await mayWrite(etcd, old), await mayWrite(etcd, next)], [false, true]);
      await old.lost;
      await next.resign();
      await behind.close();
    },
  ],
  [
    'a leader whose key is deleted learns it; an aborted campaign leaves nothing behind',
    async ({ etcd }) => {
      const prefix = '/e/deleted';
      const leader = await campaign(etcd, { prefix, value: 'x', ttlSeconds: 2 });
      const giving = new AbortController();
      const waiting = campaign(etcd, { prefix, value: 'y', ttlSeconds: 2, signal: giving.signal });
      const refused = assert.rejects(waiting, /enough/);
      const { signal, stop } = bounded(etcd);
      await etcd.watch(`${prefix}/`, { fromRevision: leader.createRevision + 1, signal, onEvents: stop });
      giving.abort(new Error('enough'));
      await refused;
      const { entries } = await etcd.list(`${prefix}/`);
      assert.deepEqual(
        entries.map(({ value }) => value),
        ['x'],
      );
      await etcd.txn({ compare: [], success: [{ delete: leader.key }] });
      await leader.lost;
      assert.equal(leader.isValid(), false);
    },
  ],
];

const WATCHES: readonly Case[] = [
  [
    'a watch over a connection that is cut again and again: every event once, in order, revisions whole',
    async ({ etcd, ...world }) => {
      const behind = await world.spoilable();
      const { revision: start } = await put(etcd, '/w/start');
      const { signal, stop } = bounded(etcd);
      const seen: string[] = [];
      const wanted: string[] = [];
      let lost = 0;
      let lastRevision = start;
      const watching = behind.etcd.watch('/w/n/', {
        fromRevision: start + 1,
        signal,
        onDisconnected: () => (lost += 1),
        onEvents: (events, revision) => {
          for (const event of events) {
            assert.ok(event.modRevision > lastRevision && event.modRevision <= revision);
            seen.push(event.key);
          }
          lastRevision = revision;
          if (seen.length === 600) stop();
        },
      });
      for (let i = 0; i < 200; i += 1) {
        const keys = [0, 1, 2].map((j) => `/w/n/${i}-${j}`);
        wanted.push(...keys);
        await etcd.txn({
          compare: [],
          success: [...keys.map((key) => ({ put: key, value: '' })), { put: '/w/no', value: '' }],
        });
        if (i % 40 === 20) {
          while (seen.length < wanted.length - 60 && !signal.aborted) await sleep(etcd.clock, 5, { signal });
          const before = lost;
          behind.cut();
          while (lost === before && !signal.aborted) await sleep(etcd.clock, 5, { signal });
        }
      }
      await watching;
      assert.deepEqual(seen, wanted);
      assert.equal(lost, 5);
      await behind.close();
    },
  ],
  [
    'deletions are events; what a handler throws ends the watch with it; an old revision brings everything since',
    async ({ etcd }) => {
      const { revision } = await put(etcd, '/w/d', '1');
      await put(etcd, '/w/d', '2');
      await etcd.txn({ compare: [], success: [{ delete: '/w/d' }] });
      const { signal, stop } = bounded(etcd);
      const seen: string[] = [];
      await etcd.watch('/w/d', {
        fromRevision: revision,
        signal,
        onEvents: (events) => {
          for (const event of events) seen.push(event.type === 'put' ? event.kv.value : event.type);
          if (seen.length >= 3) stop();
        },
      });
      assert.deepEqual(seen, ['1', '2', 'delete']);
      const error = new Error('handler');
      const onEvents = (): never => {
        throw error;
      };
      await assert.rejects(etcd.watch('/w/d', { fromRevision: revision, onEvents }), error);
    },
  ],
  [
    'compacted history is an error with its revision; a follower lists again',
    async ({ etcd, ...world }) => {
      const first = await put(etcd, '/w/c/1', 'old');
      await etcd.txn({ compare: [], success: [{ delete: '/w/c/1' }] });
      const { revision } = await put(etcd, '/w/c/2', 'new');
      await world.compact(revision);
      const watching = etcd.watch('/w/c/', { fromRevision: first.revision, onEvents: () => undefined });
      await assert.rejects(watching, (error) => error instanceof EtcdCompacted && error.compactRevision === revision);
      const { signal, stop } = bounded(etcd);
      const listings: string[][] = [];
      await follow(etcd, '/w/c/', {
        signal,
        onListing: async (listing) => {
          listings.push(keysOf(listing));
          if (listings.length === 2) return stop();
          const later = await put(etcd, '/w/c/3');
          await put(etcd, '/w/c/4');
          await world.compact(later.revision + 1);
        },
        onEvents: () => assert.fail('the missing events cannot come'),
      });
      assert.deepEqual(listings, [['/w/c/2'], ['/w/c/2', '/w/c/3', '/w/c/4']]);
    },
  ],
];

const isEtcdAway = (error: unknown): boolean => error instanceof EtcdUnavailable;

const FAILURES: readonly Case[] = [
  [
    'a transaction that did not arrive is unknown; reads, and transactions after it, are certain not to have happened',
    async ({ etcd, ...world }) => {
      const behind = await world.spoilable();
      assert.equal(await behind.etcd.get('/f/a'), undefined);
      await put(behind.etcd, '/f/warm');
      behind.freeze();
      const success = [{ put: '/f/a', value: '1' }];
      await assert.rejects(behind.etcd.txn({ compare: [], success }, { deadlineMs: 300 }), EtcdDeadlineUnknown);
      assert.equal(await etcd.get('/f/a'), undefined);
      const sinceMs = etcd.clock.monotonicMs();
      await assert.rejects(behind.etcd.list('/f/', { deadlineMs: 600 }), isEtcdAway);
      assert.ok(etcd.clock.monotonicMs() - sinceMs < 5_000);
      await behind.close();
    },
  ],
  [
    'a transaction whose answer was lost is unknown, was applied, and was applied once',
    async ({ etcd, ...world }) => {
      const behind = await world.spoilable();
      await put(behind.etcd, '/f/warm');
      const { signal, stop } = bounded(etcd);
      const { revision } = await etcd.list('/f/');
      const seen: string[] = [];
      behind.mute();
      const success = [{ put: '/f/lost', value: '1' }];
      await assert.rejects(behind.etcd.txn({ compare: [], success }, { deadlineMs: 500 }), EtcdDeadlineUnknown);
      await put(etcd, '/f/end');
      await etcd.watch('/f/', {
        fromRevision: revision + 1,
        signal,
        onEvents: (events) => {
          for (const event of events) seen.push(event.key);
          if (seen.includes('/f/end')) stop();
        },
      });
      assert.deepEqual(seen, ['/f/lost', '/f/end']);
      await behind.close();
    },
  ],
  [
    'an aborted read ends with the reason; an aborted transaction that was sent is unknown; a closed client fails at once',
    async ({ etcd, ...world }) => {
      const reason = new Error('enough');
      await assert.rejects(etcd.get('/f/a', { signal: AbortSignal.abort(reason) }), reason);
      await assert.rejects(etcd.txn({ compare: [], success: [] }, { signal: AbortSignal.abort(reason) }), reason);
      const behind = await world.spoilable();
      await put(behind.etcd, '/f/warm');
      behind.freeze();
      const giving = new AbortController();
      const sent = behind.etcd.txn({ compare: [], success: [] }, { signal: giving.signal });
      const unknown = assert.rejects(sent, EtcdDeadlineUnknown);
      await sleep(etcd.clock, 50);
      giving.abort(reason);
      await unknown;
      await behind.close();
      assert.equal(behind.etcd.isClosed, true);
      await assert.rejects(behind.etcd.get('/f/a'), /closed/);
      const watching = behind.etcd.watch('/f/', { fromRevision: 1, onEvents: () => undefined });
      await assert.rejects(watching, isEtcdAway);
    },
  ],
];
