/** `gp authority`: the cluster's certificate authorities, and their change. */
import type { Command } from 'commander';
import type { Authority } from '../../api/views.ts';
import type { Io } from '../io.ts';
import { formatFields } from '../table.ts';
import { action } from './common.ts';

const named = { name: ({ phase }: Authority): string => phase };

/** Adds the commands. */
export function addAuthorityCommands(program: Command, io: Io): void {
  const authority = program.command('authority').description("the cluster's certificate authority");
  authority
    .command('show')
    .description('show who issues certificates, and the reasons why a change of the authority waits')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printOne(await client.call(client.http.GET('/v1/authority')), named, describe);
      }),
    );
  authority
    .command('rotate')
    .description('change the authority while everything runs: all machines are renewed, one phase after the other')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const begun = await client.call(client.http.POST('/v1/authority/rotation'));
        await session.printOne(begun, named, () => 'begun; `gp authority show` shows the progress\n');
      }),
    );
  authority
    .command('ca')
    .description('print the certificates of all authorities that are trusted, for the CA file of a context')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const shown = await client.call(client.http.GET('/v1/authority'));
        await session.printOne(shown, named, ({ caPem }) => caPem);
      }),
    );
}

function describe({ phase, authorities, waitsFor, waitsForCount }: Authority): string {
  const more = waitsForCount - waitsFor.length;
  return formatFields([
    ['Phase', phase],
    ...authorities.map(({ id, issues, endsAt, machines }): [string, string] => [
      `Authority ${id.slice(0, 12)}`,
      `${issues ? 'issues' : 'is trusted'}, ends ${endsAt}, ${machines} machines`,
    ]),
    ...waitsFor.map((what): [string, string] => ['Waits for', what]),
    ...(more > 0 ? [['Waits for', `${more} more`] as [string, string]] : []),
  ]);
}
