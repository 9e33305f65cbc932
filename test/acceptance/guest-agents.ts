/** The agent inside a guest, asked past the host's agent. */
import assert from 'node:assert/strict';
import type { VmGuest } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { type Case, createTiny, deleteVms, gp, gpJson, until, vmOf } from './case.ts';

const DEADLINE_MS = 90_000;

const answers: Case = {
  name: 'what a guest says of itself is shown, with the agent of its host dead, and after its move',
  async run(cluster) {
    await createTiny(cluster, 'ga1', ['--append', 'gp.hostname=chosen']);
    const guest = (): Promise<VmGuest> => gpJson<VmGuest>(cluster, ['vm', 'guest', 'ga1']);
    const answered = async (): Promise<VmGuest | undefined> => {
      const said = await guest();
      return said.agent === 'answers' ? said : undefined;
    };
    const host = present((await vmOf(cluster, 'ga1')).host, 'its host');
    await gp(cluster, ['lab', 'kill-agent', host]);
    const first = await until('the guest answers', answered, { deadlineMs: DEADLINE_MS, seen: guest });
    assert.deepEqual([first.hostname, first.os], ['chosen', 'Groundplane tiny']);
    assert.match(first.kernel ?? '', /^6\./);
    await gp(cluster, ['vm', 'migrate', 'ga1']);
    const { stdout } = await until('it answers where it is now', async () => {
      const shown = await gp(cluster, ['vm', 'show', 'ga1']);
      return shown.stdout.includes('agent answers') ? shown : undefined;
    });
    assert.match(stdout, /Guest:\s+agent answers: chosen, Groundplane tiny, kernel 6\./);
    assert.notEqual((await vmOf(cluster, 'ga1')).host, host);
    await gp(cluster, ['lab', 'restore', host]);
    await deleteVms(cluster, ['ga1']);
  },
};

export const guestAgents: readonly Case[] = [answers];
