import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { outcomeOf, refusal } from './grpc-errors.ts';

const fail = (code: status, details: string): Error =>
  Object.assign(new Error(details), { code, details, metadata: new Metadata() });

test('only what etcd decided counts as refused, everything doubtful as unknown', () => {
  const table: [Error, string][] = [
    [fail(status.INVALID_ARGUMENT, 'etcdserver: duplicate key given in txn request'), 'refused'],
    [fail(status.NOT_FOUND, 'etcdserver: requested lease not found'), 'refused'],
    [fail(status.RESOURCE_EXHAUSTED, 'etcdserver: mvcc: database space exceeded'), 'refused'],
    [fail(status.UNAVAILABLE, 'etcdserver: no leader'), 'not-applied'],
    [fail(status.RESOURCE_EXHAUSTED, 'etcdserver: too many requests'), 'not-applied'],
    // Overtaken by a change of users or roles, or by enabling authorization: checked before anything is applied.
    [fail(status.INVALID_ARGUMENT, 'etcdserver: revision of auth store is old'), 'not-applied'],
    [fail(status.INVALID_ARGUMENT, 'etcdserver: user name is empty'), 'not-applied'],
    [fail(status.UNAUTHENTICATED, 'etcdserver: invalid auth token'), 'not-applied'],
    [fail(status.PERMISSION_DENIED, 'etcdserver: permission denied'), 'refused'],
    [fail(status.FAILED_PRECONDITION, 'etcdserver: user name not found'), 'refused'],
    [fail(status.UNAVAILABLE, 'etcdserver: request timed out'), 'unknown'],
    [fail(status.UNAVAILABLE, 'etcdserver: leader changed'), 'unknown'],
    [fail(status.UNAVAILABLE, 'Connection dropped'), 'unknown'],
    [fail(status.DEADLINE_EXCEEDED, 'Deadline exceeded after 2s'), 'unknown'],
    [fail(status.CANCELLED, 'Cancelled on client'), 'unknown'],
    // The answer was too large for us: the request itself was applied.
    [fail(status.RESOURCE_EXHAUSTED, 'Received message larger than max (9 vs 4)'), 'unknown'],
    [new Error('something else'), 'unknown'],
  ];
  for (const [error, outcome] of table) assert.equal(outcomeOf(error), outcome, error.message);
});

test('refusals keep their cause and get the code that callers act on', () => {
  const cases: [string, string][] = [
    ['etcdserver: requested lease not found', 'not-found'],
    ['etcdserver: permission denied', 'forbidden'],
    ['etcdserver: user name not found', 'not-found'],
    ['etcdserver: role name not found', 'not-found'],
    ['etcdserver: user name already exists', 'exists'],
    ['etcdserver: request is too large', 'too-large'],
    ['etcdserver: mvcc: database space exceeded', 'unavailable'],
    ['etcdserver: mvcc: required revision has been compacted', 'failed'],
    ['etcdserver: duplicate key given in txn request', 'failed'],
  ];
  for (const [details, code] of cases) {
    const cause = fail(status.INVALID_ARGUMENT, details);
    const error = refusal(cause, 'Txn');
    assert.deepEqual([error.code, error.cause], [code, cause], details);
  }
});
