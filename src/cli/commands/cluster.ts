/**
 * `gp network`, `storage`, `control`, `disk`, `task`, `events`, `token`, `join-token`, `cluster`, `context`.
 */

import { type Command, Option } from 'commander';
import { type ApiTokenCreated, type JoinToken, NODE_ROLES } from '../../api/access-views.ts';
import type { StorageLoss } from '../../api/loss-views.ts';
import type { Cluster, Network, StorageNode, Task } from '../../api/views.ts';
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import type { Context } from '../cluster-location.ts';
import { contextFilePath, findContext, useContext } from '../cluster-location.ts';
import type { Io } from '../io.ts';
import { present, type Session } from '../session.ts';
import { formatFields, formatTable } from '../table.ts';
import { cancelTask, demandSuccess, waitForTask } from '../task-wait.ts';
import { formatBytes, parseCount, parseDuration, parseSince } from '../units.ts';
import { addAuthorityCommands } from './authority.ts';
import { addBackup } from './backup.ts';
import { action, collect, nameArgument, timeoutOption } from './common.ts';
import { addHostCommands } from './host.ts';
import { addNodeDrains } from './node-drains.ts';
import {
  ageOf,
  CONTROL_TABLE,
  DISK_TABLE,
  EVENT_TABLE,
  NETWORK_TABLE,
  STORAGE_TABLE,
  TASK_TABLE,
  TOKEN_TABLE,
} from './presentations.ts';
import { addUnknown } from './unknown.ts';
import { addUpgradeCommands } from './upgrade.ts';

/** The number of latest tasks or events that are shown by default. */
const LATEST = 100;

/** Adds the commands named in the module's comment. */
export function addClusterCommands(program: Command, io: Io): void {
  addHostCommands(program, io);
  addNetworks(program, io);
  addNodes(program, io);
  addUi(program, io);
  addUnknown(program, io);
  addTasks(program, io);
  addEvents(program, io);
  addTokens(program, io);
  addJoinTokens(program, io);
  addContext(program, io);
}

interface NetworkOptions {
  readonly cidr?: string;
  readonly dhcp?: true;
  readonly nat?: true;
  readonly metadata?: true;
}

interface NetworkSetOptions {
  readonly metadata?: boolean;
  readonly ifRevision?: string;
}

function addNetworks(program: Command, io: Io): void {
  const network = program.command('network').description('overlay networks');
  network
    .command('create')
    .description('create an overlay network')
    .argument('<name>', 'name', nameArgument)
    .option('--cidr <range>', 'IPv4 range, such as 10.20.0.0/24')
    .option('--dhcp', 'hand out the addresses of the VMs by DHCP')
    .option('--nat', 'let its VMs reach the outside')
    .option('--metadata', 'serve its guests at 169.254.169.254; needs --dhcp')
    .action(
      action(io, async (session, name: string, { cidr, dhcp, nat, metadata }: NetworkOptions) => {
        const client = await session.client();
        const body = present({ name, cidr, dhcp, nat, metadata });
        const created = await client.call(client.http.POST('/v1/networks', { body }));
        await session.printOne(created, NETWORK_TABLE, () => `${name} created\n`);
      }),
    );
  network
    .command('list')
    .description('list networks')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/networks', { signal: io.signal }), NETWORK_TABLE);
      }),
    );
  network
    .command('show')
    .description('show a network')
    .argument('<network>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const params = { path: { network: name } };
        const shown = await client.call(client.http.GET('/v1/networks/{network}', { params }));
        await session.printOne(shown, NETWORK_TABLE, describeNetwork);
      }),
    );
  network
    .command('set')
    .description('change a network’s services for its guests')
    .argument('<network>', 'name', nameArgument)
    .option('--metadata', 'serve its guests at 169.254.169.254; needs DHCP')
    .option('--no-metadata', 'serve them no more')
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, { metadata, ifRevision }: NetworkSetOptions) => {
        if (metadata === undefined) throw new CodedError('bad-input', 'Say --metadata or --no-metadata.');
        const client = await session.client();
        const params = { path: { network: name }, header: present({ 'If-Match': ifRevision }) };
        const request = { params, body: { metadata } };
        const changed = await client.call(client.http.PATCH('/v1/networks/{network}', request));
        await session.printOne(changed, NETWORK_TABLE, () => `${name} changed\n`);
      }),
    );
  network
    .command('delete')
    .description('delete a network that no VM uses')
    .argument('<network>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        await client.call(client.http.DELETE('/v1/networks/{network}', { params: { path: { network: name } } }));
        session.say(`${name} deleted`);
      }),
    );
}

