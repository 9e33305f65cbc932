/** A tie of a VM to a host is refused, or somebody signs for it: then it is listed until it has ended. */
import assert from 'node:assert/strict';
import type { Tie } from '../../src/api/ties.ts';
import type { Cluster, Event } from '../../src/api/views.ts';
import { type Case, deleteVms, gp, gpJson, until, untilVm } from './case.ts';

const CREATE = ['vm', 'create', 't1', '--image', 'tiny', '--memory', '96M', '--pin', 'h2'] as const;
/** Long enough to see the debt before it is due, also on a busy machine, in ms. */
const UNTIL_DUE_MS = 30_000;

const pinned: Case = {
  name: 'a pinned VM is refused; signed for, it is a debt with its cost, which falls due and ends with the VM',
  async run(cluster, say) {
    const { client } = cluster;
    const ties = (): Promise<readonly Tie[]> => gpJson(cluster, ['ties']);
    const metric = async (name: string): Promise<string | undefined> => {
      const text = await client.call(client.http.GET('/metrics', { parseAs: 'text' }));
      return new RegExp(`^groundplane_${name} (.*)$`, 'm').exec(String(text))?.[1];
    };

    const { stderr } = await gp(cluster, CREATE, 5);
    assert.match(stderr, /t1 is pinned to h2/);
    assert.match(stderr, /Nothing was created\..*--accept --owner WHO --reason WHY --until DATE/s);
    assert.deepEqual(await ties(), []);

    const dueMs = Date.now() + UNTIL_DUE_MS;
    const date = new Date(dueMs).toISOString();
    await gp(cluster, [...CREATE, '--accept', '--owner', 'ann', '--reason', 'a licence', '--until', date]);
    await untilVm(cluster, 't1', { verdict: 'running', host: 'h2' });
    const cost = await until('the cost is known', async () => {
      const [tie] = await ties();
      return tie?.costs.undrainable.includes('h2') === true ? tie : undefined;
    });
    assert.deepEqual([cost.kind, cost.owner, cost.costs.vms], ['pin', 'ann', ['t1']]);
    const shown = await gp(cluster, ['ties']);
    assert.match(shown.stdout, /debt-[0-9a-f]{12} +vm t1 +t1 is pinned to h2 +ann /);

    const due = await until('the debt is due', async () => {
      const events = await gpJson<readonly Event[]>(cluster, ['events', '--kind', 'debt-due']);
      return events.find(({ message }) => message.includes(cost.debt ?? '-'));
    });
    say(`the debt was said to be due ${Date.parse(due.at) - dueMs} ms after its date`);
    // The pin, and the host that cannot be drained because of it.
    assert.deepEqual(
      (await ties()).map(({ kind, isDue }) => [kind, isDue]),
      [
        ['pin', true],
        ['room', true],
      ],
    );
    assert.equal(await metric('debts_due'), '2');
    const { alarms } = await gpJson<Cluster>(cluster, ['cluster', 'show']);
    assert.ok(alarms.some(({ kind, about }) => kind === 'debt-due' && about === cost.debt));

    await deleteVms(cluster, ['t1']);
    await until('the debt is gone', async () => ((await ties()).length === 0 ? true : undefined));
    assert.equal(await metric('debts'), '0');
  },
};

export const ties: readonly Case[] = [pinned];
