import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hostnameOf, interfacesOf, osOf, outcomeOf, pidOf } from './answers.ts';

test('what the agent of Debian 12 says', () => {
  const os = {
    name: 'Debian GNU/Linux',
    'pretty-name': 'Debian GNU/Linux 12 (bookworm)',
    'kernel-release': '6.1.0-41',
  };
  assert.deepEqual(osOf(os), { os: 'Debian GNU/Linux 12 (bookworm)', kernel: '6.1.0-41' });
  assert.deepEqual(osOf({ name: 'FreeBSD', version: '14.1' }), { os: 'FreeBSD 14.1', kernel: null });
  assert.equal(hostnameOf({ 'host-name': 'sql1' }), 'sql1');
  const loopback = {
    name: 'lo',
    'ip-addresses': [{ 'ip-address-type': 'ipv4', 'ip-address': '127.0.0.1', prefix: 8 }],
  };
  const card = {
    name: 'eth0',
    'hardware-address': '02:00:00:00:00:0A',
    'ip-addresses': [
      { 'ip-address-type': 'ipv4', 'ip-address': '10.9.0.1', prefix: 24 },
      { 'ip-address-type': 'ipv6', 'ip-address': 'fe80::1', prefix: 64 },
      { 'ip-address': '10.9.0.2; reboot', prefix: 24 },
    ],
  };
  assert.deepEqual(interfacesOf([loopback, card, { name: 7 }]), [
    { name: 'eth0', mac: '02:00:00:00:00:0a', addresses: ['10.9.0.1/24', 'fe80::1/64'] },
  ]);
  assert.equal(pidOf({ pid: 812 }), 812);
});

test('how a command ended, and the last line that it said', () => {
  const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
  assert.deepEqual(outcomeOf({ exited: false }), { exited: false });
  assert.deepEqual(outcomeOf({ exited: true, exitcode: 0 }), { exited: true, exitCode: 0, output: '' });
  assert.deepEqual(outcomeOf({ exited: true, signal: 9 }), { exited: true, exitCode: null, output: '' });
  for (const said of ['x', 'ab', 'starting\nnot ready\n', `${'long '.repeat(2_000)}\nnot ready`]) {
    const outcome = outcomeOf({ exited: true, exitcode: 3, 'out-data': base64(said) });
    assert.equal(outcome?.exited === true ? outcome.output : null, said.trim().split('\n').at(-1));
  }
  const steering = outcomeOf({ exited: true, exitcode: 1, 'err-data': base64('\x1b[2Jgone') });
  assert.deepEqual(steering, { exited: true, exitCode: 1, output: '\\u{1b}[2Jgone' });
});

test('whatever a guest says is bounded and steers no terminal', () => {
  const many = Array.from({ length: 5_000 }, (_, index) => ({
    name: `\x1b]0;${index}`,
    'ip-addresses': Array.from({ length: 500 }, () => ({ 'ip-address': '10.0.0.1', prefix: 24 })),
  }));
  const found = interfacesOf(many);
  assert.equal(found.length, 32);
  assert.ok(found.every(({ name, addresses }) => name.startsWith('\\u{1b}') && addresses.length === 32));
  assert.equal(hostnameOf({ 'host-name': 'x'.repeat(100_000) })?.length, 200);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      osOf(value);
      hostnameOf(value);
      interfacesOf(value);
      pidOf(value);
      outcomeOf(value);
      outcomeOf({ exited: true, exitcode: value, 'out-data': value });
    }),
    { seed: 3 },
  );
  for (const value of [null, [], {}, { pid: '7' }, { pid: -1 }, { exited: 'yes' }]) {
    assert.equal(pidOf(value), null);
    assert.equal(outcomeOf(value), null);
  }
});
