import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { makeCpio } from './cpio.ts';

test('an archive as the newc format describes it', () => {
  const archive = makeCpio([
    { kind: 'directory', path: 'dev', mode: 0o755 },
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, content: Buffer.from('#!/bin/sh\n') },
    { kind: 'symlink', path: 'sh', target: 'busybox' },
  ]).toString('latin1');
  assert.equal(archive.length % 512, 0);
  assert.ok(archive.startsWith(`070701${'00000001'}${'000041ed'}${'00000000'.repeat(2)}${'00000002'}`));
  const record = (name: string) => {
    const at = archive.indexOf(`${name}\0`) - 110;
    assert.equal(at % 4, 0, 'records start on four bytes');
    const field = (index: number) => Number.parseInt(archive.slice(at + 6 + index * 8, at + 14 + index * 8), 16);
    const dataAt = Math.ceil((at + 110 + field(11)) / 4) * 4;
    return { mode: field(1), device: [field(9), field(10)], data: archive.slice(dataAt, dataAt + field(6)) };
  };
  assert.deepEqual(record('dev/console'), { mode: 0o020600, device: [5, 1], data: '' });
  assert.deepEqual(record('init'), { mode: 0o100755, device: [0, 0], data: '#!/bin/sh\n' });
  assert.deepEqual(record('sh'), { mode: 0o120777, device: [0, 0], data: 'busybox' });
  assert.ok(archive.includes('TRAILER!!!\0'));
});

test('cpio reads it, where there is one', (context) => {
  const input = makeCpio([
    { kind: 'directory', path: 'a', mode: 0o700 },
    { kind: 'file', path: 'a/b', mode: 0o640, content: Buffer.from('x') },
  ]);
  try {
    const listed = execFileSync('cpio', ['--list', '--verbose', '--quiet', '--numeric-uid-gid'], {
      input,
      encoding: 'utf8',
    });
    assert.match(listed, /^drwx------ .* a\n-rw-r----- .* 1 .* a\/b\n$/);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') context.skip('cpio is not installed');
    else throw error;
  }
});

test('a path twice, or from the root, is a bug', () => {
  const file = { kind: 'file', path: 'a', mode: 0o644, content: new Uint8Array(0) } as const;
  assert.throws(() => makeCpio([file, file]), /once/);
  assert.throws(() => makeCpio([{ ...file, path: '/a' }]), /relative/);
});
