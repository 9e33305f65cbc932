import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { finalized, type RoleVersion } from './finalize.ts';

const role = (name: string, version: string | null): RoleVersion => ({ role: 'host', name, version });
const refusal = (request: Parameters<typeof finalized>[0]): string => {
  try {
    return `raised to ${finalized(request)}`;
  } catch (error) {
    assert.ok(error instanceof CodedError && error.code === 'conflict');
    return error.message;
  }
};

test('a cluster is raised to the release that all of it runs, once and again', () => {
  const roles = [role('h1', '0.2.0'), role('h2', '0.2.7')];
  assert.equal(finalized({ version: '0.2.1', cluster: '0.1', roles }), '0.2');
  assert.equal(finalized({ version: '0.2.1', cluster: '0.2', roles }), '0.2');
  assert.equal(finalized({ version: '0.2.1', cluster: null, roles: [] }), '0.2');
});

test('what runs another release, or never said which, is named and stands in the way', () => {
  const roles = [role('h1', '0.2.0'), role('h2', '0.1.9'), role('h3', null)];
  const said = refusal({ version: '0.2.1', cluster: '0.1', roles });
  assert.equal(said, 'Not everything runs release 0.2: host h2 (0.1.9), host h3 (unknown).');
  const many = Array.from({ length: 30 }, (_, n) => role(`h${n}`, null));
  assert.match(refusal({ version: '0.2.1', cluster: '0.1', roles: many }), / and 20 more\.$/);
});

test('no release is skipped', () => {
  const roles = [role('h1', '0.3.0')];
  assert.match(
    refusal({ version: '0.3.0', cluster: '0.1', roles }),
    /has release 0\.1, and the leader is of version 0\.3\.0/,
  );
  assert.match(refusal({ version: '0.1.0', cluster: '0.2', roles }), /has release 0\.2/);
});
