import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  commonName,
  dnsName,
  type PeerIdentity,
  parseCommonName,
  parseDnsName,
  qemuAuthzName,
  sameIdentity,
} from './identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseStorageName, parseVmId } from './ids.ts';

const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/);
const identity: fc.Arbitrary<PeerIdentity> = fc.oneof(
  name.map((text) => ({ kind: 'control' as const, name: parseControlName(text) })),
  name.map((text) => ({ kind: 'host' as const, name: parseHostName(text) })),
  name.map((text) => ({ kind: 'storage' as const, name: parseStorageName(text) })),
  fc.record(
    {
      kind: fc.constant('incarnation' as const),
      vmId: fc.stringMatching(/^vm-[0-9a-f]{12}$/).map(parseVmId),
      generation: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(parseGeneration),
    },
    { noNullPrototype: true },
  ),
);

test('the documented forms', () => {
  const run: PeerIdentity = { kind: 'incarnation', vmId: parseVmId('vm-0123456789ab'), generation: parseGeneration(7) };
  assert.equal(commonName(run), 'incarnation:vm-0123456789ab:7');
  assert.equal(dnsName(run), 'g7.vm-0123456789ab.vm.groundplane');
  assert.equal(qemuAuthzName(run), 'CN=incarnation:vm-0123456789ab:7');
  const control: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
  assert.equal(commonName(control), 'control:c1');
  assert.equal(dnsName(control), 'c1.control.groundplane');
  assert.equal(commonName({ kind: 'authority', clusterName: 'lab' }), 'authority:lab');
  assert.deepEqual(parseCommonName('authority:lab'), { kind: 'authority', clusterName: 'lab' });
});

test('both names lead back to the identity, and fit into a certificate', () => {
  fc.assert(
    fc.property(identity, (value) => {
      assert.deepEqual(parseCommonName(commonName(value)), value);
      assert.deepEqual(parseDnsName(dnsName(value)), value);
      assert(commonName(value).length <= 64);
      // RFC 4514 would escape these; the string that QEMU compares would then differ.
      assert.doesNotMatch(commonName(value), /[,+"\\<>;=#\s]/);
    }),
    { seed: 2 },
  );
});

test('different identities have different names', () => {
  fc.assert(
    fc.property(identity, identity, (a, b) => {
      assert.equal(sameIdentity(a, b), JSON.stringify(a) === JSON.stringify(b));
      assert.equal(dnsName(a) === dnsName(b), sameIdentity(a, b));
    }),
    { seed: 3 },
  );
});

test('what is not exactly one of our names is no identity', () => {
  const run = 'incarnation:vm-0123456789ab';
  for (const text of [
    '',
    'c1',
    'control:',
    'control:C1',
    'control:c1:1',
    'root:c1',
    run,
    `${run}:`,
    `${run}:07`,
    `${run}:0`,
    `${run}:1e3`,
    `${run}:7:8`,
    'incarnation:disk-0123456789ab:7',
    `${run}:99999999999999999`,
  ]) {
    assert.equal(parseCommonName(text), undefined, text);
  }
  const vm = 'vm-0123456789ab.vm.groundplane';
  for (const text of [
    '',
    'groundplane',
    'c1.groundplane',
    'c1.control.example',
    'x.c1.control.groundplane',
    'lab.authority.groundplane',
    vm,
    `7.${vm}`,
    `g07.${vm}`,
    `x.g7.${vm}`,
    'vm-0123456789ab.incarnation.groundplane',
    'c1.control.groundplane.',
  ]) {
    assert.equal(parseDnsName(text), undefined, text);
  }
});
