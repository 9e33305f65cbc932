import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDiskId } from '../base/ids.ts';
import { encodeDeviceIdentification } from '../wire/scsi/inquiry.ts';
import { unitUuid, wwnOf } from './unit-identity.ts';

const DISK = parseDiskId('disk-000000000001');

test('a disk’s UUID and worldwide name follow from its id, for ever', () => {
  assert.equal(unitUuid(DISK), unitUuid(DISK));
  assert.match(unitUuid(DISK), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.match(wwnOf(DISK), /^wwn-0x3[0-9a-f]{15}$/);
  assert.notEqual(wwnOf(DISK), wwnOf(parseDiskId('disk-000000000002')));
});

test('the worldwide name is the one that the target tells guests', () => {
  const page = encodeDeviceIdentification({ uuid: unitUuid(DISK), targetName: 'iqn.test:t' });
  assert.equal(wwnOf(DISK), `wwn-0x${Buffer.from(page.slice(8, 16)).toString('hex')}`);
});