function describeNetwork(network: Network): string {
  return formatFields([
    ['Name', network.name],
    ['VNI', String(network.vni)],
    ['CIDR', network.cidr ?? '-'],
    ['Gateway', network.gateway ?? '-'],
    ['DHCP', network.dhcp ? 'yes' : 'no'],
    ['NAT', network.nat ? 'yes' : 'no'],
    ['Metadata', network.metadata ? 'at 169.254.169.254' : 'no'],
    ['Addresses', network.reservations.map(({ address, mac, vm }) => `${address}  ${mac}  ${vm}`)],
    ['Revision', network.revision],
  ]);
}

function addStorageRemove(storage: Command, io: Io): void {
  storage
    .command('remove')
    .description('remove an empty storage node, or give up one that is gone for good')
    .argument('<node>', 'name', nameArgument)
    .option('--lost', 'it is gone for good, with its disks and the VMs that had them')
    .option(
      '--yes',
      'confirm that the list of losses was read; without this option it is printed and nothing is changed',
    )
    .action(
      action(io, async (session, name: string, flags: { readonly lost?: true; readonly yes?: true }) => {
        const client = await session.client();
        const query = present({ lost: flags.lost, confirmed: flags.yes });
        const params = { path: { node: name }, query };
        const loss = await client.call(client.http.DELETE('/v1/storage-nodes/{node}', { params }));
        const describe = flags.lost === true ? describeLoss : describeRemoved;
        await session.printOne(loss, { name: ({ node }) => node }, describe);
      }),
    );
}

function addUi(program: Command, io: Io): void {
  program
    .command('ui')
    .description('print a link that logs a browser in to the web interface, once')
    .option('--open', 'open it in the desktop’s browser instead')
    .option('--fingerprint', 'print the fingerprint of the server’s certificate instead, to compare in the browser')
    .action(
      action(io, async (session, flags: import('../ui.ts').UiFlags) => {
        const { runUi } = await import('../ui.ts');
        await runUi(session, flags);
      }),
    );
}

function addControlNodes(program: Command, storage: Command, io: Io): void {
  const control = program.command('control').description('control nodes');
  addAuthorityCommands(program, io);
  addNodeDrains({ storage, control }, io);
  control
    .command('remove')
    .description('remove a control node that does not serve, with its member of etcd')
    .argument('<node>', 'control node', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const path = { control: name };
        await client.call(client.http.DELETE('/v1/control-nodes/{control}', { params: { path } }));
        session.say(`${name} is no longer a control node.`);
      }),
    );
  control
    .command('list')
    .description('list control nodes')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/control-nodes', { signal: io.signal }), CONTROL_TABLE);
      }),
    );
}

