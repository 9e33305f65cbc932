/** `gp vm`: all operations on virtual machines. */
import { type Command, Option } from 'commander';
import type { Admission } from '../../api/overview-views.ts';
import type { CreateVm } from '../../api/requests.ts';
import type { Task, Verdict, Vm, VmDetail, VmGuest } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { printableLines } from '../../base/printable.ts';
import { type AcceptOptions, acceptOf, withAccept } from '../accept.ts';
import { actOnMany } from '../act-on-many.ts';
import { readGuestFile } from '../cluster-location.ts';
import type { Io } from '../io.ts';
import { present, type Session } from '../session.ts';
import { cancelTask } from '../task-wait.ts';
import { parseCount, parseDuration, parseSize } from '../units.ts';
import { describeGuest, describeNic, describeVm, VM_TABLE } from '../vm-text.ts';
import { action, collect, nameArgument, parsePair, settle, type WaitOptions, withWaiting } from './common.ts';
import { EVENT_TABLE } from './presentations.ts';

/** The number of latest events that are shown by default. */
const LATEST = 100;

type DiskRequest = NonNullable<CreateVm['disks']>[number];
type NicRequest = NonNullable<CreateVm['networks']>[number];

/** Adds `gp vm`. */
export function addVmCommands(program: Command, io: Io): void {
  const vm = program.command('vm').description('virtual machines');
  addCreate(vm, io);
  addReading(vm, io);
  addConsole(vm, io);
  addGuest(vm, io);
  addDisplay(vm, io);
  addLifecycle(vm, io);
  addSet(vm, io);
  addNics(vm, io);
}

interface CreateOptions extends WaitOptions, AcceptOptions {
  readonly dryRun?: true;
  readonly pin?: string;
  readonly image?: string;
  readonly network?: readonly NicRequest[];
  readonly disk?: readonly DiskRequest[];
  readonly vcpus?: number;
  readonly memory?: number;
  readonly cpuModel?: string;
  readonly display?: 'none' | 'vga';
  readonly firmware?: 'bios' | 'uefi' | 'direct';
  readonly append?: string;
  readonly userData?: string;
  readonly networkConfig?: string;
  readonly metaData?: string;
  readonly restartPolicy?: 'always' | 'on-failure' | 'never';
  readonly antiAffinity?: string;
  readonly label?: readonly (readonly [string, string])[];
  readonly storagePatience?: number;
  readonly migrationPolicy?: MigrationPolicy;
  readonly start: boolean;
}

function addCreate(vm: Command, io: Io): void {
  const create = vm
    .command('create')
    .description('create a VM and start it')
    .argument('<name>', 'name of the VM', nameArgument)
    .option('--image <image>', 'image to boot from', nameArgument)
    .option('--network <network>', 'network, or NETWORK,address=IP,mac=MAC; repeatable', collect(parseNic))
    .option('--disk <disk>', 'blank disk of SIZE, or image=IMAGE[,size=SIZE]; repeatable', collect(parseDisk))
    .option('--vcpus <n>', 'number of virtual CPUs', (text: string) => parseCount(text))
    .option('--memory <size>', 'memory, such as 512M or 2G (the image tiny boots with 96M or more)', parseSize)
    .option('--cpu-model <model>', 'CPU model that every host can offer (default: baseline)')
    .option('--firmware <firmware>', 'bios, uefi or direct')
    .option('--display <display>', 'vga: a display, which `gp vm vnc` and the web interface show (default: none)')
    .option('--append <text>', 'added to the kernel command line (direct boot)')
    .option('--user-data <file>', 'cloud-init user-data (NoCloud)')
    .option('--network-config <file>', 'cloud-init network-config (NoCloud)')
    .option('--meta-data <file>', 'cloud-init meta-data (NoCloud)')
    .option('--restart-policy <policy>', 'always, on-failure or never')
    .option('--anti-affinity <group>', 'never on one host with another VM of this group', nameArgument)
    .option('--label <key=value>', 'label; repeatable', collect(parsePair))
    .option('--storage-patience <duration>', 'how long its I/O waits for storage before it is paused', parseDuration)
    .option('--migration-policy <policy>', POLICY_HELP, parseMigrationPolicy)
    .option('--pin <host>', 'never on another host than this one: a tie, which has to be accepted', nameArgument)
    .option('--no-start', 'only create it')
    .option('--dry-run', 'say whether it would be created; nothing is changed');
  withWaiting(withAccept(create)).action(
    action(io, async (session, name: string, options: CreateOptions) => {
      const client = await session.client();
      const body = await createRequest(io, name, options);
      if (options.dryRun === true) {
        await printAdmission(session, name, await client.call(client.http.POST('/v1/vms/check', { body })));
        return;
      }
      const created = await client.call(client.http.POST('/v1/vms', { body, signal: io.signal }));
      if (created.task !== null && !(await settle(session, created.task, options))) return;
      await printVm(session, name, 'created');
    }),
  );
}

