/** `gp ties`: ties of VMs to hosts, debts that were signed for, and the cost of each. */
import type { Command } from 'commander';
import type { Tie } from '../../api/ties.ts';
import { type AcceptOptions, signatureOf, withSignature } from '../accept.ts';
import type { Io } from '../io.ts';
import type { Presentation } from '../session.ts';
import { action } from './common.ts';

const TIE_TABLE: Presentation<Tie> = {
  header: ['DEBT', 'ABOUT', 'WHAT', 'OWNER', 'SINCE', 'UNTIL', 'CANNOT BE DRAINED', 'CANNOT BE LOST', 'VMS'],
  row: ({ debt, about, what, owner, since, until, isDue, costs }, colours) => [
    debt ?? '-',
    `${about.kind} ${about.name}`,
    what,
    owner ?? colours.red('nobody'),
    since?.slice(0, 10) ?? '-',
    until === null ? '-' : isDue ? colours.red(`${until.slice(0, 10)}, due`) : until.slice(0, 10),
    costs.undrainable.join(', ') || '-',
    costs.unlosable.join(', ') || '-',
    costs.vms.join(', ') || '-',
  ],
  name: ({ debt, about }) => debt ?? `${about.kind} ${about.name}`,
};

/** Adds the command named in the module's comment. */
export function addTieCommands(program: Command, io: Io): void {
  const ties = program.command('ties').description('show ties of VMs to hosts, and the debts that were signed for');
  ties
    .command('list', { isDefault: true })
    .description('list ties and debts, and what each costs now')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/ties', { signal: io.signal }), TIE_TABLE);
      }),
    );
  withSignature(
    ties.command('renew').description('sign a debt anew').argument('<debt>', 'id, as gp ties shows it'),
  ).action(
    action(io, async (session, debt: string, options: AcceptOptions) => {
      const client = await session.client();
      const request = { params: { path: { debt } }, body: signatureOf(options) };
      const renewed = await client.call(client.http.POST('/v1/ties/{debt}/renew', request));
      await session.printOne(renewed, TIE_TABLE, () => `${debt} renewed\n`);
    }),
  );
}