function addNodes(program: Command, io: Io): void {
  const storage = program.command('storage').description('storage nodes');
  storage
    .command('show')
    .description('show a storage node')
    .argument('<node>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const path = { node: name };
        const shown = await client.call(client.http.GET('/v1/storage-nodes/{node}', { params: { path } }));
        await session.printOne(shown, STORAGE_TABLE, describeStorage);
      }),
    );
  addStorageRemove(storage, io);
  storage
    .command('list')
    .description('list storage nodes')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const nodes: readonly StorageNode[] = await client.list('/v1/storage-nodes', { signal: io.signal });
        await session.printList(nodes, STORAGE_TABLE);
        for (const { because } of nodes) for (const line of because) session.say(line);
      }),
    );
  addControlNodes(program, storage, io);
  program
    .command('disk')
    .description('disks')
    .command('list')
    .description('list disks')
    .option('--vm <vm>', 'only of this VM', nameArgument)
    .option('--node <node>', 'only on this storage node', nameArgument)
    .action(
      action(io, async (session, { vm, node }: { readonly vm?: string; readonly node?: string }) => {
        const client = await session.client();
        const query = present({ vm, node });
        await session.printList(await client.list('/v1/disks', { params: { query }, signal: io.signal }), DISK_TABLE);
      }),
    );
  const cluster = program.command('cluster').description('the cluster as a whole');
  addUpgradeCommands(cluster, io);
  addBackup(cluster, io);
  cluster
    .command('show')
    .description('summary of the cluster')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const shown = await client.call(client.http.GET('/v1/cluster'));
        await session.printOne(shown, { name: (of: Cluster) => of.leader ?? '' }, describeCluster);
      }),
    );
}

function describeStorage(node: StorageNode): string {
  const [used, total] = [node.usedBytes, node.totalBytes].map((size) => (size === null ? '-' : formatBytes(size)));
  return formatFields([
    ['Name', node.name],
    ['State', node.state],
    ...(node.because.length === 0 ? [] : [['Because', node.because] as const]),
    ['Disks', String(node.disks)],
    ['Space', `${used} of ${total} used`],
    ['Faults', node.faults.length === 0 ? 'none' : node.faults],
    ['Addresses', Object.entries(node.addresses).map(([path, address]) => `${path} ${address}`)],
    ['Joined', node.joinedAt],
    ['Revision', node.revision],
  ]);
}

function describeRemoved({ node }: StorageLoss): string {
  return formatFields([['Removed', node]]);
}

function describeLoss({ node, vms, disks, sharedDisks, images }: StorageLoss): string {
  return formatFields([
    ['Lost', node],
    ...Object.entries({ VMs: vms, Disks: disks, 'Shared disks': sharedDisks, Images: images }).map(
      ([what, { count, names }]) => [what, count === 0 ? 'none' : names] as const,
    ),
  ]);
}

function describeCluster(cluster: Cluster): string {
  const { hosts, evacuability, controlNodes, storageNodes, vms } = cluster;
  const verdicts = Object.entries(vms.byVerdict).map(([verdict, count]) => `${count} ${verdict}`);
  return formatFields([
    ['Version', cluster.version],
    ['Release', cluster.release ?? '-'],
    ['Leader', cluster.leader === null ? 'none at the moment' : `${cluster.leader}, term ${cluster.term ?? '-'}`],
    ['Control nodes', `${controlNodes.alive} of ${controlNodes.total} alive`],
    ['Storage nodes', `${storageNodes.alive} of ${storageNodes.total} alive`],
    ['Hosts', `${hosts.alive} of ${hosts.total} alive`],
    ['Every host can be drained', answerLines(evacuability.drain)],
    ['Any host may be lost', answerLines(evacuability.loss)],
    ['VMs', `${vms.total}${verdicts.length === 0 ? '' : `: ${verdicts.join(', ')}`}`],
    ['Memory', `${formatBytes(cluster.memoryUsedBytes)} of ${formatBytes(cluster.memoryTotalBytes)} used`],
    ['etcd', describeEtcd(cluster.etcd)],
    ['Backups', describeBackups(cluster.backups)],
    ['Revision', cluster.revision],
    ['Alarms', cluster.alarms.length === 0 ? 'none' : cluster.alarms.map(({ message }) => message)],
  ]);
}

function describeBackups(backups: Cluster['backups']): string[] {
  if (backups.length === 0) return ['none'];
  return backups.map(({ controlNode, place, lastAt, failure }) => {
    const last = lastAt === null ? 'none yet' : `the last ${ageOf(lastAt)} ago`;
    return `${controlNode} ${place}: ${last}${failure === null ? '' : `; failed ${ageOf(failure.at)} ago: ${failure.message}`}`;
  });
}

