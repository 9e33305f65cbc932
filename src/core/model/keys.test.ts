import assert from 'node:assert/strict';
import { test } from 'node:test';
import { objectOf, PREFIX } from './keys.ts';

test('a key names the object that its record describes; index keys, tokens, the election and the release describe none', () => {
  const kindOf = (prefix: string): string | null => {
    const object = objectOf(`${prefix}a/b`);
    assert.equal(object?.id ?? 'a/b', 'a/b');
    return object?.kind ?? null;
  };
  const kinds = Object.fromEntries(Object.entries(PREFIX).map(([name, prefix]) => [name, kindOf(prefix)]));
  const { vmName, diskPort, sharedDiskName, networkVni, token, election, release, ...objects } = kinds;
  assert.deepEqual([vmName, diskPort, sharedDiskName, networkVni, token, election, release], Array(7).fill(null));
  for (const [name, kind] of Object.entries(objects))
    assert.equal(
      kind,
      name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`),
    );
  for (const key of ['', '/gp/', '/gp/vm', '/other/vm/x', '/gp/later/x']) assert.equal(objectOf(key), null);
});
