import assert from 'node:assert/strict';
import { test } from 'node:test';
import { releaseNumber, sameRelease } from './release.ts';

const qemu = (version: string | null): number => releaseNumber({ agent: '0.1.0', qemu: version });

test('releases are in the order of the QEMU versions, part by part', () => {
  const inOrder = ['4.2', '7.2.0', '7.2.9', '7.2.22', '7.10.1', '8.0', '8.0.1', '10.0.0'].map(qemu);
  assert.deepEqual(
    inOrder.toSorted((a, b) => a - b),
    inOrder,
  );
  assert.equal(new Set(inOrder).size, inOrder.length);
  assert.equal(qemu('8.0'), qemu('8.0.0'));
  assert.ok(inOrder.every(Number.isSafeInteger));
});

test('what is no version is not known, and the agent says nothing about guests', () => {
  for (const version of [null, '', 'unknown', '7', 'v7.2.0', '12345.1']) assert.equal(qemu(version), 0);
  assert.equal(releaseNumber(undefined), 0);
  assert.equal(releaseNumber(null), 0);
  assert.equal(releaseNumber({ agent: '9.0.0', qemu: '7.2.0' }), qemu('7.2.0'));
});

test('two releases are the same where both versions are', () => {
  const release = { agent: '0.1.0', qemu: '7.2.0' };
  assert.ok(sameRelease(release, { ...release }));
  assert.ok(sameRelease(null, null));
  assert.ok(!sameRelease(release, { ...release, qemu: '7.2.1' }));
  assert.ok(!sameRelease(release, { ...release, agent: '0.2.0' }));
  assert.ok(!sameRelease(null, { agent: '0.1.0', qemu: null }));
});