function answerLines({ possible, refused, because }: Cluster['evacuability']['drain']): string[] {
  const more = refused - because.length;
  return [possible, ...because, ...(more > 0 ? [`and ${more} more hosts`] : [])];
}

const TASK_STATES = ['running', 'succeeded', 'failed', 'cancelled'] as const satisfies readonly Task['state'][];

interface TaskListOptions {
  readonly limit: number;
  readonly state?: (typeof TASK_STATES)[number];
  readonly vm?: string;
}

function describeEtcd({ members, quotaBytes, usedPercent }: Cluster['etcd']): string {
  const answer = members.filter(({ answers }) => answers).length;
  return `${answer} of ${counted(members.length, 'member')} ${answer === 1 ? 'answers' : 'answer'}, ${usedPercent} % of ${formatBytes(quotaBytes)} used`;
}

function addTasks(program: Command, io: Io): void {
  const task = program.command('task').description('operations in progress and their results');
  task
    .command('list')
    .description('list tasks, oldest first')
    .option('--limit <n>', 'the latest so many', (text: string) => parseCount(text), LATEST)
    .addOption(new Option('--state <state>', 'only those in this state').choices(TASK_STATES))
    .option('--vm <vm>', 'only of this VM', nameArgument)
    .action(
      action(io, async (session, { limit, state, vm }: TaskListOptions) => {
        const client = await session.client();
        const query = present({ state, vm });
        await session.printList(
          await client.latest('/v1/tasks', limit, { params: { query }, signal: io.signal }),
          TASK_TABLE,
        );
      }),
    );
  task
    .command('show')
    .description('show a task')
    .argument('<task>', 'id', nameArgument)
    .action(action(io, async (session, id: string) => printTask(session, await getTask(session, id))));
  task
    .command('wait')
    .description('wait for a task’s end')
    .argument('<task>', 'id', nameArgument)
    .addOption(timeoutOption())
    .action(
      action(io, async (session, id: string, { timeout }: { readonly timeout: number }) => {
        const ended = await waitForTask(session, await getTask(session, id), timeout);
        demandSuccess(ended);
        await printTask(session, ended);
      }),
    );
  task
    .command('cancel')
    .description('cancel what a task asks for: a migration, a start, a reset')
    .argument('<task>', 'id', nameArgument)
    .addOption(timeoutOption())
    .action(
      action(io, async (session, id: string, { timeout }: { readonly timeout: number }) =>
        printTask(session, await cancelTask(session, id, timeout)),
      ),
    );
}

async function getTask(session: Session, id: string): Promise<Task> {
  const client = await session.client();
  return client.call(client.http.GET('/v1/tasks/{task}', { params: { path: { task: id } } }));
}

function printTask(session: Session, task: Task): Promise<void> {
  return session.printOne(task, TASK_TABLE, (of) =>
    formatFields([
      ['Id', of.id],
      ['Kind', of.kind],
      ['Target', `${of.target.kind} ${of.target.name}`],
      ['State', of.state],
      ['Message', of.message],
      ['Started', of.startedAt],
      ['Ended', of.endedAt ?? '-'],
    ]),
  );
}

interface EventOptions {
  readonly limit: number;
  readonly kind?: readonly string[];
  readonly vm?: string;
  readonly host?: string;
  readonly since?: string;
  readonly follow?: true;
}

