/** Checks that every "held by" entry of a document names a file and a test that exist. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

interface Claim {
  readonly row: string;
  readonly held: readonly { readonly file: string; readonly name: string }[];
}

/**
 * The rows of the tables whose last column is "held by": `file` *name of a test*, and more names of the same file after
 * commas.
 */
function claimsOf(document: string): readonly Claim[] {
  const claims: Claim[] = [];
  let isHeld = false;
  for (const line of document.split('\n')) {
    if (!line.startsWith('|')) isHeld = false;
    else if (/\| held by \|$/.test(line)) isHeld = true;
    else if (isHeld && !/^[|-]+$/.test(line)) {
      const [row = '', what = '', cell = ''] = [line, ...line.split('|').slice(2, 4)];
      let file = '';
      const held = [...cell.matchAll(/`([^`]+)`|\*([^*]+)\*/g)].flatMap(([, path, name]) => {
        file = path ?? file;
        return name === undefined ? [] : [{ file, name }];
      });
      claims.push({ row: what.trim() === '' ? row : what.trim(), held });
    }
  }
  return claims;
}

test('every sentence about attackers is held by a test that exists', () => {
  const claims = claimsOf(readFileSync(join(root, 'docs/operating/security.md'), 'utf8'));
  assert(claims.length > 40, `only ${claims.length} claims were found`);
  for (const { row, held } of claims) {
    assert(held.length > 0, `"${row}" names no test`);
    for (const { file, name } of held) {
      assert(existsSync(join(root, file)), `"${row}" names ${file}, which does not exist`);
      assert(readFileSync(join(root, file), 'utf8').includes(name), `"${row}": ${file} has no test "${name}"`);
    }
  }
});

test('a claim without a test, or with one that does not exist, is found', () => {
  const [first, second] = claimsOf(
    '| | | held by |\n|---|---|---|\n| not | a | `x.ts` *b*, *c*, `y.ts` *d* |\n| not | e | |',
  );
  assert.deepEqual(
    first?.held.map(({ file, name }) => `${file} ${name}`),
    ['x.ts b', 'x.ts c', 'y.ts d'],
  );
  assert.deepEqual(second, { row: 'e', held: [] });
});
