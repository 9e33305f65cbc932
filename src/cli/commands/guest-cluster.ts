/** `gp guest-cluster` and `gp shared-disk`: VMs that form a cluster inside their guests, and the disks they share. */
import type { Command } from 'commander';
import type { AddDisk, CreateSharedDisk } from '../../api/requests.ts';
import type { GuestCluster, SharedDisk, Task } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { type AcceptOptions, acceptOf, withAccept } from '../accept.ts';
import {
  describeGuestCluster,
  describeSharedDisk,
  GUEST_CLUSTER_TABLE,
  SHARED_DISK_TABLE,
} from '../guest-cluster-text.ts';
import type { Io } from '../io.ts';
import { present, type Session } from '../session.ts';
import { parseCount, parseDuration, parseSize } from '../units.ts';
import { action, collect, nameArgument, parsePair, settle, type WaitOptions, withWaiting } from './common.ts';

/** Adds `gp guest-cluster` and `gp shared-disk`. */
export function addGuestClusterCommands(program: Command, io: Io): void {
  const cluster = program.command('guest-cluster').description('VMs that form a cluster inside their guests');
  addCreate(cluster, io);
  addReading(cluster, io);
  addMembers(cluster, io);
  addDisks(cluster, io);
  addSetAndDelete(cluster, io);
  addSharedDisks(program, io);
}

interface CreateOptions extends WaitOptions, AcceptOptions {
  readonly members: readonly string[];
  readonly sharedDisk?: readonly CreateSharedDisk[];
  readonly heartbeatNetwork?: readonly string[];
  readonly maxDisturbed?: number;
  readonly tolerates?: number;
  readonly shareHosts?: true;
}

function addCreate(cluster: Command, io: Io): void {
  const create = cluster
    .command('create')
    .description('declare VMs that exist to be a guest cluster')
    .argument('<name>', 'name of the guest cluster', nameArgument)
    .requiredOption('--members <vms>', 'VMs, separated by commas; running VMs are changed while they run', parseNames)
    .option('--shared-disk <disk>', 'NAME:SIZE[,block=512|4096], made and attached; repeatable', collect(parseShared))
    .option(
      '--heartbeat-network <network>',
      'network in which each member has a card; repeatable',
      collect(nameArgument),
    )
    .option('--max-disturbed <n>', 'members that the cluster may move at once (default: 1)', (text: string) =>
      parseCount(text),
    )
    .option('--tolerates <duration>', 'longest pause that the guests’ heartbeat tolerates (default: 3s)', parseDuration)
    .option('--share-hosts', 'consent to members on one host if there is no other way');
  withWaiting(withAccept(create)).action(
    action(io, async (session, name: string, options: CreateOptions) => {
      const client = await session.client();
      const body = present({
        name,
        members: [...options.members],
        sharedDisks: options.sharedDisk?.map((disk) => ({ ...disk })),
        heartbeatNetworks: options.heartbeatNetwork === undefined ? undefined : [...options.heartbeatNetwork],
        maxDisturbed: options.maxDisturbed,
        toleratesMs: options.tolerates,
        shareHosts: options.shareHosts,
        accept: acceptOf(options),
      });
      const created = await client.call(client.http.POST('/v1/guest-clusters', { body, signal: io.signal }));
      if (created.task !== null && !(await settle(session, created.task, options))) return;
      await printCluster(session, name, 'created');
    }),
  );
}

function addReading(cluster: Command, io: Io): void {
  cluster
    .command('list')
    .description('list guest clusters, including undeclared ones')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const listed = await client.list('/v1/guest-clusters', { signal: io.signal });
        await session.printList<GuestCluster>(listed, GUEST_CLUSTER_TABLE);
      }),
    );
  cluster
    .command('show')
    .description('show members, the actions that each allows now, and the reservations on each disk')
    .argument('<guest-cluster>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        await session.printOne<GuestCluster>(await getCluster(session, name), GUEST_CLUSTER_TABLE, (shown) =>
          describeGuestCluster(shown, session.colours),
        );
      }),
    );
}

