/**
 * The `gp` commands of stories, carried out on a simulated cluster: each asks the API of the control node that answers,
 * and waits for its task, as src/cli does it. Guarantees: a command ends at its deadline at the latest.
 */

import type { OperationId } from '../../api/operations.ts';
import type { Task, Vm } from '../../api/views.ts';
import { present } from '../../base/assert.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
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
const TASK_DEADLINE_MS = 120_000;
const MIB = 2 ** 20;
/** What the image `tiny` gives a VM that says nothing else, and how long a guest may take to shut down. */
const DEFAULTS = { memoryBytes: 128 * MIB, diskBytes: 64 * MIB, stopPatienceMs: 30_000 } as const;

const FLAGS = new Set(['--no-start', '--no-wait', '--hard']);
const OPTIONS = new Set(['--image', '--network', '--memory', '--append', '--storage-patience', '--patience', '--to']);

interface Parsed {
  readonly words: readonly string[];
  readonly options: ReadonlyMap<string, string>;
}

/** The administrator who types the commands of one story. */
export class GpCommands {
  readonly #cluster: StoryCluster;

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

  /** The control node that answers the API. CodedError 'unavailable' while none does. */
  server(): Answering {
    const answering = this.#cluster.answering();
    if (answering === null) throw new CodedError('unavailable', 'No control node answers.');
    return answering;
  }

  async create({ name, options }: Command): Promise<void> {
    if (name === undefined) throw new CodedError('bad-input', 'A VM needs a name.');
    const network = options.get('--network');
    const storagePatienceMs = durationMs(options.get('--storage-patience'));
    const body = {
      name,
      memoryBytes: sizeBytes(options.get('--memory')) ?? DEFAULTS.memoryBytes,
      disks: [{ sizeBytes: DEFAULTS.diskBytes }],
      networks: network === undefined ? [] : [network],
      ...(storagePatienceMs === undefined ? {} : { storagePatienceMs }),
      start: !options.has('--no-start'),
    };
    const { task } = (await this.#ask('createVm', { body })) as Vm;
    if (task !== null && !options.has('--no-wait')) await this.#taskDone(task.id);
  }

  /** One change of one VM with its task, which is then waited for. */
  async wish(deed: WishName, { name = '', options }: Command): Promise<void> {
    const patienceMs = durationMs(options.get('--patience')) ?? DEFAULTS.stopPatienceMs;
    const to = parseHostName(options.get('--to') ?? 'h1');
    this.server();
    const { sim } = this.#cluster;
    const asked = wishOf(sim, present(sim.leader, 'a leader'), { deed, vm: name, to, patienceMs });
    const { id }: Task = await this.#cluster.settled(asked, REQUEST_DEADLINE_MS);
    if (!options.has('--no-wait')) await this.#taskDone(id);
  }

  #ask(id: OperationId, request: SimRequest): Promise<unknown> {
    this.server();
    const { sim } = this.#cluster;
    return this.#cluster.settled(askNode(sim, present(sim.leader, 'a leader'), id, request), REQUEST_DEADLINE_MS);
  }

  /** Waits for a task's end, whoever answers meanwhile. */
  async #taskDone(id: string): Promise<void> {
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
