/** The work on one host of an upgrade by rolls, when people end `gp`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiClient } from '../../client/client.ts';
import type { CommandRun } from '../maintenance/roll-command.ts';
import type { Session } from '../session.ts';
import { hostWork, type UpgradeRun } from './upgrade-run.ts';

const RUN: UpgradeRun = {
  ...{ to: '0.2.0', command: 'true', package: 'groundplane=0.2.0', deadlineMs: 20_000 },
  ...{ times: { windows: [], freezes: [] }, drain: {} },
};
const addresses = { control: '10.0.0.7', storage: '10.1.0.7', overlay: '10.2.0.7' };

interface Wanted {
  /** So often the host is seen with the old version first. */
  readonly looksUntilBack: number;
  /** How often Ctrl-C was pressed. */
  readonly presses: number;
  readonly deadlineMs?: number;
}

function work({ looksUntilBack, presses, deadlineMs = 20_000 }: Wanted) {
  let looks = 0;
  const hosts = () => {
    const agent = ++looks > looksUntilBack ? '0.2.0' : '0.1.0';
    return [{ name: 'h7', agent: 'alive', addresses, release: { agent, qemu: '7.2.22' } }];
  };
  const control = { name: 'c5', version: '0.1.0', leader: true, state: 'alive', address: '10.0.0.5' };
  const client = {
    http: { GET: async () => ({ data: { release: '0.1' } }) },
    call: async (work: Promise<{ data: unknown }>) => (await work).data,
    list: async (path: string) => {
      if (path === '/v1/hosts') return hosts();
      return path === '/v1/control-nodes' ? [control] : [];
    },
  } as unknown as ApiClient;
  const pressed = (count: number) => (presses >= count ? AbortSignal.abort() : new AbortController().signal);
  const io = { signal: pressed(1), killSignal: pressed(2) };
  const session = { io, say: () => undefined } as unknown as Session;
  const asked: CommandRun = {
    ...{ command: RUN.command, host: 'h7', address: addresses.control, roll: 'roll-000000000001', deadlineMs: 20_000 },
    ...{ isRepeated: false, signal: io.killSignal, env: { PATH: process.env['PATH'] }, cwd: '/' },
  };
  return hostWork(session, client, { ...RUN, deadlineMs })(asked);
}

test('after the first Ctrl-C a host that was begun with is waited for, and is not reported as failed', async () => {
  assert.equal((await work({ looksUntilBack: 1, presses: 1 })).succeeded, true);
});

test('after the second Ctrl-C it is not waited for', async () => {
  await assert.rejects(work({ looksUntilBack: 1, presses: 2 }));
});

test('a host that does not come back has failed', async () => {
  const { succeeded, message } = await work({ looksUntilBack: Number.POSITIVE_INFINITY, presses: 0, deadlineMs: 1 });
  assert.equal(succeeded, false);
  assert.match(message, /h7 is not back: host answers \(0\.1\.0\)/);
});
