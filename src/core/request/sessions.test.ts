import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVmId } from '../../base/ids.ts';
import { LIMITS } from '../model/limits.ts';
import { vmRecord } from '../plan/testing/sample-records.ts';
import {
  beginSession,
  beginSessionByLink,
  createLink,
  createTicket,
  endSession,
  endSessions,
  useTicket,
} from './sessions.ts';
import { RecordWorld } from './testing/record-world.ts';
import { createToken, deleteToken } from './tokens.ts';

const hash = (n: number): string => n.toString(16).padStart(64, '0');
const ADMIN = { name: 'admin', sha256: hash(1) };
const STOPPED = { kind: 'stopped' } as const;
const FROM = { address: '10.0.0.9', agent: 'Mozilla' };
const session = (n: number) => ({ sha256: hash(n), from: FROM });

test('a link begins a session once, for its token, until it expires', () => {
  const world = new RecordWorld();
  const link = world.take(createLink(world.basis(), ADMIN, hash(2)));
  const begun = world.take(beginSessionByLink(world.basis(), link, session(3)));
  assert.deepEqual([begun.name, begun.parent, begun.from], ['admin', ADMIN.sha256, FROM]);
  assert.deepEqual(
    [...world.basis().records.tokens.values()].map(({ value }) => value.kind),
    ['session'],
    'the link is gone with the transaction that used it',
  );
  for (const none of [
    undefined,
    begun,
    { ...link, expiresAt: world.basis().now },
    { ...link, kind: 'ticket' as const },
  ])
    assert.throws(() => beginSessionByLink(world.basis(), none, session(4)), { code: 'unauthorized' });
});

test('a ticket opens one console of one VM, once', () => {
  const world = new RecordWorld();
  const [vm, other] = [vmRecord(STOPPED), vmRecord(STOPPED, { id: parseVmId('vm-00000000000f') })];
  world.apply([vm, other].map((value) => ({ kind: 'vm', id: value.id, value })));
  const opens = { vm: vm.id, console: 'vnc', takeOver: true } as const;
  const ticket = world.take(createTicket(world.basis(), ADMIN, { sha256: hash(2), opens }));
  for (const wanted of [
    { vm: other.id, console: 'vnc' },
    { vm: vm.id, console: 'serial' },
  ] as const)
    assert.throws(() => useTicket(world.basis(), ticket, wanted), { code: 'unauthorized' });
  assert.throws(() => useTicket(world.basis(), undefined, { vm: 'none', console: 'vnc' }), { code: 'unauthorized' });
  const used = world.take(useTicket(world.basis(), ticket, { vm: vm.id, console: 'vnc' }));
  assert.deepEqual(used, { parent: ADMIN, wish: { takeOver: true } });
  assert.equal(world.basis().records.tokens.size, 0);
});

test('a token takes its links and sessions with it; sessions end one by one, or all of a name', () => {
  const world = new RecordWorld();
  const token = world.take(createToken(world.basis(), { name: 'anna', sha256: hash(7) }));
  const anna = { name: token.name, sha256: token.sha256 };
  world.take(createLink(world.basis(), anna, hash(8)));
  world.take(beginSession(world.basis(), anna, session(9)));
  const kept = world.take(beginSession(world.basis(), ADMIN, session(10)));
  world.take(deleteToken(world.basis(), 'anna'));
  assert.deepEqual([...world.basis().records.tokens.keys()], [kept.id]);
  assert.throws(() => endSession(world.basis(), 'session-000000000000'), { code: 'not-found' });
  world.take(endSession(world.basis(), kept.id));
  for (const n of [11, 12]) world.take(beginSession(world.basis(), ADMIN, session(n)));
  assert.equal(world.take(endSessions(world.basis(), ({ name }) => name === 'admin')), 2);
  assert.equal(world.basis().records.tokens.size, 0);
});

test('one more session than a token may have ends its oldest; nobody’s take the room of others', () => {
  const world = new RecordWorld();
  const first = world.take(beginSession(world.basis(), ADMIN, session(100)));
  for (let n = 1; n <= LIMITS.sessionsOfToken.max; n++)
    world.take(beginSession(world.basis(), ADMIN, session(100 + n)));
  const { tokens } = world.basis().records;
  assert.deepEqual([tokens.size, tokens.has(first.id)], [LIMITS.sessionsOfToken.max, false]);
});
