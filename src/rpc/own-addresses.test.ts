import assert from 'node:assert/strict';
import { test } from 'node:test';
import { demandOwnAddresses } from './own-addresses.ts';

const OWN = ['127.0.0.1', '10.0.0.21', '10.1.0.21'];

test('addresses that are all on interfaces of the machine are taken', () => {
  const addresses = { control: '10.0.0.21', storage: '10.1.0.21', overlay: '10.1.0.21' };
  assert.doesNotThrow(() => demandOwnAddresses(addresses, OWN));
});

test('each address that is on no interface is named, and which there are', () => {
  const addresses = { control: '10.0.0.21', storage: '10.1.0.22', overlay: '0.0.0.0' };
  assert.throws(() => demandOwnAddresses(addresses, OWN), {
    code: 'not-found',
    message:
      'No interface of this machine has the storage address 10.1.0.22, the overlay address 0.0.0.0 of its configuration; ' +
      'they have 127.0.0.1, 10.0.0.21, 10.1.0.21.',
    advice: /the token is still good/,
  });
  assert.throws(() => demandOwnAddresses({ control: '10.0.0.21' }, []), { message: /they have none\./ });
});
