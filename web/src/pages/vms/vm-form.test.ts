import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCommand, createRequest, labelsOf, NEW_VM, patchCommand, patchRequest, pinChoices } from './vm-form.ts';

const FORM = {
  ...NEW_VM,
  name: 'db1',
  image: 'debian',
  network: 'lan',
  memoryMib: '2048',
  diskGib: '20',
  labels: 'tier=db',
};

test('what is empty is left to the image', () => {
  assert.deepEqual(createRequest({ ...NEW_VM, name: 'web1', image: 'tiny' }), {
    name: 'web1',
    image: 'tiny',
    start: true,
  });
});

test('request and command say the same', () => {
  assert.deepEqual(createRequest(FORM), {
    ...{ name: 'db1', start: true, image: 'debian', networks: ['lan'], memoryBytes: 2 ** 31 },
    ...{ disks: [{ image: 'debian', sizeBytes: 20 * 2 ** 30 }], labels: { tier: 'db' } },
  });
  const command =
    'gp vm create db1 --image debian --network lan --memory 2G --disk image=debian,size=20G --label tier=db';
  assert.equal(createCommand(FORM), command);
  assert.match(createCommand({ ...FORM, isStarted: false }), / --no-start$/);
  assert.match(createCommand({ ...FORM, pin: 'h1' }), / --pin h1$/);
  assert.equal(createRequest({ ...FORM, pin: 'h1' }).pin, 'h1');
});

test('labels are words with or without a value', () => {
  assert.deepEqual(labelsOf(' tier=db, canary  a=b=c'), { tier: 'db', canary: '', a: 'b=c' });
});

test('a host that is gone can stay chosen', () => {
  assert.deepEqual(pinChoices('h9', ['h1', 'h2']), ['h9', 'h1', 'h2']);
  assert.deepEqual([pinChoices('', ['h1']), pinChoices('h1', ['h1'])], [['h1'], ['h1']]);
});

test('only what differs is changed', () => {
  const before = {
    vcpus: '1',
    memoryMib: '512',
    labels: 'a=b',
    antiAffinity: 'web',
    restartPolicy: 'always',
    pin: 'h1',
  };
  assert.deepEqual(patchRequest(before, before), {});
  const patch = patchRequest(before, { ...before, memoryMib: '1024', labels: '', antiAffinity: '' });
  assert.deepEqual(patch, { memoryBytes: 2 ** 30, labels: {}, antiAffinity: null });
  assert.equal(patchCommand('web1', patch), 'gp vm set web1 --memory 1G --no-labels --no-anti-affinity');
  assert.equal(patchCommand('web1', patchRequest(before, { ...before, pin: 'h2' })), 'gp vm set web1 --pin h2');
  assert.equal(patchCommand('web1', patchRequest(before, { ...before, pin: '' })), 'gp vm set web1 --no-pin');
});
