import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCommand } from './roll-command.ts';

const asked = (host: string) => ({
  ...{
    command: 'echo {host} {address} $GP_HOST $GP_ROLL',
    host,
    address: '10.0.0.1',
    roll: 'roll-000000000001',
    deadlineMs: 10_000,
  },
  ...{ isRepeated: false, signal: new AbortController().signal, env: { PATH: process.env['PATH'] }, cwd: '/' },
});

test('a command names its host, and what is no name of a host comes into none', async () => {
  const { succeeded, message } = await runCommand(asked('h1'));
  assert.equal(succeeded, true);
  assert.match(message, /h1 10\.0\.0\.1 h1 roll-000000000001$/);
  for (const host of ['h1; echo done', '$(echo h1)', '', 'h1\nh2'])
    await assert.rejects(runCommand(asked(host)), { code: 'bad-input' }, host);
});
