import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVmId } from '../../base/ids.ts';
import { networkRecord } from '../../control/testing/records.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { allocateAddress, demandUsableRange, gatewayOf, ipv4ToNumber, numberToIpv4, parseRange } from './addresses.ts';

const VM = parseVmId('vm-0123456789ab');

function withTaken(network: NetworkRecord, addresses: readonly string[]): NetworkRecord {
  const entries = addresses.map((address, index) => [`52:54:00:00:00:${index}`, { address, vm: VM, hostname: 'x' }]);
  return { ...network, reservations: Object.fromEntries(entries) };
}

const range = fc
  .record({ prefixLength: fc.integer({ min: 8, max: 29 }), address: fc.nat(0xffff_ffff) })
  .map(({ prefixLength, address }) => {
    const size = 2 ** (32 - prefixLength);
    return `${numberToIpv4(address - (address % size))}/${prefixLength}`;
  });

test('numbers and texts are the same addresses', () => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), (value) => assert.equal(ipv4ToNumber(numberToIpv4(value)), value)),
    { seed: 1 },
  );
});

test('one spelling per address: anything else is refused', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.-1',
    '01.2.3.4',
    '1..2.3',
    '1.2.3.0x4',
    '1.2.3.1e1',
    ' 1.2.3.4',
  ])
    assert.throws(() => ipv4ToNumber(text), { code: 'bad-input' }, text);
});

test('ranges with host bits, without a usable length, or with more than that are refused', () => {
  for (const cidr of [
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/7',
    '10.0.0.0/30',
    '10.0.0.0/24/8',
    '10.0.0.0/2e1',
    '10.0.0.0/ 24',
  ])
    assert.throws(() => parseRange(cidr), { code: 'bad-input' }, cidr);
  assert.throws(() => parseRange('10.0.0.5/24'), /begins at 10\.0\.0\.0\/24/);
});

test('ranges that guests cannot use are refused, whichever contains the other; their neighbours are not', () => {
  for (const cidr of [
    '0.0.0.0/8',
    '0.1.2.0/24',
    '127.0.0.0/8',
    '127.0.0.0/24',
    '127.255.255.248/29',
    '169.254.0.0/16',
    '169.254.169.248/29',
    '169.0.0.0/8',
    '224.0.0.0/8',
    '239.255.255.0/24',
    '240.0.0.0/8',
    '255.255.255.0/24',
    '255.255.255.248/29',
  ])
    assert.throws(() => demandUsableRange(cidr, parseRange(cidr)), { code: 'bad-input' }, cidr);
  for (const cidr of [
    '1.0.0.0/8',
    '10.0.0.0/8',
    '126.0.0.0/8',
    '128.0.0.0/8',
    '169.253.0.0/16',
    '169.255.0.0/16',
    '172.16.0.0/12',
    '192.168.1.0/29',
    '223.0.0.0/8',
  ])
    demandUsableRange(cidr, parseRange(cidr));
});

test('whatever is given out is in the range, free, and neither network, gateway nor broadcast', () => {
  fc.assert(
    fc.property(range, fc.array(fc.nat(300), { maxLength: 200 }), (cidr, offsets) => {
      const { first, size } = parseRange(cidr);
      const taken = new Set(offsets.map((offset) => numberToIpv4(first + (offset % size))));
      let address: string | null;
      try {
        address = allocateAddress(withTaken(networkRecord('n', { cidr }), [...taken]), null);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'no-capacity');
        return;
      }
      assert.ok(address !== null);
      const offset = ipv4ToNumber(address) - first;
      assert.ok(offset >= 2 && offset < size - 1, `${address} of ${cidr}`);
      assert.ok(!taken.has(address));
      assert.notEqual(address, gatewayOf(parseRange(cidr)));
    }),
    { seed: 2, numRuns: 300 },
  );
});

test('a range is given out to its end, each address once', () => {
  let network = networkRecord('n', { cidr: '10.1.2.8/29' });
  const given: string[] = [];
  for (let count = 0; count < 5; count++) {
    given.push(allocateAddress(network, null) ?? '');
    network = withTaken(network, given);
  }
  assert.deepEqual(given, ['10.1.2.10', '10.1.2.11', '10.1.2.12', '10.1.2.13', '10.1.2.14']);
  assert.throws(() => allocateAddress(network, null), { code: 'no-capacity' });
});

test('an address that is asked for must be free and usable', () => {
  const network = withTaken(networkRecord('n', { cidr: '10.9.0.0/24' }), ['10.9.0.20']);
  assert.equal(allocateAddress(network, '10.9.0.21'), '10.9.0.21');
  assert.equal(allocateAddress(network, '10.9.0.2'), '10.9.0.2');
  assert.throws(() => allocateAddress(network, '10.9.0.20'), { code: 'conflict' });
  for (const wanted of ['10.9.0.0', '10.9.0.1', '10.9.0.255', '10.8.255.255', '10.9.1.0', '10.9.0.020'])
    assert.throws(() => allocateAddress(network, wanted), { code: 'bad-input' }, wanted);
  const without = networkRecord('n', { cidr: null });
  assert.equal(allocateAddress(without, null), null);
  assert.throws(() => allocateAddress(without, '10.9.0.5'), { code: 'bad-input' });
});