interface AddOptions extends WaitOptions, AcceptOptions {
  readonly shareHosts?: true;
}

function addMembers(cluster: Command, io: Io): void {
  const add = cluster
    .command('add-member')
    .description('make a VM a member, also while it runs')
    .argument('<guest-cluster>', 'name', nameArgument)
    .argument('<vm>', 'name or id', nameArgument)
    .option('--share-hosts', 'consent to members on one host if there is no other way');
  withWaiting(withAccept(add)).action(
    action(io, async (session, name: string, vm: string, options: AddOptions) => {
      const client = await session.client();
      const params = { path: { guestCluster: name } };
      const body = present({ vm, shareHosts: options.shareHosts, accept: acceptOf(options) });
      const task = await client.call(client.http.POST('/v1/guest-clusters/{guestCluster}/members', { params, body }));
      if (await settle(session, task, options)) await printCluster(session, name, `has member ${vm}`);
    }),
  );
  const remove = cluster
    .command('remove-member')
    .description('remove a member: its VM, its own disks, its cards and its keys on the shared disks stay')
    .argument('<guest-cluster>', 'name', nameArgument)
    .argument('<vm>', 'name or id', nameArgument);
  withWaiting(remove).action(
    action(io, async (session, name: string, vm: string, options: WaitOptions) => {
      const before = await getCluster(session, name);
      const client = await session.client();
      const params = { path: { guestCluster: name, vm } };
      const task = await client.call(client.http.DELETE('/v1/guest-clusters/{guestCluster}/members/{vm}', { params }));
      if (!(await settle(session, task, options))) return;
      await printCluster(session, name, `has member ${vm} no more`);
      if (session.isForPeople) session.say(keptOf(before, vm));
    }),
  );
}

/** The things that stay of a member that was removed. */
function keptOf({ disks, members }: GuestCluster, vm: string): string {
  const name = members.find((member) => member.id === vm)?.vm ?? vm;
  const keys = disks.flatMap((disk) =>
    disk.registrations.filter((each) => each.vm === name).map(({ key }) => `key ${key} on ${disk.name}`),
  );
  return `kept: ${[`VM ${name} with its own disks and cards`, ...keys].join(', ')}`;
}

function addDisks(cluster: Command, io: Io): void {
  const add = cluster
    .command('add-disk')
    .description('give all members one more shared disk, also while they run')
    .argument('<guest-cluster>', 'name', nameArgument)
    .argument('<disk>', 'NAME:SIZE[,block=512|4096], or id or name of a shared disk of no guest cluster', parseAdded);
  withWaiting(add).action(
    action(io, async (session, name: string, disk: AddDisk, options: WaitOptions) => {
      const client = await session.client();
      const params = { path: { guestCluster: name } };
      const body = { ...disk };
      const task = await client.call(client.http.POST('/v1/guest-clusters/{guestCluster}/disks', { params, body }));
      const added = 'disk' in disk ? disk.disk : disk.name;
      if (await settle(session, task, options)) await printCluster(session, name, `has disk ${added}`);
    }),
  );
  const remove = cluster
    .command('remove-disk')
    .description('take a shared disk from all members, and delete it')
    .argument('<guest-cluster>', 'name', nameArgument)
    .argument('<disk>', 'name', nameArgument)
    .option('--keep', 'do not delete it: it stays as a shared disk that no VM has')
    .option('--force', 'although guests have keys registered on it');
  withWaiting(remove).action(
    action(io, async (session, name: string, disk: string, options: WaitOptions & Fate) => {
      const client = await session.client();
      const params = { path: { guestCluster: name, sharedDiskName: disk }, query: fateOf(options) };
      const task = await client.call(
        client.http.DELETE('/v1/guest-clusters/{guestCluster}/disks/{sharedDiskName}', { params }),
      );
      if (await settle(session, task, options)) await printCluster(session, name, `has disk ${disk} no more`);
    }),
  );
  const resize = cluster
    .command('resize-disk')
    .description('grow a shared disk, while it is used')
    .argument('<guest-cluster>', 'name', nameArgument)
    .argument('<disk>', 'name', nameArgument)
    .argument('<size>', 'size, such as 40G', parseSize);
  withWaiting(resize).action(
    action(io, async (session, name: string, disk: string, sizeBytes: number, options: WaitOptions) => {
      const { disks } = await getCluster(session, name);
      const found = disks.find((each) => each.name === disk);
      if (found === undefined)
        throw new CodedError('not-found', `${name} has no shared disk ${disk}.`, {
          advice: `Nothing was changed. It has ${disks.map((each) => each.name).join(', ') || 'none'}.`,
        });
      if (await settle(session, await resizeDisk(session, found.id, sizeBytes), options))
        await printCluster(session, name, `has disk ${disk} as large as that`);
    }),
  );
}

