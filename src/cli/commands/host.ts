/** `gp host`: hosts, their racks, whether they take VMs, and their removal. */
import { type Command, Option } from 'commander';
import type { HostLoss } from '../../api/loss-views.ts';
import type { Host } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { Io } from '../io.ts';
import { present } from '../session.ts';
import { formatFields } from '../table.ts';
import { formatBytes, formatDuration } from '../units.ts';
import { action, nameArgument } from './common.ts';
import { addMaintenanceCommands } from './maintenance.ts';
import { HOST_TABLE } from './presentations.ts';

const AGENT_STATES = ['alive', 'dead'] as const satisfies readonly Host['agent'][];

interface HostListOptions {
  readonly agent?: Host['agent'];
  readonly cordoned?: true;
  readonly rack?: string;
}

interface HostSetOptions {
  /** False if --no-rack is given. */
  readonly rack?: string | false;
  readonly ifRevision?: string;
}

/** Adds `gp host` and its verbs. */
export function addHostCommands(program: Command, io: Io): void {
  const host = program.command('host').description('hosts');
  addMaintenanceCommands(program, host, io);
  host
    .command('list')
    .description('list hosts')
    .addOption(new Option('--agent <state>', 'only those whose agent is alive or dead').choices(AGENT_STATES))
    .option('--cordoned', 'only those on which no VM is placed')
    .option('--rack <rack>', 'only those of this rack', nameArgument)
    .action(
      action(io, async (session, { agent, cordoned, rack }: HostListOptions) => {
        const client = await session.client();
        const query = present({ agent, cordoned, rack });
        await session.printList(await client.list('/v1/hosts', { params: { query }, signal: io.signal }), HOST_TABLE);
      }),
    );
  host
    .command('show')
    .description('show a host')
    .argument('<host>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const shown = await client.call(client.http.GET('/v1/hosts/{host}', { params: { path: { host: name } } }));
        await session.printOne(shown, HOST_TABLE, describeHost);
      }),
    );
  addSet(host, io);
  for (const [verb, cordoned] of [
    ['cordon', true],
    ['uncordon', false],
  ] as const) {
    host
      .command(verb)
      .description(cordoned ? 'place no VM on a host any more' : 'place VMs on a host again')
      .argument('<host>', 'name', nameArgument)
      .action(
        action(io, async (session, name: string) => {
          const client = await session.client();
          const request = { params: { path: { host: name } }, body: { cordoned } };
          const changed = await client.call(client.http.PATCH('/v1/hosts/{host}', request));
          await session.printOne(changed, HOST_TABLE, () => `${name} ${verb}ed\n`);
        }),
      );
  }
  host
    .command('remove')
    .description('take a cordoned host that no VM is on out of the cluster, or give up one that is gone for good')
    .argument('<host>', 'name', nameArgument)
    .option('--lost', 'its machine is gone for good: its VMs are fenced, and start elsewhere from their disks')
    .option('--yes', 'what happens was read; without it, it is named and nothing is changed')
    .action(
      action(io, async (session, name: string, flags: { readonly lost?: true; readonly yes?: true }) => {
        const client = await session.client();
        const query = present({ lost: flags.lost, confirmed: flags.yes });
        const loss = await client.call(
          client.http.DELETE('/v1/hosts/{host}', { params: { path: { host: name }, query } }),
        );
        await session.printOne(loss, { name: ({ host: removed }) => removed }, describeLoss);
      }),
    );
}

function describeLoss({ host, removed, vmCount, vms }: HostLoss): string {
  if (removed) return `${host} removed\n`;
  const more = vmCount - vms.length;
  return [
    `${host} is declared lost. It is removed once what was there is fenced (gp host show ${host} says what that waits for):`,
    ...vms.map(({ vm, what }) => `  ${vm}: ${what}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    '',
  ].join('\n');
}

function addSet(host: Command, io: Io): void {
  host
    .command('set')
    .description('say in which rack a host is')
    .argument('<host>', 'name', nameArgument)
    .option('--rack <rack>', 'hosts of one rack may fail together', nameArgument)
    .option('--no-rack', 'it is a rack of its own')
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, { rack, ifRevision }: HostSetOptions) => {
        if (rack === undefined)
          throw new CodedError('bad-input', 'The command names no change.', {
            advice: 'Use --rack or --no-rack.',
          });
        const client = await session.client();
        const params = { path: { host: name }, header: present({ 'If-Match': ifRevision }) };
        const body = { rack: rack === false ? null : rack };
        const changed = await client.call(client.http.PATCH('/v1/hosts/{host}', { params, body }));
        await session.printOne(changed, HOST_TABLE, () => `${name} changed\n`);
      }),
    );
}

function describeHost(host: Host): string {
  return formatFields([
    ['Name', host.name],
    ['Rack', host.rack ?? '-'],
    ['Agent', `${host.agent}${host.agentAgeMs === null ? '' : `, seen ${(host.agentAgeMs / 1_000).toFixed(1)} s ago`}`],
    ['Can be drained', answerLines(drainText(host.evacuability.drain), host.evacuability.drain.because)],
    ['Can be lost', answerLines(lossText(host.evacuability.loss), host.evacuability.loss.because)],
    ['Maintenance', maintenanceText(host.maintenance)],
    ['Cordoned', host.cordoned ? 'yes' : 'no'],
    ['Quarantined', host.quarantined ? `yes: ${host.quarantineReason ?? ''}` : 'no'],
    ['Declared lost', lostLines(host.lost)],
    ['VMs', host.vms],
    ['Memory', `${formatBytes(host.memoryUsedBytes)} of ${formatBytes(host.memoryTotalBytes)} used`],
    ['CPU', `${host.vcpus} vCPU, ${host.accelerator}, ${host.cpuModels.join(', ')}`],
    ['Release', `agent ${host.release.agent ?? 'unknown'}, QEMU ${host.release.qemu ?? 'unknown'}`],
    ['Addresses', Object.entries(host.addresses).map(([path, address]) => `${path} ${address}`)],
    ['Joined', host.joinedAt],
    ['Revision', host.revision],
  ]);
}

function lostLines(lost: Host['lost']): string[] {
  if (lost === null) return ['no'];
  return [`since ${lost.since}, by ${lost.by}. Its removal waits for:`, ...lost.waitsFor];
}

function answerLines(answer: string, because: readonly string[]): string[] {
  return because.length === 0 ? [answer] : [`${answer}:`, ...because];
}

function drainText({ possible, foretoldMs, moves, movedBytes }: Host['evacuability']['drain']): string {
  if (foretoldMs === null || moves === null || movedBytes === null) return possible;
  return `${possible}, in about ${formatDuration(foretoldMs)}: ${moves} moves, ${formatBytes(movedBytes)}`;
}

function lossText({ possible, tied }: Host['evacuability']['loss']): string {
  return tied.length === 0 ? possible : `${possible}, with the VMs that are tied to it: ${tied.join(', ')}`;
}

function maintenanceText(maintenance: Host['maintenance']): string {
  if (maintenance === null) return 'no';
  const { drain, isEmpty, since, reason } = maintenance;
  return `${isEmpty ? 'drained' : 'draining'} since ${since} (${drain})${reason === null ? '' : `: ${reason}`}`;
}
