/**
 * The `gp` commands of stories, carried out on a simulated cluster: each goes to the backend of the control node that answers, as
 * src/control/api hands it on, and waits for its task, as src/cli does it. Guarantees: a command ends at its deadline at the latest.
 */

import { CodedError, messageOf } from '../../base/errors.ts';
import { type NetworkName, parseDiskId, parseHostName, parseTaskId, parseVmId, type TaskId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { allocateAddress } from '../../control/backend/addresses.ts';
import type { Write } from '../../control/store/cluster-store.ts';
import type { DiskRecord, TaskRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { DISK_PORT_BASE } from '../../core/model/ports.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import { newVm } from '../people/people.ts';
import { type WishName, wishOf } from '../people/wishes.ts';
import type { Answering, StoryCluster } from './story-cluster.ts';

/** How a command ended. `said`: why, where it failed. */
export interface GpResult {
  readonly isDone: boolean;
  readonly said: string;
}

/** A process of Node starts, and ends. */
const COMMAND_MS = [120, 700] as const;
const POLL_MS = [40, 160] as const;
const REQUEST_DEADLINE_MS = 10_000;
const CATCH_UP_MS = 2_000;
const TASK_DEADLINE_MS = 120_000;
const ATTEMPTS = 8;
const MIB = 2 ** 20;
/** What control/backend/admission.ts gives a VM that says nothing else, and the image `tiny`. */
const DEFAULTS = { memoryBytes: 128 * MIB, diskBytes: 64 * MIB, patienceMs: 30_000, stopPatienceMs: 30_000 } as const;

const FLAGS = new Set(['--no-start', '--no-wait', '--hard']);
const OPTIONS = new Set(['--image', '--network', '--memory', '--append', '--storage-patience', '--patience', '--to']);

interface Parsed {
  readonly words: readonly string[];
  readonly options: ReadonlyMap<string, string>;
}

/** Who types the commands of one story. */
export class GpCommands {
  readonly #cluster: StoryCluster;
  #ids = 0;

  constructor(cluster: StoryCluster) {
    this.#cluster = cluster;
  }

  /** Runs one. Throws an Error for a command that the simulator does not have: that is a gap, no refusal. */
  async run(words: readonly string[]): Promise<GpResult> {
    const parsed = parse(words);
    const [noun = '', verb = '', name] = parsed.words;
    const carryOut = noun === 'lab' ? inject : noun === 'vm' ? own(VM_COMMANDS, verb) : undefined;
    if (carryOut === undefined) throw new Error(`The simulator has no gp ${noun} ${verb}.`);
    const { random } = this.#cluster;
    await this.#cluster.pass(random.between(...COMMAND_MS));
    try {
      await carryOut(this, { ...parsed, verb, name });
      return { isDone: true, said: '' };
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      return { isDone: false, said: messageOf(error) };
    }
  }

  /** Carries out a fault of `gp lab`. */
  inject({ verb, name }: Command): void {
    this.#cluster.faults.inject(verb, name);
  }

  /** Whoever answers the API. CodedError 'unavailable' while nobody does. */
  server(): Answering {
    const answering = this.#cluster.answering();
    if (answering === null) throw new CodedError('unavailable', 'No control node answers.');
    return answering;
  }

  async create({ name, options }: Command): Promise<void> {
    if (name === undefined) throw new CodedError('bad-input', 'A VM needs a name.');
    const start = !options.has('--no-start');
    const task = start ? this.#task('vm.create', name) : null;
    await this.#change((server) => this.#creation(server, { name, options, task }));
    if (task !== null && !options.has('--no-wait')) await this.#taskDone(task.id);
  }

  /** One change of one VM with its task, which is then waited for. */
  async wish(deed: WishName, { name = '', options }: Command): Promise<void> {
    const patienceMs = durationMs(options.get('--patience')) ?? DEFAULTS.stopPatienceMs;
    const to = parseHostName(options.get('--to') ?? 'h1');
    const { changes } = this.server();
    const { value } = await this.#cluster.settled(
      wishOf(changes, { deed, vm: name, to, patienceMs }),
      REQUEST_DEADLINE_MS,
    );
    if (!options.has('--no-wait')) await this.#taskDone(value.id);
  }

  /** Computed from the present state, again when somebody else was faster. */
  async #change(attempt: (server: Answering) => readonly Write[]): Promise<void> {
    for (let tries = 0; tries < ATTEMPTS; tries++) {
      const server = this.server();
      const writes = attempt(server);
      const outcome = await this.#cluster.settled(server.store.transact(writes, null), REQUEST_DEADLINE_MS);
      if (outcome.kind === 'committed') return;
      // What was read back may be newer than the watch: the tasks that belong to it are known after this.
      await this.#cluster.settled(server.store.caughtUp(CATCH_UP_MS), REQUEST_DEADLINE_MS);
    }
    throw new CodedError('conflict', 'Others kept changing the same objects.');
  }

  /** Waits for a task's end, whoever answers meanwhile. */
  async #taskDone(id: TaskId): Promise<void> {
    const { random, nowMs: since } = this.#cluster;
    while (this.#cluster.nowMs - since < TASK_DEADLINE_MS) {
      const task = this.#cluster.answering()?.store.tasks.get(id)?.value;
      if (task?.state === 'succeeded') return;
      if (task !== undefined && task.state !== 'running')
        throw new CodedError('failed', `${task.state}: ${task.message}`);
      await this.#cluster.pass(random.between(...POLL_MS));
    }
    throw new CodedError('deadline', `Task ${id} did not end within ${TASK_DEADLINE_MS} ms.`);
  }

  #creation(
    { store }: Answering,
    wanted: Pick<Parsed, 'options'> & { readonly name: string; readonly task: TaskRecord | null },
  ): readonly Write[] {
    const { name, options, task } = wanted;
    if (store.vmNames.get(name) !== undefined) throw new CodedError('exists', `A VM named ${name} exists.`);
    const id = parseVmId(this.#id('vm'));
    const [node] = [...store.storage.values()];
    const network = store.networks.get((options.get('--network') ?? '') as NetworkName);
    if (node === undefined || network === undefined)
      throw new CodedError('not-found', 'No such network, or no storage node.');
    const disk: DiskRecord = {
      id: parseDiskId(this.#id('disk')),
      vm: id,
      node: node.value.name,
      port: DISK_PORT_BASE + this.#ids,
      sizeBytes: DEFAULTS.diskBytes,
      source: { kind: 'blank' },
      phase: 'creating',
    };
    const mac = `52:54:00:00:${octet(this.#ids >> 8)}:${octet(this.#ids)}`;
    const address = allocateAddress(network.value, null);
    const reservations =
      address === null
        ? network.value.reservations
        : { ...network.value.reservations, [mac]: { address, vm: id, hostname: name } };
    const vm = newVm({
      id,
      name,
      disks: [disk.id],
      antiAffinity: null,
      patienceMs: durationMs(options.get('--storage-patience')) ?? DEFAULTS.patienceMs,
      restartPolicy: 'on-failure',
      startTask: task?.id ?? null,
    });
    const spec = {
      ...vm.spec,
      memoryBytes: sizeBytes(options.get('--memory')) ?? DEFAULTS.memoryBytes,
      nics: [{ network: network.value.name, mac, address }],
    };
    const value: VmRecord = { ...vm, spec, intent: task === null ? 'stopped' : 'running' };
    return [
      { key: keyOf.vm(id), value, expect: 0 },
      { key: keyOf.vmName(name), value: id, expect: 0 },
      { key: keyOf.disk(disk.id), value: disk, expect: 0 },
      { key: keyOf.diskPort(disk.node, disk.port), value: disk.id, expect: 0 },
      { key: keyOf.network(network.value.name), value: { ...network.value, reservations }, expect: network.revision },
      ...(task === null ? [] : [{ key: keyOf.task(task.id), value: task, expect: 0 }]),
    ];
  }

  #task(kind: string, name: string): TaskRecord {
    const id = parseTaskId(this.#id('task'));
    const target = { kind: 'vm', name } as const;
    return {
      id,
      kind,
      target,
      state: 'running',
      progressPercent: null,
      message: '',
      startedAt: this.#cluster.sim.clock.wallMs(),
      endedAt: null,
    };
  }

  #id(kind: string): string {
    return `${kind}-${(++this.#ids).toString(16).padStart(12, '0')}`;
  }
}