/** CodedError with the text of the refusal, as `gp vm create` would end. */
async function printAdmission(session: Session, name: string, admission: Admission): Promise<void> {
  const { admitted, code, reason, advice, node } = admission;
  if (!admitted) throw new CodedError(code ?? 'failed', reason ?? '', advice === null ? {} : { advice });
  const text = `${name} would be created, its disks on ${node ?? 'no storage node'}. Nothing was changed.\n`;
  await session.printOne(admission, { name: () => name }, () => text);
}

async function createRequest(io: Io, name: string, options: CreateOptions) {
  const read = async (path: string | undefined) => (path === undefined ? undefined : readGuestFile(io, path));
  const cloudInit = present({
    userData: await read(options.userData),
    networkConfig: await read(options.networkConfig),
    metaData: await read(options.metaData),
  });
  return present({
    name,
    image: options.image,
    vcpus: options.vcpus,
    memoryBytes: options.memory,
    cpuModel: options.cpuModel,
    firmware: options.firmware,
    append: options.append,
    display: options.display,
    disks: options.disk?.map((disk) => ({ ...disk })),
    networks: options.network?.map((nic) => (typeof nic === 'string' ? nic : { ...nic })),
    cloudInit: Object.keys(cloudInit).length === 0 ? undefined : cloudInit,
    restartPolicy: options.restartPolicy,
    antiAffinity: options.antiAffinity,
    pin: options.pin,
    accept: acceptOf(options),
    labels: labelsOf(options.label),
    storagePatienceMs: options.storagePatience,
    migrationPolicy: options.migrationPolicy,
    start: options.start,
  });
}

type MigrationPolicy = Vm['spec']['migrationPolicy'];

const POLICY_HELP =
  'the allowed measures if its guest writes faster than it is copied: slow-down (the default), longer-pause=DURATION, ' +
  'stop, several with commas, or none';

/** `none`, or some of `slow-down`, `longer-pause=DURATION` and `stop`, each once. Throws `bad-input`. */
export function parseMigrationPolicy(text: string): MigrationPolicy {
  const words = text === 'none' ? [] : text.split(',');
  const pause = words.find((word) => word.startsWith('longer-pause='));
  const known = words.filter((word) => word === 'slow-down' || word === 'stop' || word === pause);
  if (known.length < words.length || new Set(words).size < words.length)
    throw new CodedError('bad-input', `"${text}" is no migration policy.`, {
      advice: 'Nothing was changed. Write none, or slow-down, longer-pause=2s and stop, each once, with commas.',
    });
  const pauseMsMax = pause === undefined ? null : parseDuration(pause.slice('longer-pause='.length));
  return { slowDown: words.includes('slow-down'), pauseMsMax, stop: words.includes('stop') };
}

/** `NETWORK` or `NETWORK,address=IP,mac=MAC`. Throws `bad-input`. */
export function parseNic(text: string): NicRequest {
  const [network = '', ...rest] = text.split(',');
  nameArgument(network);
  if (rest.length === 0) return network;
  const given = keyed(rest, ['address', 'mac'], '--network');
  return present({ network, address: given.get('address'), mac: given.get('mac')?.toLowerCase() });
}

