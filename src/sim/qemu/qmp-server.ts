/**
 * QMP of a simulated QEMU: commands by the names and arguments that 7.2 has, one line of JSON in, one line out, as far
 * as Groundplane uses them. Guarantees: commands of all monitors are carried out one after the other, as QEMU's main
 * loop does; a command, an argument or an object that 7.2 does not know is refused, and so is what 7.2 refuses in the
 * present run state.
 */
import { parseCommonName, parseDnsName } from '../../base/identity.ts';
import type { Generation, VmId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { LONGEST_PAUSE_MS } from '../../core/model/pause-allowance.ts';
import { SHARED_CONTROLLER, sharedDiskOf } from '../../core/model/shared-disk-devices.ts';
import { decodeMessage, encodeCommand, type QmpEvent } from '../../wire/qmp/codec.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import { factOf, type QemuOrder } from './machine-queries.ts';
import { type ClientDisk, sharedDisk } from './nbd-client.ts';
import type { OutgoingMigration, ReceivingMachine } from './outgoing-migration.ts';

/** An event before it is put into words. */
export type QemuEvent = Pick<QmpEvent, 'name' | 'data' | 'timestampMs'>;

type Arguments = Readonly<Record<string, unknown>>;

/** The machine that the monitors are of. */
export interface QmpMachine {
  readonly order: QemuOrder;
  readonly process: SimProcess;
  readonly status: string;
  readonly isActive: boolean;
  readonly outgoing: OutgoingMigration;
  readonly nodes: readonly string[];
  /** Writes about as fast as it is copied. */
  readonly isBusy: boolean;
  isUsed(node: string): boolean;
  cont(): void;
  halt(): void;
  reset(): void;
  activate(): void;
  powerDown(): void;
  openNode(name: string, disk: ClientDisk): Promise<void>;
  closeNode(name: string): void;
  plug(node: string): void;
  unplug(node: string): void;
  emit(event: QemuEvent): void;
}

export interface QmpServerSurroundings {
  /** The QEMU that has this port at this address of the storage network, if there is one. */
  readonly qemuAt: (
    address: string,
    port: number,
  ) => (ReceivingMachine & { readonly order: { readonly vm: VmId; readonly generation: Generation } }) | undefined;
  readonly say: (text: () => string) => void;
}

/** What a command takes; a name that ends in `?` may be left out. `any`: QEMU checks what it makes of them. */
const ARGUMENTS: Readonly<Record<string, readonly string[] | 'any'>> = {
  'query-status': [],
  cont: [],
  stop: [],
  quit: [],
  system_reset: [],
  system_powerdown: [],
  'query-migrate': [],
  'query-migrate-parameters': [],
  'migrate-set-capabilities': ['capabilities'],
  'migrate-set-parameters': ['tls-creds?', 'tls-hostname?', 'tls-authz?', 'max-bandwidth?', 'downtime-limit?'],
  'calc-dirty-rate': ['calc-time', 'sample-pages?', 'mode?'],
  'query-dirty-rate': [],
  'migrate-incoming': ['uri'],
  migrate: ['uri'],
  migrate_cancel: [],
  'object-add': 'any',
  'object-del': ['id'],
  'qom-list': ['path'],
  'qom-get': ['path', 'property'],
  'query-name': [],
  'query-cpus-fast': [],
  'query-memory-size-summary': [],
  'query-vnc': [],
  'query-blockstats': ['query-nodes?'],
  'query-named-block-nodes': ['flat?'],
  'x-debug-query-block-graph': [],
  'block-export-add': ['type', 'id', 'node-name', 'writable?'],
  'block-export-del': ['id', 'mode?'],
  'blockdev-add': 'any',
  'blockdev-del': ['node-name'],
  device_add: 'any',
  device_del: ['id'],
};

/** How fast a guest writes to its memory that is busy, and another one, in MiB a second. */
const BUSY_MIB_PER_S = 80;
const QUIET_MIB_PER_S = 3;
const BLOCK_BYTES = 4_096;

/** What QEMU has from its start, as src/agent starts it. */
const OBJECTS = ['tls-server', 'tls-client', 'control-only'];

/** See the module's comment. */
export class QmpServer {
  readonly #machine: QmpMachine;
  readonly #around: QmpServerSurroundings;
  readonly #objects = new Map<string, Arguments>(OBJECTS.map((id) => [id, {}]));
  readonly #parameters = new Map<string, unknown>([['downtime-limit', LONGEST_PAUSE_MS]]);
  readonly #capabilities = new Set<string>();
  #listens = false;
  #hasArrived = false;
  /** How fast the guest writes to memory was asked for. */
  #isMeasured = false;
  /** Ends when the command before is carried out. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(machine: QmpMachine, around: QmpServerSurroundings) {
    this.#machine = machine;
    this.#around = around;
  }

  get allowedPauseMs(): number {
    return Number(this.#parameters.get('downtime-limit'));
  }

  /** The generation whose stream is taken; null while it waits for none. */
  get listensFor(): Generation | null {
    if (!this.#listens) return null;
    const { vm } = this.#machine.order;
    const authz = this.#objects.get(String(this.#parameters.get('tls-authz')));
    const source = parseCommonName(String(authz?.['identity']).replace(/^CN=/, ''));
    return source?.kind === 'incarnation' && source.vmId === vm ? source.generation : null;
  }

  /** The stream is complete. */
  arrived(): void {
    this.#hasArrived = true;
    if (!this.#capabilities.has('late-block-activate')) this.#machine.activate();
    this.tellMigration('completed');
  }

  /** Reports a state of the migration, where that is wanted. */
  tellMigration(status: string): void {
    const timestampMs = this.#machine.process.machine.wallMs;
    if (this.#capabilities.has('events')) this.#machine.emit({ name: 'MIGRATION', data: { status }, timestampMs });
  }

  /** Carries out one line and answers with one line. Never rejects. */
  answer(line: string): Promise<string> {
    const {
      execute,
      arguments: args = {},
      id,
    } = JSON.parse(line) as { execute: string; arguments?: Arguments; id: number };
    const carriedOut = this.#turn.then(() => this.#execute(execute, args));
    this.#turn = carriedOut.catch(() => undefined);
    return carriedOut.then(
      (value) => JSON.stringify({ return: value ?? {}, id }),
      (error: unknown) => {
        if (!(error instanceof QmpError)) throw error;
        return JSON.stringify({ error: { class: error.errorClass, desc: error.description }, id });
      },
    );
  }

  #execute(command: string, args: Arguments): unknown {
    const takes = own(ARGUMENTS, command);
    if (takes === undefined) throw refusal(command, `The command ${command} has not been found`, 'CommandNotFound');
    if (takes !== 'any') checkArguments(command, takes, args);
    switch (command) {
      case 'query-status':
        return { running: this.#machine.status === 'running', singlestep: false, status: this.#machine.status };
      case 'cont':
        return this.#machine.cont();
      case 'stop':
        return this.#machine.halt();
      case 'quit':
        return this.#quit();
      case 'system_reset':
        return this.#machine.reset();
      case 'system_powerdown':
        return this.#machine.powerDown();
      default:
        return (
          factOf(this.#machine.order, command, args) ??
          this.#executeMigration(command, args) ??
          this.#executeBlock(command, args)
        );
    }
  }

  #executeMigration(command: string, args: Arguments): unknown {
    const { outgoing } = this.#machine;
    switch (command) {
      case 'query-migrate':
        return this.#migration();
      case 'query-migrate-parameters':
        return Object.fromEntries(this.#parameters);
      case 'migrate-set-capabilities':
        return this.#setCapabilities(args['capabilities']);
      case 'migrate-set-parameters':
        for (const [name, value] of Object.entries(args)) this.#parameters.set(name, value);
        return {};
      case 'calc-dirty-rate':
        this.#isMeasured = true;
        return {};
      case 'query-dirty-rate':
        return this.#isMeasured
          ? { status: 'measured', 'dirty-rate': this.#machine.isBusy ? BUSY_MIB_PER_S : QUIET_MIB_PER_S }
          : { status: 'unstarted' };
      case 'migrate-incoming':
        return this.#listen();
      case 'migrate':
        return this.#send(String(args['uri']));
      case 'migrate_cancel':
        outgoing.cancel();
        return {};
      default:
        return undefined;
    }
  }

  #executeBlock(command: string, args: Arguments): unknown {
    const name = String(args['node-name']);
    const id = String(args['id']);
    switch (command) {
      case 'object-add':
        return this.#addObject(id, args);
      case 'object-del':
        if (!this.#objects.delete(id)) throw refusal(command, `object '${id}' not found`);
        return {};
      case 'qom-list':
        return this.#list(String(args['path']));
      case 'query-named-block-nodes':
        return this.#machine.nodes.map((node) => ({ 'node-name': node, ro: false }));
      case 'query-blockstats':
        return this.#blockStats();
      case 'x-debug-query-block-graph':
        return this.#graph();
      case 'block-export-add':
        if (!this.#machine.nodes.includes(name))
          throw refusal(command, `Cannot find device='' nor node-name='${name}'`);
        this.#machine.activate();
        throw refusal(command, 'NBD server not running');
      case 'blockdev-add':
        return this.#addNode(name, args);
      case 'blockdev-del':
        return this.#removeNode(name);
      case 'device_add':
        return this.#addDevice(id, args);
      case 'device_del':
        if (!this.#machine.isUsed(id)) throw refusal(command, `Device '${id}' not found`, 'DeviceNotFound');
        return this.#machine.unplug(id);
      default:
        throw refusal(command, `Export '${id}' is not found`);
    }
  }

  /** A guest reads a little all the time, and writes more where it is busy. */
  #blockStats(): readonly object[] {
    const seconds = Math.floor(this.#machine.process.machine.wallMs / 1_000) % 1_000_000;
    const writes = seconds * (this.#machine.isBusy ? 400 : 8);
    const stats = {
      rd_operations: seconds,
      rd_bytes: seconds * BLOCK_BYTES,
      wr_operations: writes,
      wr_bytes: writes * BLOCK_BYTES,
    };
    return this.#machine.nodes.map((node) => ({ 'node-name': node, stats }));
  }

  /** The answer is sent, then the process ends. */
  #quit(): void {
    const { process } = this.#machine;
    process.after(0, () => process.end());
  }

  #migration(): object {
    const { state } = this.#machine.outgoing;
    if (state === null) return this.#hasArrived ? { status: 'completed' } : {};
    const { status, passes, downtimeMs, error } = state;
    return {
      status,
      ram: { 'dirty-sync-count': passes },
      ...(downtimeMs === null ? {} : { downtime: downtimeMs }),
      ...(error === null ? {} : { 'error-desc': error }),
    };
  }

  #setCapabilities(capabilities: unknown): object {
    if (this.#machine.outgoing.isUnderWay) throw refusal('migrate-set-capabilities', MIGRATION_ACTIVE);
    for (const { capability, state } of capabilities as readonly { capability: string; state: boolean }[])
      if (state) this.#capabilities.add(capability);
      else this.#capabilities.delete(capability);
    return {};
  }

  #listen(): object {
    if (this.#listens) throw refusal('migrate-incoming', 'The incoming migration has already been started');
    if (this.#machine.status !== 'inmigrate')
      throw refusal('migrate-incoming', "'-incoming' was not specified on the command line");
    this.#listens = true;
    return {};
  }

  #send(uri: string): object {
    const { outgoing, status, order } = this.#machine;
    if (outgoing.isUnderWay) throw refusal('migrate', MIGRATION_ACTIVE);
    if (status === 'inmigrate') throw refusal('migrate', 'Guest is waiting for an incoming migration');
    if (status === 'postmigrate')
      throw refusal('migrate', "Can't migrate the vm that was paused due to previous migration");
    const [, address, port] = /^tcp:(.+):(\d+)$/.exec(uri) ?? [];
    if (address === undefined) throw refusal('migrate', "Parameter 'uri' expects a valid migration protocol");
    const receiver = parseDnsName(String(this.#parameters.get('tls-hostname')));
    const there = this.#around.qemuAt(address, Number(port));
    const isNamed =
      receiver?.kind === 'incarnation' &&
      there?.order.vm === receiver.vmId &&
      there.order.generation === receiver.generation;
    this.#around.say(() => `${order.vm}:${order.generation} sends to ${uri}`);
    outgoing.begin(isNamed ? there : null);
    return {};
  }

  #addObject(id: string, options: Arguments): object {
    if (this.#objects.has(id))
      throw refusal('object-add', `attempt to add duplicate property '${id}' to object (type 'container')`);
    this.#objects.set(id, options);
    return {};
  }

  #list(path: string): readonly { readonly name: string; readonly type: string }[] {
    const { nodes, order } = this.#machine;
    const used = nodes.filter((node) => this.#machine.isUsed(node));
    const devices = used.map((node) => (/^disk\d+$/.test(node) ? node.replace('disk', 'drive') : node));
    if (path === '/objects') return [...this.#objects.keys()].map((name) => ({ name, type: 'child<object>' }));
    if (path !== '/machine/peripheral') throw refusal('qom-list', `Device '${path}' not found`, 'DeviceNotFound');
    const controllers = order.sharedDisks === undefined ? [] : [SHARED_CONTROLLER];
    return [...controllers, ...devices].map((name) => ({ name, type: 'child<device>' }));
  }

  /** Each disk and the device that uses it, with the permissions that the device holds. */
  #graph(): object {
    const used = this.#machine.nodes.filter((node) => this.#machine.isUsed(node));
    const perm = this.#machine.isActive ? ['consistent-read', 'write'] : [];
    return {
      nodes: used.flatMap((name, i) => [
        { id: 2 * i, type: 'block-backend', name: '' },
        { id: 2 * i + 1, type: 'block-driver', name },
      ]),
      edges: used.map((_, i) => ({ parent: 2 * i, child: 2 * i + 1, perm })),
    };
  }

  #addNode(name: string, options: Arguments): Promise<void> {
    if (this.#machine.nodes.includes(name)) throw refusal('blockdev-add', `Duplicate nodes with node-name='${name}'`);
    if (options['driver'] !== 'iscsi') throw refusal('blockdev-add', `Unknown driver '${String(options['driver'])}'`);
    const secret = String(options['password-secret']);
    if (!this.#objects.has(secret)) throw refusal('blockdev-add', `No secret with id '${secret}'`);
    // The target has the disk under a number; its node is named after it.
    const disk = sharedDiskOf(name);
    const [address] = String(options['portal']).split(':');
    if (disk === null || address === undefined) throw refusal('blockdev-add', `iSCSI: ${name} is no shared disk`);
    return this.#machine.openNode(name, sharedDisk({ disk, address }));
  }

  #removeNode(name: string): void {
    if (!this.#machine.nodes.includes(name))
      throw refusal('blockdev-del', `Failed to find node with node-name='${name}'`);
    if (this.#machine.isUsed(name)) throw refusal('blockdev-del', `Node ${name} is in use`);
    this.#machine.closeNode(name);
  }

  #addDevice(id: string, options: Arguments): void {
    const drive = String(options['drive']);
    if (this.#machine.isUsed(id)) throw refusal('device_add', `Duplicate device ID '${id}'`);
    if (this.#machine.order.sharedDisks === undefined)
      throw refusal('device_add', `Bus '${SHARED_CONTROLLER}.0' not found`);
    if (id !== drive || !this.#machine.nodes.includes(drive))
      throw refusal('device_add', `Property 'scsi-block.drive' can't find value '${drive}'`);
    this.#machine.plug(drive);
  }
}

const MIGRATION_ACTIVE = "There's a migration process in progress";

/** QEMU's refusal of a command. */
export function refusal(command: string, description: string, errorClass = 'GenericError'): QmpError {
  return new QmpError(command, { errorClass, description });
}

/** One command and its answer, in the words of the wire, over whatever carries a line to QEMU and its answer back. */
export async function executeOver<T>(
  carry: (line: string) => Promise<string>,
  command: string,
  args: object | undefined,
): Promise<T> {
  const answer = decodeMessage(await carry(encodeCommand({ command, arguments: args, id: 1 })));
  if (answer.kind === 'error') throw new QmpError(command, answer);
  if (answer.kind !== 'return') throw refusal(command, `QEMU answered with ${answer.kind}`);
  return answer.value as T;
}

function checkArguments(command: string, takes: readonly string[], args: Arguments): void {
  for (const name of takes)
    if (!name.endsWith('?') && args[name] === undefined) throw refusal(command, `Parameter '${name}' is missing`);
  for (const name of Object.keys(args))
    if (!takes.includes(name) && !takes.includes(`${name}?`))
      throw refusal(command, `Parameter '${name}' is unexpected`);
}
