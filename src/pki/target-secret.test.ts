import assert from 'node:assert/strict';
import { test } from 'node:test';
import { targetSecret } from './target-secret.ts';

test('a secret follows from key and account, and fits what RFC 7143 allows', () => {
  const key = new Uint8Array(32).fill(7);
  const secret = targetSecret(key, 'vm-0123456789ab:g1');
  assert.equal(secret, targetSecret(key, 'vm-0123456789ab:g1'));
  assert.notEqual(secret, targetSecret(key, 'vm-0123456789ab:g2'));
  assert.notEqual(secret, targetSecret(new Uint8Array(32), 'vm-0123456789ab:g1'));
  assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
});