interface Fate {
  readonly keep?: true;
  readonly force?: true;
}

function fateOf({ keep, force }: Fate) {
  return present({ keep, force });
}

/** The default of how long a ready-check may take, in ms. */
const READY_MS = 300_000;

interface SetOptions extends AcceptOptions {
  readonly maxDisturbed?: number;
  readonly tolerates?: number;
  readonly notice?: number | false;
  readonly quiet?: readonly string[] | false;
  readonly readyCheck?: string | false;
  readonly readyWithin?: number;
  readonly ifRevision?: string;
}

function readyCheckOf(command: SetOptions['readyCheck'], withinMs: number | undefined) {
  if (withinMs !== undefined && typeof command !== 'string')
    throw new CodedError('bad-input', '--ready-within goes with --ready-check.', {
      advice: 'Nothing was changed. Say both.',
    });
  if (command === undefined) return undefined;
  return command === false ? null : { command, withinMs: withinMs ?? READY_MS };
}

function addSetAndDelete(cluster: Command, io: Io): void {
  withAccept(cluster.command('set'))
    .description('change the limits of a guest cluster')
    .argument('<guest-cluster>', 'name', nameArgument)
    .option('--max-disturbed <n>', 'members that the cluster may move at once', (text: string) => parseCount(text))
    .option('--tolerates <duration>', 'longest pause that the guests’ heartbeat tolerates', parseDuration)
    .option(
      '--notice <duration>',
      'give a member’s guest notice this long before it is moved, unless it acknowledges',
      parseDuration,
    )
    .option('--no-notice', 'do not tell guests')
    .option('--ready-check <command>', 'the next member waits until this exits with 0 in the guest of the moved one')
    .option('--ready-within <duration>', 'with --ready-check: for so long at the longest (default: 5m)', parseDuration)
    .option('--no-ready-check', 'the keys on shared disks tell that a member is healthy')
    .option(
      '--quiet <window>',
      'no drain moves a member then: "Mon-Fri 08:00-18:00 Europe/London"; may be repeated',
      (text: string, before: readonly string[] | false | undefined) => [
        ...(before === false ? [] : (before ?? [])),
        text,
      ],
    )
    .option('--no-quiet', 'no quiet hours')
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, { ifRevision, ...options }: SetOptions) => {
        const client = await session.client();
        const header = present({ 'If-Match': ifRevision });
        const { maxDisturbed, tolerates, notice, quiet, readyCheck, readyWithin } = options;
        const body = present({
          maxDisturbed,
          toleratesMs: tolerates,
          noticeMs: notice === false ? null : notice,
          readyCheck: readyCheckOf(readyCheck, readyWithin),
          quiet: quiet === false ? [] : quiet === undefined ? undefined : [...quiet],
          accept: acceptOf(options),
        });
        const params = { path: { guestCluster: name }, header };
        await client.call(client.http.PATCH('/v1/guest-clusters/{guestCluster}', { params, body }));
        await printCluster(session, name, 'changed');
      }),
    );
  const remove = cluster
    .command('delete')
    .description('delete a guest cluster and its shared disks; its members stay as VMs')
    .argument('<guest-cluster>', 'name', nameArgument)
    .option('--keep', 'do not delete its disks: they stay as shared disks that no VM has')
    .option('--force', 'although guests have keys registered on them');
  withWaiting(remove).action(
    action(io, async (session, name: string, options: WaitOptions & Fate) => {
      const client = await session.client();
      const params = { path: { guestCluster: name }, query: fateOf(options) };
      const task = await client.call(client.http.DELETE('/v1/guest-clusters/{guestCluster}', { params }));
      if (await settle(session, task, options)) session.say(`${name} deleted; its members stay as VMs`);
    }),
  );
}

