/** `gp unknown`: VMs that no record knows after a restore, and what becomes of them. */
import type { Command } from 'commander';
import type { UnknownVm, UnknownVmDeletion } from '../../api/unknown-views.ts';
import { CodedError } from '../../base/errors.ts';
import type { Io } from '../io.ts';
import { type Presentation, present } from '../session.ts';
import { formatFields } from '../table.ts';
import { demandSuccess, waitForTask } from '../task-wait.ts';
import { formatBytes, parseCount, parseSize } from '../units.ts';
import { action, collect, nameArgument, timeoutOption } from './common.ts';

const UNKNOWN_TABLE: Presentation<UnknownVm> = {
  header: ['VM', 'RUNS ON', 'DISKS', 'SIZE'],
  row: ({ vm, processes, disks }) => [
    vm,
    processes.map(({ host, generation }) => `${host} (${generation})`).join(', ') || '-',
    disks.map(({ disk, node }) => `${disk} on ${node}`).join(', ') || '-',
    formatBytes(disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
  ],
  name: ({ vm }) => vm,
};

interface AdoptOptions {
  readonly name?: string;
  readonly vcpus?: number;
  readonly memory?: number;
  readonly nic?: readonly ReturnType<typeof parseNic>[];
}

/** Adds the commands. */
export function addUnknown(program: Command, io: Io): void {
  const unknown = program.command('unknown').description('VMs that were made after the backup that was restored');
  unknown
    .command('list')
    .description('list VMs that run, or whose disks are there, and that no record knows')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/unknown-vms', { signal: io.signal }), UNKNOWN_TABLE);
      }),
    );
  unknown
    .command('adopt')
    .description('make it a VM of the cluster again; what runs goes on')
    .argument('<vm>', 'id, as `gp unknown list` shows it', nameArgument)
    .option('--name <name>', 'its name, where its QEMU does not tell', nameArgument)
    .option('--vcpus <n>', 'vCPUs, where it does not run', (text: string) => parseCount(text))
    .option('--memory <size>', 'memory, where it does not run', (text: string) => parseSize(text))
    .option(
      '--nic <mac=network[,address]>',
      'the network of a card, and its address there; repeatable',
      collect(parseNic),
    )
    .action(
      action(io, async (session, vm: string, { name, vcpus, memory, nic }: AdoptOptions) => {
        const client = await session.client();
        const nics = nic === undefined ? undefined : [...nic];
        const body = present({ name, vcpus, memoryBytes: memory, nics });
        const params = { path: { unknownVm: vm } };
        const adopted = await client.call(client.http.POST('/v1/unknown-vms/{unknownVm}/adopt', { params, body }));
        await session.printOne(
          adopted,
          { name: (of) => of.name },
          (of) => `${of.name} adopted (gp vm show ${of.name})\n`,
        );
      }),
    );
  unknown
    .command('delete')
    .description('fence it, end it, and delete its disks')
    .argument('<vm>', 'id, as `gp unknown list` shows it', nameArgument)
    .option('--yes', 'what goes was read; without it, it is named and nothing is changed')
    .addOption(timeoutOption())
    .action(
      action(io, async (session, vm: string, { yes, timeout }: { readonly yes?: true; readonly timeout: number }) => {
        const client = await session.client();
        const params = { path: { unknownVm: vm }, query: present({ confirmed: yes }) };
        const deletion = await client.call(client.http.DELETE('/v1/unknown-vms/{unknownVm}', { params }));
        if (deletion.task !== null) {
          const path = { task: deletion.task };
          const task = await client.call(client.http.GET('/v1/tasks/{task}', { params: { path } }));
          demandSuccess(await waitForTask(session, task, timeout));
        }
        await session.printOne(deletion, { name: (of) => of.vm }, describeDeletion);
      }),
    );
}

function describeDeletion({ vm, goes, task }: UnknownVmDeletion): string {
  const done: [string, string][] = task === null ? [['Nothing was changed', 'say --yes']] : [];
  return formatFields([[task === null ? 'Would go' : 'Gone', `${vm}: ${goes}`], ...done]);
}

function parseNic(text: string): { readonly mac: string; readonly network: string; readonly address?: string } {
  const [, mac, network, address] = /^([0-9a-f:]{17})=([a-z0-9-]+)(?:,([0-9.]+))?$/i.exec(text) ?? [];
  if (mac === undefined || network === undefined)
    throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is no card.`, {
      advice: 'Nothing was changed. Write MAC=NETWORK or MAC=NETWORK,ADDRESS.',
    });
  return { mac: mac.toLowerCase(), network, ...(address === undefined ? {} : { address }) };
}
