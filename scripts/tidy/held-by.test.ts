/** Checks that every claim of security.md about attackers names a file and a test that exist. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

interface Claim {
  readonly text: string;
  readonly tests: readonly { readonly file: string; readonly name: string }[];
}

/**
 * The list entries below the heading "Attackers": a claim, then "Tested by", `file` *name of a test*, and more names of
 * the same file after commas.
 */
function claimsOf(document: string): readonly Claim[] {
  const section = document.split(/^(?=## )/m).find((part) => part.startsWith('## Attackers\n')) ?? '';
  return [...section.matchAll(/^- .*(?:\n {2}\S.*)*/gm)].map(([entry]) => {
    const [text = '', list = ''] = entry.slice('- '.length).replaceAll(/\n +/g, ' ').split(' Tested by ');
    let file = '';
    const tests = [...list.matchAll(/`([^`]+)`|\*([^*]+)\*/g)].flatMap(([, path, name]) => {
      file = path ?? file;
      return name === undefined ? [] : [{ file, name }];
    });
    return { text, tests };
  });
}

test('every claim about attackers names a test that exists', () => {
  const claims = claimsOf(readFileSync(join(root, 'docs/operating/security.md'), 'utf8'));
  assert(claims.length > 40, `only ${claims.length} claims were found`);
  for (const { text, tests } of claims) {
    assert(tests.length > 0, `"${text}" names no test`);
    for (const { file, name } of tests) {
      assert(existsSync(join(root, file)), `"${text}" names ${file}, which does not exist`);
      assert(readFileSync(join(root, file), 'utf8').includes(name), `"${text}": ${file} has no test "${name}"`);
    }
  }
});

test('a claim without a test is found, and names continue on the next line', () => {
  const [first, second, third] = claimsOf(
    [
      '## Links\n\n- no claim\n\n## Attackers\n\n- A\n  claim. Tested by `x.ts` *b\n  c*, *d*, `y.ts` *e*.',
      '- Another.\n\n## End\n\n- no claim\n',
    ].join('\n'),
  );
  assert.equal(first?.text, 'A claim.');
  assert.deepEqual(
    first.tests.map(({ file, name }) => `${file} ${name}`),
    ['x.ts b c', 'x.ts d', 'y.ts e'],
  );
  assert.deepEqual(second, { text: 'Another.', tests: [] });
  assert.equal(third, undefined);
});