function addEvents(program: Command, io: Io): void {
  program
    .command('events')
    .description('what happened, oldest first')
    .option('--limit <n>', 'the latest so many', (text: string) => parseCount(text), LATEST)
    .option(
      '--kind <kind>',
      'only of this kind, such as lost or migrated; repeatable',
      collect((text) => text),
    )
    .option('--vm <vm>', 'only of this VM', nameArgument)
    .option('--host <host>', 'only of this host', nameArgument)
    .option(
      '--since <when>',
      'only events since a time such as 2026-05-01T12:00:00Z, or since this long ago (10m)',
      (text: string) => parseSince(text),
    )
    .option('-f, --follow', 'continue with new events, until Ctrl-C')
    .action(
      action(io, async (session, { limit, kind, vm, host, since, follow }: EventOptions) => {
        const client = await session.client();
        const cluster = follow ? await client.call(client.http.GET('/v1/cluster', { signal: io.signal })) : null;
        const filter = present({ vm, host, since, eventKind: kind === undefined ? undefined : [...kind] });
        const events = await client.latest('/v1/events', limit, { params: { query: filter }, signal: io.signal });
        if (cluster === null) {
          await session.printList(events, EVENT_TABLE);
          return;
        }
        const { followEvents } = await import('../follow-events.ts');
        await followEvents(session, { before: events, after: cluster.revision, filter });
      }),
    );
}

function addTokens(program: Command, io: Io): void {
  const token = program.command('token').description('API tokens');
  token
    .command('create')
    .description('create an API token; it is printed once')
    .argument('<name>', 'name', nameArgument)
    .option('--backup', 'it may read backups of the cluster, which hold hashes of tokens and secrets')
    .action(
      action(io, async (session, name: string, { backup }: { readonly backup?: true }) => {
        const client = await session.client();
        const created = await client.call(client.http.POST('/v1/tokens', { body: present({ name, backup }) }));
        await session.printOne<ApiTokenCreated>(created, TOKEN_TABLE, (of) => `${of.token}\n`);
      }),
    );
  token
    .command('list')
    .description('list API tokens, without their secrets')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/tokens', { signal: io.signal }), TOKEN_TABLE);
      }),
    );
  token
    .command('revoke')
    .description('revoke an API token')
    .argument('<name>', 'name or id', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        await client.call(client.http.DELETE('/v1/tokens/{token}', { params: { path: { token: name } } }));
        session.say(`${name} revoked`);
      }),
    );
}

function addJoinTokens(program: Command, io: Io): void {
  program
    .command('join-token')
    .description('one-time tokens with which machines join')
    .command('create')
    .description('create a token for one node, usable once; it is printed once')
    .argument('<roles>', 'host, storage, control, or several of them with commas between')
    .argument('<name>', 'name of the node that joins', nameArgument)
    .option('--valid <duration>', 'how long it may be used, at most 168h (default: 1h)', parseDuration)
    .action(
      action(io, async (session, roles: string, name: string, { valid }: { readonly valid?: number }) => {
        const [role, ...also] = roles.split(',').map(nodeRole);
        const client = await session.client();
        const more = present({ also: also.length === 0 ? undefined : also, validMs: valid });
        const body = { role: role ?? nodeRole(''), name, ...more };
        const created = await client.call(client.http.POST('/v1/join-tokens', { body }));
        await session.printOne<JoinToken>(created, { name: (of) => of.name }, (of) => `${of.token}\n`);
      }),
    );
}

function nodeRole(word: string): (typeof NODE_ROLES)[number] {
  const role = NODE_ROLES.find((each) => each === word);
  if (role !== undefined) return role;
  throw new CodedError('bad-input', `A ${JSON.stringify(word.slice(0, 40))} does not join by a token.`, {
    advice: 'Nothing was created. The role is host, storage or control.',
  });
}

function addContext(program: Command, io: Io): void {
  const context = program.command('context').description('which cluster commands are for');
  const print = (session: Session, of: Context): Promise<void> =>
    session.printOne(of, { name: ({ dir }: Context) => dir }, (shown) =>
      formatTable(
        ['DIRECTORY', 'FOUND BY', 'API', 'TOKEN'],
        [[shown.dir, shown.foundBy, shown.apiUrl, shown.tokenFile]],
      ),
    );
  context
    .command('show')
    .description('show which cluster is meant, and why')
    .action(action(io, async (session) => print(session, await findContext(io, session.options.dir))));
  context
    .command('use')
    .description(`mean this cluster where nothing else says which (written to ${contextFilePath(io.env)})`)
    .argument('<dir>', 'directory of a cluster')
    .action(action(io, async (session, dir: string) => print(session, await useContext(io, dir))));
}
