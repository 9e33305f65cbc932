import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration, parseVmId } from '../../base/ids.ts';
import { accountName, initiatorName, parseAccountName, targetName, vmOfInitiator } from './shared-disk-identity.ts';

const VM = parseVmId('vm-0123456789ab');

test('the names of a VM lead back to it, and no other name does', () => {
  assert.equal(initiatorName(VM), 'iqn.2026-11.org.groundplane:vm:vm-0123456789ab');
  assert.equal(targetName(VM), 'iqn.2026-11.org.groundplane:disks:vm-0123456789ab');
  assert.equal(vmOfInitiator(initiatorName(VM)), VM);
  for (const name of [targetName(VM), `${initiatorName(VM)}0`, 'iqn.1993-08.org.debian:01:x', ''])
    assert.equal(vmOfInitiator(name), undefined);
});

test('an account is of one generation', () => {
  const generation = parseGeneration(7);
  assert.equal(accountName(VM, generation), 'vm-0123456789ab:g7');
  assert.deepEqual(parseAccountName('vm-0123456789ab:g7'), { vm: VM, generation });
  for (const name of [
    'vm-0123456789ab:g0',
    'vm-0123456789ab:g07',
    'vm-0123456789ab',
    'x:g1',
    'vm-0123456789ab:g9999999999999999',
  ])
    assert.equal(parseAccountName(name), undefined);
});