interface Command extends Parsed {
  readonly verb: string;
  readonly name: string | undefined;
}

type Act = (gp: GpCommands, command: Command) => Promise<void>;

const wish =
  (deed: WishName): Act =>
  (gp, command) =>
    gp.wish(deed, command);

const inject: Act = async (gp, command) => gp.inject(command);

const VM_COMMANDS: Readonly<Record<string, Act>> = {
  list: async (gp) => {
    gp.server();
  },
  create: (gp, command) => gp.create(command),
  start: wish('start'),
  stop: (gp, command) => gp.wish(command.options.has('--hard') ? 'power-off' : 'stop', command),
  pause: wish('suspend'),
  resume: wish('resume'),
  reset: wish('reset'),
  migrate: (gp, command) => gp.wish(command.options.has('--to') ? 'migrate-to' : 'migrate', command),
  delete: wish('delete'),
};

/** The VM of a name; CodedError 'not-found'. */
export function findVm({ store }: Answering, name: string): Entry<VmRecord> {
  const entry = store.vms.get(store.vmNames.get(name)?.value ?? '');
  if (entry === undefined) throw new CodedError('not-found', `There is no VM ${name}.`);
  return entry;
}

function parse(all: readonly string[]): Parsed {
  const words: string[] = [];
  const options = new Map<string, string>();
  for (let at = 0; at < all.length; at++) {
    const word = all[at] ?? '';
    if (FLAGS.has(word)) options.set(word, '');
    else if (OPTIONS.has(word)) options.set(word, all[++at] ?? '');
    else if (word.startsWith('-')) throw new Error(`The simulator knows no option ${word}.`);
    else words.push(word);
  }
  return { words, options };
}

function durationMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, amount, unit] = /^([0-9]{1,6})(ms|s)$/.exec(text) ?? [];
  if (amount === undefined) throw new Error(`The simulator reads durations such as 500ms and 20s, not ${text}.`);
  return Number(amount) * (unit === 's' ? 1_000 : 1);
}

function sizeBytes(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, amount, unit] = /^([0-9]{1,6})([MG])$/.exec(text) ?? [];
  if (amount === undefined) throw new Error(`The simulator reads sizes such as 96M and 2G, not ${text}.`);
  return Number(amount) * (unit === 'G' ? 1_024 * MIB : MIB);
}

function octet(value: number): string {
  return (value & 0xff).toString(16).padStart(2, '0');
}