/** `SIZE` or `image=IMAGE[,size=SIZE]`. Throws `bad-input`. */
export function parseDisk(text: string): DiskRequest {
  if (!text.includes('=')) return { sizeBytes: parseSize(text) };
  const given = keyed(text.split(','), ['image', 'size'], '--disk');
  const size = given.get('size');
  const sizeBytes = size === undefined ? undefined : parseSize(size);
  const image = given.get('image');
  if (image !== undefined) return present({ image: nameArgument(image), sizeBytes });
  return { sizeBytes: sizeBytes ?? parseSize('') };
}

function keyed(parts: readonly string[], known: readonly string[], option: string): ReadonlyMap<string, string> {
  const pairs = parts.map(parsePair);
  const unknown = pairs.find(([key]) => !known.includes(key));
  if (unknown !== undefined || new Set(pairs.map(([key]) => key)).size < pairs.length) {
    throw new CodedError('bad-input', `${option} knows ${known.join(' and ')}, each once.`, {
      advice: 'Nothing was changed.',
    });
  }
  return new Map(pairs);
}

interface ListOptions {
  readonly host?: string;
  readonly label?: readonly string[];
  readonly verdict?: Verdict;
}

function addReading(vm: Command, io: Io): void {
  vm.command('list')
    .description('list VMs')
    .option('--host <host>', 'only those on this host', nameArgument)
    .option(
      '--label <selector>',
      'only those with this label: KEY or KEY=VALUE; repeatable',
      collect((text) => text),
    )
    .option('--verdict <verdict>', 'only VMs with this verdict, such as running or lost')
    .action(
      action(io, async (session, { host, label, verdict }: ListOptions) => {
        const client = await session.client();
        const query = present({ host, verdict, label: label === undefined ? undefined : [...label] });
        await session.printList(await client.list('/v1/vms', { params: { query }, signal: io.signal }), VM_TABLE);
      }),
    );
  vm.command('show')
    .description('show a VM, and the reasons for the cluster’s verdict')
    .argument('<vm>', 'name or id', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const found = await getVm(session, name);
        const guest = session.options.output === 'table' ? await getGuest(session, found) : null;
        await session.printOne<VmDetail & { readonly guest?: VmGuest | null }>(
          guest === null ? found : { ...found, guest },
          VM_TABLE,
          (shown) => describeVm(shown, session.colours),
        );
      }),
    );
  vm.command('log')
    .description('print the end of the serial console’s output')
    .argument('<vm>', 'name or id', nameArgument)
    .option('--lines <n>', 'number of lines', (text: string) => parseCount(text))
    .action(
      action(io, async (session, name: string, { lines }: { readonly lines?: number }) => {
        const client = await session.client();
        const params = { path: { vm: name }, query: present({ lines }) };
        const log = await client.call(client.http.GET('/v1/vms/{vm}/log', { params, signal: io.signal }));
        if (await session.printedAsData(log)) return;
        // A guest's output must not steer the terminal; a file or a pipe gets the bytes unchanged.
        io.out(io.outIsTty ? printableLines(log.text.replaceAll('\r\n', '\n')) : log.text);
      }),
    );
  vm.command('events')
    .description('show the history of a VM')
    .argument('<vm>', 'name or id', nameArgument)
    .option('--limit <n>', 'the latest so many', (text: string) => parseCount(text), LATEST)
    .action(
      action(io, async (session, name: string, { limit }: { readonly limit: number }) => {
        const client = await session.client();
        const params = { path: { vm: name } };
        const events = await client.latest('/v1/vms/{vm}/events', limit, { params, signal: io.signal });
        await session.printList(events, EVENT_TABLE);
      }),
    );
}

function addConsole(vm: Command, io: Io): void {
  vm.command('console')
    .description('serial console in this terminal, through moves of the VM; Ctrl-] leaves')
    .argument('<vm>', 'name or id', nameArgument)
    .option('--take-over', 'end the console of its present holder, who is told')
    .addOption(
      new Option('--read-only', 'read along beside the holder; nothing that is typed reaches the guest').conflicts(
        'takeOver',
      ),
    )
    .action(
      action(io, async (session, name: string, how: { readonly takeOver?: boolean; readonly readOnly?: boolean }) => {
        const { attachConsole } = await import('../console.ts');
        await attachConsole(session, name, how);
      }),
    );
}

