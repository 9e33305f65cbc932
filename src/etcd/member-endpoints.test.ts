import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memberEndpoints } from './member-endpoints.ts';

const configured = ['10.0.0.11:2379', '10.0.0.12:2379', '10.0.0.13:2379'];
const before = ['10.0.0.11', '10.0.0.12', '10.0.0.13'];

test('a member that left is asked no more, one that joined is', () => {
  const now = ['10.0.0.11', '10.0.0.12', '10.0.0.14'];
  assert.deepEqual(memberEndpoints({ configured, before, now, port: 2379 }), [
    '10.0.0.11:2379',
    '10.0.0.12:2379',
    '10.0.0.14:2379',
  ]);
});

test('endpoints that are no control node’s address stay, and so do other ports', () => {
  const odd = ['unix:/run/etcd', '10.0.0.11:4001'];
  assert.deepEqual(memberEndpoints({ configured: odd, before: ['10.0.0.11'], now: ['10.0.0.11'], port: 2379 }), odd);
});
