/**
 * A cluster on which stories are played: started by the real command, observed through its API and from outside.
 * Guarantees: `end` leaves nothing of it, also after a failure; a command and a request have deadlines.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event } from '../../src/api/views.ts';
import { sleep } from '../../src/base/sleep.ts';
import { readContext, readTarget } from '../../src/cli/cluster-location.ts';
import { type Ran, runGp } from '../../src/cli/testing/run-gp.ts';
import { type ApiClient, createClient, type Target } from '../../src/client/client.ts';
import { labCall } from '../../src/lab/client.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { type RunResult, run } from '../../src/os/child-process.ts';
import { systemClock } from '../../src/os/clock.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import type { StoryShape } from '../../src/stories/story-language.ts';
import { SerialLogs } from './guests.ts';

const ROOT = join(import.meta.dirname, '../..');
const UP_DEADLINE_MS = 120_000;
const COMMAND_DEADLINE_MS = 130_000;
/** How long an interrupted command may take to end, in ms. */
const INTERRUPTED_DEADLINE_MS = 10_000;
const CLEAN_DEADLINE_MS = 45_000;
const POLL_MS = 150;
const LOG_LINES = 25;
const EVENTS_SHOWN = 40;
/** More events than a story causes. */
const EVENTS_READ = 5_000;
/** The node that the API is asked through may die in mid-request: the next poll is the retry. */
const REQUEST_DEADLINE_MS = 5_000;

/** A running cluster. */
export class StoryCluster {
  readonly dir: string;
  readonly shape: StoryShape;
  readonly client: ApiClient;
  readonly target: Target;
  readonly serial = new SerialLogs();
  readonly #parent: string;

  private constructor(parent: string, shape: StoryShape, target: Target) {
    this.#parent = parent;
    this.dir = join(parent, 'c');
    this.shape = shape;
    this.target = target;
    this.client = createClient(target, { deadlineMs: REQUEST_DEADLINE_MS });
  }

  /** Starts one as a person would. */
  static async start(shape: StoryShape): Promise<StoryCluster> {
    const parent = await mkdtemp(join(tmpdir(), 'gps-'));
    const dir = join(parent, 'c');
    try {
      const counts = [
        '--hosts',
        shape.hosts,
        '--control-nodes',
        shape.controlNodes,
        '--storage-nodes',
        shape.storageNodes,
      ];
      const words = ['up', ...counts.map(String), '--host-memory', '2G', '--detach'];
      await run(command(dir, words), { deadlineMs: UP_DEADLINE_MS, env: commandEnv(dir) });
      return new StoryCluster(parent, shape, await readTarget(await readContext({ dir, foundBy: '--dir' })));
    } catch (error) {
      const logs = await logsOf(dir);
      await end(parent, dir);
      throw new Error(`The cluster did not start.\n${logs}`, { cause: error });
    }
  }