function addGuest(vm: Command, io: Io): void {
  vm.command('guest')
    .description('show the report of a VM’s guest agent: its system, its addresses')
    .argument('<vm>', 'name or id', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const params = { path: { vm: name } };
        const guest = await client.call(client.http.GET('/v1/vms/{vm}/guest', { params, signal: io.signal }));
        await session.printOne<VmGuest>(guest, { name: () => name }, describeGuest);
      }),
    );
}

function addDisplay(vm: Command, io: Io): void {
  vm.command('vnc')
    .description('the display of a VM (created with --display) for a VNC viewer on this machine, until Ctrl-C')
    .argument('<vm>', 'name or id', nameArgument)
    .option('--port <port>', 'on this port of 127.0.0.1, for everybody on this machine', (text: string) =>
      parseCount(text),
    )
    .action(
      action(io, async (session, name: string, { port }: { readonly port?: number }) => {
        const { serveDisplay } = await import('../vnc.ts');
        await serveDisplay(session, name, port);
      }),
    );
}

type Ask = (session: Session, name: string) => Promise<Task>;

const ASK = {
  reset: async (session, name) => {
    const client = await session.client();
    return client.call(client.http.POST('/v1/vms/{vm}/reset', { params: { path: { vm: name } } }));
  },
  pause: async (session, name) => {
    const client = await session.client();
    return client.call(client.http.POST('/v1/vms/{vm}/suspend', { params: { path: { vm: name } } }));
  },
  resume: async (session, name) => {
    const client = await session.client();
    return client.call(client.http.POST('/v1/vms/{vm}/resume', { params: { path: { vm: name } } }));
  },
} as const satisfies Record<string, Ask>;

const SIMPLE = [
  ['reset', 'reset a VM as its reset button would', 'reset'],
  ['pause', 'pause a VM’s vCPUs', 'paused'],
  ['resume', 'let a paused VM run on', 'resumed'],
] as const;

function addLifecycle(vm: Command, io: Io): void {
  for (const [verb, description, done] of SIMPLE) {
    const command = onVms(vm.command(verb).description(description));
    withWaiting(command).action(
      action(io, async (session, [name = '', ...others]: readonly string[], options: WaitOptions) => {
        const bulk = { action: verb === 'pause' ? 'suspend' : verb, vms: [name, ...others] } as const;
        if (others.length > 0) return actOnMany(session, bulk, { ...options, done });
        if (await settle(session, await ASK[verb](session, name), options)) await printVm(session, name, done);
      }),
    );
  }
  const start = onVms(vm.command('start').description('start a VM'));
  withWaiting(withAccept(start)).action(
    action(io, async (session, [name = '', ...others]: readonly string[], options: WaitOptions & AcceptOptions) => {
      const body = present({ accept: acceptOf(options) });
      const bulk = { action: 'start', vms: [name, ...others], ...body } as const;
      if (others.length > 0) return actOnMany(session, bulk, { ...options, done: 'started' });
      const client = await session.client();
      const task = await client.call(client.http.POST('/v1/vms/{vm}/start', { params: { path: { vm: name } }, body }));
      if (await settle(session, task, options)) await printVm(session, name, 'started');
    }),
  );
  const stop = onVms(vm.command('stop').description('stop a VM: ask its guest (ACPI), then hard after a deadline'))
    .option('--hard', 'pull the plug at once')
    .option('--patience <duration>', 'time the guest gets before it is stopped hard', parseDuration);
  withWaiting(stop).action(
    action(io, async (session, [name = '', ...others]: readonly string[], options: WaitOptions & StopOptions) => {
      const body = present({ mode: options.hard ? ('hard' as const) : undefined, patienceMs: options.patience });
      const timeout = Math.max(options.timeout, (options.patience ?? 0) + options.timeout);
      if (others.length > 0) {
        const bulk = { action: 'stop', vms: [name, ...others], ...body } as const;
        return actOnMany(session, bulk, { ...options, timeout, done: 'stopped' });
      }
      const client = await session.client();
      const task = await client.call(client.http.POST('/v1/vms/{vm}/stop', { params: { path: { vm: name } }, body }));
      if (await settle(session, task, { ...options, timeout })) await printVm(session, name, 'stopped');
    }),
  );
  const migrate = onVms(vm.command('migrate').description('live-migrate a VM'))
    .option('--to <host>', 'destination; without it the cluster chooses', nameArgument)
    .addOption(new Option('--cancel', 'undo the migration that is under way, before its commit').conflicts('to'));
  withWaiting(migrate).action(
    action(io, async (session, [name = '', ...others]: readonly string[], options: WaitOptions & MigrateOptions) => {
      if (options.cancel === true) {
        for (const each of [name, ...others]) await cancelMigration(session, each, options);
        return;
      }
      const bulk = { action: 'migrate', vms: [name, ...others], ...present({ to: options.to }) } as const;
      if (others.length > 0) return actOnMany(session, bulk, { ...options, done: 'migrated' });
      const client = await session.client();
      const request = { params: { path: { vm: name } }, body: present({ to: options.to }) };
      const task = await client.call(client.http.POST('/v1/vms/{vm}/migrate', request));
      if (await settle(session, task, options)) await printVm(session, name, 'migrated');
    }),
  );
  const remove = onVms(vm.command('delete').description('stop a VM at once and delete it with its disks'));
  withWaiting(remove).action(
    action(io, async (session, [name = '', ...others]: readonly string[], options: WaitOptions) => {
      const bulk = { action: 'delete', vms: [name, ...others] } as const;
      if (others.length > 0) return actOnMany(session, bulk, { ...options, done: 'deleted' });
      const client = await session.client();
      const task = await client.call(client.http.DELETE('/v1/vms/{vm}', { params: { path: { vm: name } } }));
      if (await settle(session, task, options)) session.say(`${name} deleted`);
    }),
  );
}

