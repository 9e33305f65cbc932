import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandFor } from './upgrade-run.ts';

const run = { command: 'scp {package} root@{address}: && ssh {host} install', package: 'gp_1.0.deb' };

test('the command names the machine, its address and the package', () => {
  assert.equal(commandFor({ name: 'h1', address: '10.0.0.1' }, run), 'scp gp_1.0.deb root@10.0.0.1: && ssh h1 install');
  assert.match(commandFor({ name: 'h1', address: 'fd00::1' }, run), /root@fd00::1:/);
});

test('what the shell would take for more than a name or an address comes into no command', () => {
  for (const name of ['h1; reboot', '$(reboot)', '', '-h1', 'h1 h2'])
    assert.throws(() => commandFor({ name, address: '10.0.0.1' }, run), { code: 'bad-input' }, name);
  for (const address of ['', '10.0.0.1; reboot', '`reboot`', 'example.org'])
    assert.throws(() => commandFor({ name: 'h1', address }, run), { code: 'conflict', message: /h1 has no address/ });
});

test('a machine without an address is upgraded by a command that needs none', () => {
  assert.equal(commandFor({ name: 'c1', address: '' }, { ...run, command: 'ssh {host} install' }), 'ssh c1 install');
});