  /**
   * The outcome and output of `gp` with these words, in this process. At the deadline and by `signal` it is
   * interrupted, as by Ctrl-C.
   */
  async gp(
    words: readonly string[],
    { deadlineMs = COMMAND_DEADLINE_MS, signal }: { readonly deadlineMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<RunResult> {
    const ends = [AbortSignal.timeout(deadlineMs), ...(signal === undefined ? [] : [signal])];
    const options = { env: gpEnv(this.dir), signal: AbortSignal.any(ends) };
    const ran = (): Promise<Ran> => runGp(['--dir', this.dir, ...words], options);
    const what = `gp ${words.join(' ')}`;
    const { code, out, err } = await withDeadline(ran, { deadlineMs: deadlineMs + INTERRUPTED_DEADLINE_MS, what });
    return { exitCode: code, stdout: out, stderr: err };
  }

  /** How a script calls `gp` for this cluster, for a shell. */
  get shellCommand(): string {
    return command(this.dir, []).join(' ');
  }

  /** Asks the API; undefined while it does not answer, which is an observation and no failure. */
  async observe<T>(ask: (client: ApiClient) => Promise<T>): Promise<T | undefined> {
    try {
      return await ask(this.client);
    } catch (error) {
      if (isSilence(error)) return undefined;
      throw error;
    }
  }

  /** A fault, or `exec`, through the lab's socket. */
  lab(verb: string, args: object = {}): Promise<unknown> {
    return labCall(this.dir, { verb, ...args });
  }

  /** Events after `revision`, oldest first. */
  async eventsAfter(revision: bigint): Promise<Event[]> {
    const events = await this.client.latest('/v1/events', EVENTS_READ);
    return events.filter((event) => BigInt(event.revision) > revision);
  }

  /** Revision of the newest event; 0 if there is none. */
  async newestEvent(): Promise<bigint> {
    const events = await this.eventsAfter(0n);
    return events.reduce((newest, { revision }) => (BigInt(revision) > newest ? BigInt(revision) : newest), 0n);
  }

  /** Undoes all faults and deletes all VMs, so that the next story begins as the first one did. */
  async clean(): Promise<void> {
    await this.#removeFailpoints();
    await this.lab('restore');
    const deadline = performance.now() + CLEAN_DEADLINE_MS;
    let left = 'nothing was seen yet';
    while (performance.now() < deadline) {
      left = (await this.observe((client) => cleanUp(client))) ?? 'the API does not answer';
      if (left === '') return;
      await sleep(systemClock, POLL_MS);
    }
    throw new Error(`The cluster is not clean after ${CLEAN_DEADLINE_MS} ms: ${left}.`);
  }

  /** The latest events, and the ends of all logs, for the report of a failure: what tells most comes first. */
  async lastWords(): Promise<string> {
    const events = await this.observe((client) => client.latest('/v1/events', EVENTS_SHOWN)).catch(() => undefined);
    const told = (events ?? []).map(({ at, kind, message }) => `${at.slice(11, 23)} ${kind}: ${message}`);
    return `--- events\n${told.join('\n')}\n${await logsOf(this.dir)}`;
  }

  async end(): Promise<void> {
    this.serial.close();
    await this.client.close();
    await end(this.#parent, this.dir);
  }

  async #removeFailpoints(): Promise<void> {
    const layout = labLayout(this.dir);
    for (let node = 1; node <= this.shape.controlNodes; node++)
      await rm(layout.machine(`c${node}`).failpointFile, { force: true });
  }
}

/** Runs a part of a test. Its failure also says what the cluster's logs and events say, and `more`. */
export async function assertHolds(
  cluster: StoryCluster,
  act: () => Promise<void>,
  more: () => readonly string[] = () => [],
): Promise<void> {
  try {
    await act();
  } catch (error) {
    const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const message = [said, ...more(), await cluster.lastWords()].join('\n');
    throw new assert.AssertionError({ message, stackStartFn: assert.fail });
  }
}

/** Deletes all objects; returns the thing that it still has to wait for, or nothing. */
async function cleanUp(client: ApiClient): Promise<string> {
  const vms = await client.list('/v1/vms');
  for (const vm of vms) {
    if (vm.task?.kind === 'vm.delete' && vm.task.state === 'running') continue;
    await client.call(client.http.DELETE('/v1/vms/{vm}', { params: { path: { vm: vm.name } } }));
  }
  const [hosts, nodes, controls] = await Promise.all([
    client.list('/v1/hosts'),
    client.list('/v1/storage-nodes'),
    client.list('/v1/control-nodes'),
  ]);
  return [
    ...vms.map(({ name, verdict }) => `${name} is ${verdict}`),
    ...hosts
      .filter(({ agent, quarantined }) => agent !== 'alive' || quarantined)
      .map(({ name }) => `${name} is not back`),
    ...[...nodes, ...controls].filter(({ state }) => state !== 'alive').map(({ name }) => `${name} is not back`),
  ].join(', ');
}

function isSilence(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  return code === 'unavailable' || code === 'deadline' || code === 'not-found';
}

function command(dir: string, words: readonly string[]): string[] {
  return [process.execPath, join(ROOT, 'src/cli/main.ts'), '--dir', dir, ...words];
}

function gpEnv(dir: string): Record<string, string> {
  return { GP_DIR: dir, GP_CACHE_DIR: join(ROOT, '.cache/images') };
}

function commandEnv(dir: string): NodeJS.ProcessEnv {
  return { ...process.env, ...gpEnv(dir), NODE_COMPILE_CACHE: join(ROOT, '.cache/compiled') };
}

async function end(parent: string, dir: string): Promise<void> {
  try {
    await run(command(dir, ['down']), { deadlineMs: COMMAND_DEADLINE_MS, env: commandEnv(dir) });
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

async function logsOf(dir: string): Promise<string> {
  const machines = labLayout(dir).machinesDir;
  const files = await readdir(machines, { recursive: true }).catch(() => []);
  const logs = files.filter((file) => /\/log\/[a-z]+\.log$/.test(file)).sort();
  const parts = logs.map(async (file) => {
    const text = await readFile(join(machines, file), 'utf8');
    return `--- ${file}\n${text.trimEnd().split('\n').slice(-LOG_LINES).join('\n')}`;
  });
  return (await Promise.all(parts)).join('\n');
}