/** Adds the argument of a command that acts on one VM or on many, as one request. */
function onVms(command: Command): Command {
  return command.argument('<vm...>', 'names or ids; several are one request and one task', collect(nameArgument));
}

interface StopOptions {
  readonly hard?: true;
  readonly patience?: number;
}

interface MigrateOptions {
  readonly to?: string;
  readonly cancel?: true;
}

async function cancelMigration(session: Session, name: string, { timeout }: WaitOptions): Promise<void> {
  const client = await session.client();
  const vm = await getVm(session, name);
  const query = { vm: vm.name, state: 'running' as const };
  const { items: tasks } = await client.call(client.http.GET('/v1/tasks', { params: { query } }));
  const task = tasks.findLast(({ kind }) => kind === 'vm.migrate');
  if (task === undefined)
    throw new CodedError('conflict', `${vm.name} is not being migrated.`, { advice: 'Nothing was changed.' });
  session.say((await cancelTask(session, task.id, timeout)).message);
  await printVm(session, name, 'not migrated');
}

interface SetOptions extends AcceptOptions {
  /** False if --no-pin is given. */
  readonly pin?: string | false;
  /** False if --no-labels is given. */
  readonly labels?: false;
  readonly label?: readonly (readonly [string, string])[];
  /** False if --no-anti-affinity is given. */
  readonly antiAffinity?: string | false;
  readonly restartPolicy?: 'always' | 'on-failure' | 'never';
  readonly migrationPolicy?: MigrationPolicy;
  readonly vcpus?: number;
  readonly memory?: number;
  readonly ifRevision?: string;
}

