import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ToAccept } from '../../../src/base/problem.ts';
import { acceptOf, signedCommand, toSignFor, UNSIGNED } from './acceptance.ts';

const SIGNED = { owner: ' ann ', reason: "licence by socket, ann's", until: '2026-12-31' };

test('a signature is whole or none, and counts to the end of its day', () => {
  const accept = { owner: 'ann', reason: "licence by socket, ann's", until: '2026-12-31T23:59:59Z' };
  assert.deepEqual(acceptOf(SIGNED), accept);
  for (const missing of ['owner', 'reason', 'until']) assert.equal(acceptOf({ ...SIGNED, [missing]: ' ' }), null);
});

test('the command says who signs, and what is missing yet', () => {
  const start = 'gp vm start db1';
  const reason = `'licence by socket, ann'\\''s'`;
  assert.equal(signedCommand(start, SIGNED), `${start} --accept --owner ann --reason ${reason} --until 2026-12-31`);
  assert.equal(signedCommand(start, UNSIGNED), `${start} --accept --owner WHO --reason WHY --until DATE`);
});

test('what a request was refused for is signed with this request only; otherwise what the check says', () => {
  const what = (host: string): ToAccept => ({
    ties: [],
    broken: [{ host, question: 'drain', because: [] }],
    moreBroken: 0,
  });
  const refused = { request: JSON.stringify({ name: 'a' }), what: what('h1') };
  assert.deepEqual(toSignFor({ name: 'a' }, refused, null), what('h1'));
  assert.deepEqual(toSignFor({ name: 'a' }, refused, what('h2')), what('h1'));
  assert.deepEqual(toSignFor({ name: 'b' }, refused, what('h2')), what('h2'));
  assert.equal(toSignFor({ name: 'b' }, refused, null), null);
});
