import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fillIn, withPackage } from './machine-command.ts';

const COMMAND = 'scp {package} root@{address}: && ssh {host} install';

test('the command names the machine, its address and the package', () => {
  const words = { host: 'h1', package: 'gp_1.0.deb' };
  assert.equal(fillIn(COMMAND, { ...words, address: '10.0.0.1' }), 'scp gp_1.0.deb root@10.0.0.1: && ssh h1 install');
  assert.match(fillIn(COMMAND, { ...words, address: 'fd00::1' }), /root@fd00::1:/);
  assert.equal(fillIn('echo {package}', { host: 'h1', address: null }), 'echo {package}');
});

test('what the shell would take for more than a name or an address comes into no command', () => {
  for (const host of ['h1; reboot', '$(reboot)', '', '-h1', 'h1 h2'])
    assert.throws(() => fillIn(COMMAND, { host, address: '10.0.0.1' }), { code: 'bad-input' }, host);
  for (const address of [null, '', '10.0.0.1; reboot', '`reboot`', 'example.org'])
    assert.throws(() => fillIn(COMMAND, { host: 'h1', address }), { code: 'conflict', message: /h1 has no address/ });
});

test('a machine without an address takes a command that needs none', () => {
  assert.equal(fillIn('ssh {host} install', { host: 'c1', address: null }), 'ssh c1 install');
});

test('a package stands in the command of a roll as people gave it', () => {
  assert.equal(withPackage(COMMAND, "gp_$$1$&$'.deb"), "scp gp_$$1$&$'.deb root@{address}: && ssh {host} install");
});
