import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Joining } from './joining.ts';
import { RecordWorld } from './testing/record-world.ts';
import { createJoinToken, createToken, deleteToken, joinByToken, withoutJoinTokens } from './tokens.ts';

const SHA = 'a'.repeat(64);
const JOINING: Joining = { role: 'host', name: 'h1', addresses: { control: '10.0.0.1' } };

test('an API token: one of a name, which is revoked by its name or id', () => {
  const world = new RecordWorld();
  const made = world.take(createToken(world.basis(), { name: 'anna', sha256: SHA }));
  assert.deepEqual([made.kind, made.role, made.expiresAt, made.sha256], ['api', null, null, SHA]);
  assert.throws(() => createToken(world.basis(), { name: 'anna', sha256: SHA }), { code: 'exists' });
  world.take(deleteToken(world.basis(), made.id));
  assert.throws(() => deleteToken(world.basis(), 'anna'), { code: 'not-found' });
  world.take(createToken(world.basis(), { name: 'anna', sha256: SHA }));
  world.take(deleteToken(world.basis(), 'anna'));
});

test('a join token is for one machine, once, until it expires; nobody but its bearer may delete it as an API token', () => {
  const world = new RecordWorld();
  const token = world.take(createJoinToken(world.basis(), { role: 'host', name: 'h1', sha256: SHA, validMs: 1_000 }));
  assert.equal(token.expiresAt, world.basis().now + 1_000);
  assert.throws(() => deleteToken(world.basis(), token.id), { code: 'not-found' });
  for (const [presented, joining] of [
    [undefined, JOINING],
    [token, { ...JOINING, name: 'h2' }],
    [token, { ...JOINING, role: 'storage' }],
    [{ ...token, kind: 'api' }, JOINING],
    [{ ...token, expiresAt: world.basis().now }, JOINING],
  ] as const)
    assert.throws(() => joinByToken(world.basis(), presented, { ...joining, issued: null }), { code: 'unauthorized' });
  world.take(joinByToken(world.basis(), token, { ...JOINING, issued: null }));
  const { records } = world.basis();
  assert.deepEqual([records.tokens.size, records.hosts.size], [0, 1]);
});

test('a token of several roles lets one machine join in each of them once, with its own addresses', () => {
  const world = new RecordWorld();
  const { id } = world.take(
    createJoinToken(world.basis(), { role: 'control', also: ['storage', 'host'], name: 'h1', sha256: SHA }),
  );
  const present = () => world.basis().records.tokens.get(id)?.value;
  for (const role of ['storage', 'control', 'host'] as const) {
    world.take(joinByToken(world.basis(), present(), { ...JOINING, role, issued: null }));
    assert.throws(() => joinByToken(world.basis(), present(), { ...JOINING, role, issued: null }), {
      code: 'unauthorized',
    });
  }
  const { records } = world.basis();
  assert.deepEqual([records.tokens.size, records.hosts.size, records.storage.size], [0, 1, 1]);
  const other = world.take(createJoinToken(world.basis(), { role: 'storage', name: 'h2', sha256: SHA }));
  assert.throws(() => joinByToken(world.basis(), other, { ...JOINING, role: 'storage', name: 'h2', issued: null }), {
    code: 'conflict',
  });
});

test('no role is named twice; expired tokens go with each new one', () => {
  const world = new RecordWorld();
  const ask = { name: 'h1', sha256: SHA, validMs: -1 } as const;
  assert.throws(() => createJoinToken(world.basis(), { ...ask, role: 'host', also: ['host'] }), { code: 'bad-input' });
  for (let n = 0; n < 60; n++) {
    const { changes } = createJoinToken(world.basis(), { ...ask, role: 'host' });
    world.apply(changes.slice(0, 1));
  }
  const { changes } = createJoinToken(world.basis(), { ...ask, role: 'storage', validMs: 1 });
  assert.equal(changes.filter(({ value }) => value === null).length, 50, 'bounded');
});

test('no join token brings a removed machine back in its role; one of several roles keeps the others', () => {
  const world = new RecordWorld();
  const name = 'm1';
  world.take(createJoinToken(world.basis(), { role: 'host', name, sha256: SHA }));
  world.take(createJoinToken(world.basis(), { role: 'storage', also: ['host', 'control'], name, sha256: SHA }));
  world.take(createJoinToken(world.basis(), { role: 'host', name: 'm2', sha256: SHA }));
  world.apply(withoutJoinTokens(world.basis().records, { role: 'host', name }));
  const rolesLeft = () =>
    [...world.basis().records.tokens.values()].map(({ value }) => [value.name, value.role, ...(value.also ?? [])]);
  assert.deepEqual(rolesLeft(), [
    [name, 'storage', 'control'],
    ['m2', 'host'],
  ]);
  world.apply(withoutJoinTokens(world.basis().records, { role: 'storage', name }));
  assert.deepEqual(rolesLeft()[0], [name, 'control']);
  assert.deepEqual(world.unreadableRecords(), []);
});
