import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { labLayout } from './layout.ts';
import { checkShape, GATEWAY_ADDRESS, machinesOf } from './shape.ts';

const LARGEST = { hosts: 200, controlNodes: 3, storageNodes: 20 };

test('in the largest cluster every address, MAC and port name is used once, and fits', () => {
  const nics = machinesOf(LARGEST).flatMap((machine) => machine.nics);
  for (const key of ['address', 'mac', 'port'] as const)
    assert.equal(new Set(nics.map((nic) => nic[key])).size, nics.length, key);
  for (const { address, mac, port } of nics) {
    assert.notEqual(address, GATEWAY_ADDRESS);
    assert.match(address, /^10\.7[789](\.([1-9]?\d|1\d\d|2[0-4]\d|25[0-4])){2}$/);
    assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
    // IFNAMSIZ is 16 with the final NUL.
    assert(port.length <= 15);
  }
});

test('a machine keeps its addresses when the cluster grows', () => {
  const small = machinesOf({ hosts: 1, controlNodes: 1, storageNodes: 1 });
  const large = machinesOf(LARGEST);
  for (const machine of small)
    assert.deepEqual(
      large.find(({ name }) => name === machine.name),
      machine,
    );
});

test('impossible shapes and directories are refused', () => {
  const base = { hosts: 3, controlNodes: 1, storageNodes: 1 };
  checkShape(base);
  checkShape(LARGEST);
  const wrong = [
    { hosts: 0 },
    { hosts: 201 },
    { hosts: 1.5 },
    { controlNodes: 2 },
    { storageNodes: 0 },
    { storageNodes: 21 },
  ];
  for (const part of wrong) assert.throws(() => checkShape({ ...base, ...part }), CodedError, JSON.stringify(part));
  assert.throws(() => labLayout(`/tmp/${'x'.repeat(90)}`), /bytes too long/);
  assert.throws(() => labLayout('/run/user/1000/gp'), /under \/run/);
  assert.equal(labLayout('/running').machine('h1').dir, '/running/machines/h1');
});
