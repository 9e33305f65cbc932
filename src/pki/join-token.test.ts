import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { createAuthority } from './authority.ts';
import {
  createApiToken,
  createJoinToken,
  isApiToken,
  parseJoinToken,
  tokenMatches,
  tokenSha256,
} from './join-token.ts';
import { certificateFingerprint } from './tls.ts';

test('an API token is recognised and matches only its own hash', () => {
  const { token, tokenSha256: stored } = createApiToken();
  assert.match(token, /^gp_api_[\w-]{43}$/);
  assert(isApiToken(token));
  assert(!isApiToken(`${token}x`));
  assert.equal(tokenSha256(token), stored);
  assert(tokenMatches(token, stored));
  assert(!tokenMatches(createApiToken().token, stored));
  assert(!tokenMatches(stored, stored));
  assert(!tokenMatches(token, ''));
});

test('a join token carries the fingerprint of the authority and a secret of its own', async () => {
  const authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const { token, tokenSha256: stored } = createJoinToken(authority.certPem);
  const parsed = parseJoinToken(` ${token}\n`);
  assert.equal(parsed.caFingerprint, certificateFingerprint(authority.certPem));
  assert(tokenMatches(parsed.secret, stored));
  for (const broken of [
    '',
    token.slice(0, -1),
    `${token}A`,
    token.replace('gp_join_', 'gp_api_'),
    token.replace('.', ''),
  ]) {
    assert.throws(
      () => parseJoinToken(broken),
      // The secret part must not travel into logs with the error.
      (error) => error instanceof CodedError && error.code === 'bad-input' && !error.message.includes(parsed.secret),
    );
  }
});