function addSharedDisks(program: Command, io: Io): void {
  const disk = program
    .command('shared-disk')
    .description('disks that several VMs have at once, outside of guest clusters');
  disk
    .command('list')
    .description('list shared disks, those of guest clusters included')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const listed = await client.list('/v1/shared-disks', { signal: io.signal });
        await session.printList<SharedDisk>(listed, SHARED_DISK_TABLE);
      }),
    );
  disk
    .command('show')
    .description('show a shared disk: its VMs, and the reservations on it')
    .argument('<disk>', 'id, or name if it belongs to no guest cluster', nameArgument)
    .action(action(io, async (session, name: string) => printDisk(session, await getDisk(session, name))));
  const create = disk
    .command('create')
    .description('make a shared disk; no VM has it yet')
    .argument('<disk>', 'NAME:SIZE[,block=512|4096]', parseShared);
  withWaiting(create).action(
    action(io, async (session, asked: CreateSharedDisk, options: WaitOptions) => {
      const client = await session.client();
      const created = await client.call(client.http.POST('/v1/shared-disks', { body: { ...asked } }));
      if (created.task !== null && !(await settle(session, created.task, options))) return;
      await sayDisk(session, asked.name, 'created');
    }),
  );
  addSharedDiskChanges(disk, io);
}

function addSharedDiskChanges(disk: Command, io: Io): void {
  const attach = disk
    .command('attach')
    .description('attach a shared disk to a VM, also while it runs')
    .argument('<disk>', 'id or name', nameArgument)
    .argument('<vm>', 'name or id', nameArgument)
    .option('--lun <n>', 'number the guest sees it by, 0 to 255 (default: the lowest free)', (text: string) =>
      parseCount(text, 0),
    );
  withWaiting(attach).action(
    action(io, async (session, name: string, vm: string, options: WaitOptions & { readonly lun?: number }) => {
      const client = await session.client();
      const request = { params: { path: { sharedDisk: name } }, body: present({ vm, lun: options.lun }) };
      const task = await client.call(client.http.POST('/v1/shared-disks/{sharedDisk}/attachments', request));
      if (await settle(session, task, options)) await sayDisk(session, name, `attached to ${vm}`);
    }),
  );
  const detach = disk
    .command('detach')
    .description('detach a shared disk from a VM, also while it runs')
    .argument('<disk>', 'id or name', nameArgument)
    .argument('<vm>', 'name or id', nameArgument);
  withWaiting(detach).action(
    action(io, async (session, name: string, vm: string, options: WaitOptions) => {
      const client = await session.client();
      const params = { path: { sharedDisk: name, vm } };
      const task = await client.call(client.http.DELETE('/v1/shared-disks/{sharedDisk}/attachments/{vm}', { params }));
      if (await settle(session, task, options)) await sayDisk(session, name, `detached from ${vm}`);
    }),
  );
  const resize = disk
    .command('resize')
    .description('grow a shared disk, while it is used')
    .argument('<disk>', 'id or name', nameArgument)
    .argument('<size>', 'size, such as 40G', parseSize);
  withWaiting(resize).action(
    action(io, async (session, name: string, sizeBytes: number, options: WaitOptions) => {
      if (await settle(session, await resizeDisk(session, name, sizeBytes), options))
        await sayDisk(session, name, 'grown');
    }),
  );
  const remove = disk
    .command('delete')
    .description('delete a shared disk that no VM has')
    .argument('<disk>', 'id or name', nameArgument);
  withWaiting(remove).action(
    action(io, async (session, name: string, options: WaitOptions) => {
      const client = await session.client();
      const params = { path: { sharedDisk: name } };
      const task = await client.call(client.http.DELETE('/v1/shared-disks/{sharedDisk}', { params }));
      if (await settle(session, task, options)) session.say(`${name} deleted`);
    }),
  );
}