function addSet(vm: Command, io: Io): void {
  withAccept(vm.command('set'))
    .description('change a VM; vCPUs and memory only while it is stopped')
    .argument('<vm>', 'name or id', nameArgument)
    .option('--label <key=value>', 'label; repeatable, replaces all', collect(parsePair))
    .option('--no-labels', 'take all its labels away')
    .option('--anti-affinity <group>', 'never on one host with another VM of this group, from now on', nameArgument)
    .option('--no-anti-affinity', 'it may be on one host with any other VM')
    .option('--restart-policy <policy>', 'always, on-failure or never')
    .option('--migration-policy <policy>', POLICY_HELP, parseMigrationPolicy)
    .option('--vcpus <n>', 'number of virtual CPUs', (text: string) => parseCount(text))
    .option('--memory <size>', 'memory', parseSize)
    .option('--pin <host>', 'never on another host than this one: a tie, which has to be accepted', nameArgument)
    .option('--no-pin', 'it may be on any host')
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, options: SetOptions) => {
        const client = await session.client();
        const body = present({
          labels: options.labels === false ? {} : labelsOf(options.label),
          antiAffinity: options.antiAffinity === false ? null : options.antiAffinity,
          restartPolicy: options.restartPolicy,
          migrationPolicy: options.migrationPolicy,
          vcpus: options.vcpus,
          memoryBytes: options.memory,
          pin: options.pin === false ? null : options.pin,
          accept: acceptOf(options),
        });
        const header = present({ 'If-Match': options.ifRevision });
        await client.call(client.http.PATCH('/v1/vms/{vm}', { params: { path: { vm: name }, header }, body }));
        await printVm(session, name, 'changed');
      }),
    );
}

function labelsOf(pairs: readonly (readonly [string, string])[] | undefined): Record<string, string> | undefined {
  return pairs === undefined ? undefined : Object.fromEntries(pairs);
}

interface NicOptions {
  readonly ifRevision?: string;
}

function addNics(vm: Command, io: Io): void {
  vm.command('add-nic')
    .description('give a VM one more network card; one that runs has it from its next start on')
    .argument('<vm>', 'name or id', nameArgument)
    .argument('<network>', 'network, or NETWORK,address=IP,mac=MAC', parseNic)
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, nic: NicRequest, { ifRevision }: NicOptions) => {
        const client = await session.client();
        const params = { path: { vm: name }, header: present({ 'If-Match': ifRevision }) };
        const body = typeof nic === 'string' ? { network: nic } : { ...nic };
        await printNics(session, await client.call(client.http.POST('/v1/vms/{vm}/nics', { params, body })));
      }),
    );
  vm.command('remove-nic')
    .description('take a network card from a VM; one that runs has it until its next start')
    .argument('<vm>', 'name or id', nameArgument)
    .argument('<mac>', 'MAC address of the card, as `gp vm show` says it')
    .option('--if-revision <revision>', 'only if it is still at this revision')
    .action(
      action(io, async (session, name: string, mac: string, { ifRevision }: NicOptions) => {
        const client = await session.client();
        const path = { vm: name, mac: mac.toLowerCase() };
        const params = { path, header: present({ 'If-Match': ifRevision }) };
        await printNics(session, await client.call(client.http.DELETE('/v1/vms/{vm}/nics/{mac}', { params })));
      }),
    );
}

function printNics(session: Session, vm: Vm): Promise<void> {
  return session.printOne(vm, VM_TABLE, ({ name, nics }) => {
    const lines = nics.map((nic) => `${name}: ${describeNic(nic)}`);
    return lines.length === 0 ? `${name} has no network card.\n` : `${lines.join('\n')}\n`;
  });
}

/** The guest's own report about its VM; null: the guest cannot report anything, or an older server does not ask it. */
async function getGuest(session: Session, { id, verdict }: VmDetail): Promise<VmGuest | null> {
  if (verdict !== 'running') return null;
  const client = await session.client();
  const params = { path: { vm: id } };
  try {
    return await client.call(client.http.GET('/v1/vms/{vm}/guest', { params, signal: session.io.signal }));
  } catch (error) {
    if (error instanceof CodedError && (error.code === 'not-found' || error.code === 'unavailable')) return null;
    throw error;
  }
}

async function getVm(session: Session, name: string): Promise<VmDetail> {
  const client = await session.client();
  return client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } }, signal: session.io.signal }));
}

/** Prints the VM after a change. */
async function printVm(session: Session, name: string, done: string): Promise<void> {
  await session.printOne(await getVm(session, name), VM_TABLE, (vm) => {
    const where = vm.host === null ? '' : `  host ${vm.host}`;
    return `${vm.name} ${done}: ${vm.verdict}${where}  generation ${vm.generation}\n`;
  });
}
