import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { CodedError, ERROR_CODES, type ErrorCode } from '../base/errors.ts';
import { EXIT, exitCodeOf, explain, Interrupted } from './exit-codes.ts';

const document = (name: string): Promise<string> =>
  readFile(new URL(`../../docs/operating/${name}`, import.meta.url), 'utf8');

test('docs/operating/errors.md has every error code with its status, title and exit code', async () => {
  const rows = [...(await document('errors.md')).matchAll(/^\| `([a-z-]+)` \| (.*) \|$/gm)].map(
    (match) => `${match[1]} | ${match[2]}`,
  );
  const expected = (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => {
    const { status, title } = ERROR_CODES[code];
    return `${code} | ${status} | ${title} | ${exitCodeOf(new CodedError(code, ''))}`;
  });
  assert.deepEqual(rows.toSorted(), expected.toSorted());
});

test('docs/operating/cli.md has every exit code', async () => {
  const text = await document('cli.md');
  for (const code of Object.values(EXIT)) assert.match(text, new RegExp(`^\\| ${code} \\| `, 'm'));
});

test('a person reads one message: what happened and what to do; a bug says that it is one', () => {
  assert.equal(
    explain(new CodedError('conflict', 'It is on.', { advice: 'Turn it off.' }), false),
    'gp: It is on. Turn it off.\n',
  );
  assert.equal(explain(new Interrupted('Stopped.'), false), 'gp: Stopped.\n');
  assert.match(explain(new TypeError('x is not a function'), false), /This is a bug; GP_DEBUG=1 shows where\.\n$/);
  const error = new CodedError('failed', 'Outer.', { cause: new Error('inner') });
  assert.match(explain(error, true), /Outer[\s\S]* at [\s\S]*caused by Error: inner/);
  assert.equal(exitCodeOf(new Interrupted('')), 130);
  assert.equal(exitCodeOf('thrown text'), 1);
});