/** `NAME:SIZE[,block=512|4096]`. Throws `bad-input`. */
function parseShared(text: string): CreateSharedDisk {
  const [disk = '', ...rest] = text.split(',');
  const at = disk.indexOf(':');
  if (at === -1)
    throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is not of the form NAME:SIZE.`, {
      advice: 'Nothing was changed. Write it like data:20G.',
    });
  const named = { name: nameArgument(disk.slice(0, at)), sizeBytes: parseSize(disk.slice(at + 1)) };
  if (rest.length === 0) return named;
  const [[key, value]] = [parsePair(rest.join(','))];
  if (key === 'block' && value === '512') return { ...named, blockBytes: 512 };
  if (key === 'block' && value === '4096') return { ...named, blockBytes: 4096 };
  throw new CodedError(
    'bad-input',
    `A shared disk knows block=512 and block=4096, not ${JSON.stringify(rest.join(',').slice(0, 60))}.`,
    {
      advice: 'Nothing was changed.',
    },
  );
}

/** A new disk, or an existing one. Throws `bad-input`. */
function parseAdded(text: string): AddDisk {
  return text.includes(':') ? parseShared(text) : { disk: nameArgument(text) };
}

/** Names separated by commas. Throws `bad-input`. */
function parseNames(text: string): readonly string[] {
  return text.split(',').map(nameArgument);
}

async function resizeDisk(session: Session, disk: string, sizeBytes: number): Promise<Task> {
  const client = await session.client();
  const params = { path: { sharedDisk: disk } };
  return client.call(client.http.PATCH('/v1/shared-disks/{sharedDisk}', { params, body: { sizeBytes } }));
}

async function getDisk(session: Session, disk: string): Promise<SharedDisk> {
  const client = await session.client();
  return client.call(client.http.GET('/v1/shared-disks/{sharedDisk}', { params: { path: { sharedDisk: disk } } }));
}

async function getCluster(session: Session, name: string): Promise<GuestCluster> {
  const client = await session.client();
  const params = { path: { guestCluster: name } };
  return client.call(client.http.GET('/v1/guest-clusters/{guestCluster}', { params, signal: session.io.signal }));
}

function printDisk(session: Session, disk: SharedDisk): Promise<void> {
  return session.printOne<SharedDisk>(disk, SHARED_DISK_TABLE, describeSharedDisk);
}

/** Prints the disk after a change. */
async function sayDisk(session: Session, name: string, done: string): Promise<void> {
  await session.printOne<SharedDisk>(
    await getDisk(session, name),
    SHARED_DISK_TABLE,
    (disk) => `${disk.name} ${done}\n`,
  );
}

/** Prints the guest cluster after a change. */
async function printCluster(session: Session, name: string, done: string): Promise<void> {
  await session.printOne<GuestCluster>(await getCluster(session, name), GUEST_CLUSTER_TABLE, (cluster) => {
    const members = cluster.members.map(({ vm }) => vm).join(', ');
    return `${name} ${done}: members ${members}  disks ${cluster.disks.map((disk) => disk.name).join(', ') || '-'}\n`;
  });
}
