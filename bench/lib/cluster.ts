/**
 * A one-machine cluster for a benchmark, in a temporary directory, with the tiny image imported. Guarantees: it ends
 * with the benchmark and leaves no file; every wait has a deadline.
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Found, parseIncarnation } from '../../src/agent/incarnations.ts';
import type { CreateVm } from '../../src/api/requests.ts';
import type { Event, Host, Vm } from '../../src/api/views.ts';
import { CodedError } from '../../src/base/errors.ts';
import { sleep } from '../../src/base/sleep.ts';
import { type ApiClient, createClient } from '../../src/client/client.ts';
import { buildTiny, TINY_APPEND, type TinyImage } from '../../src/images/tiny.ts';
import { type LabRequest, labCall } from '../../src/lab/client.ts';
import { up } from '../../src/lab/up.ts';
import { systemClock } from '../../src/os/clock.ts';
import { deadlineError } from '../../src/os/deadline.ts';
import { monotonicMs } from '../../src/os/monotonic.ts';
import { listProcesses } from '../../src/os/process-table.ts';
import type { BenchContext } from './bench.ts';
import { EventFeed } from './event-feed.ts';

const MIB = 1024 ** 2;
const STEP_MS = 50;
const DEADLINE_MS = 60_000;
/** Clock ticks of /proc/PID/stat: USER_HZ is 100 on every architecture Linux runs Node on (time(7)). */
const TICK_MS = 10;

export interface ClusterOptions {
  readonly hosts?: number;
  /** The name of a network to make; none without it. */
  readonly network?: string;
}

/** A QEMU of the cluster, as the operating system shows it. */
export interface RunningQemu extends Omit<Found, 'process'> {
  readonly pid: number;
  /**
   * When the process started, on the clock of `monotonicMs`: the end of the 10 ms in which the kernel says that it
   * began.
   */
  readonly startedMs: number;
}

/**
 * See the module's comment. Calls throw CodedError as the API client does; every wait ends at its deadline or the
 * context's signal.
 */
export class BenchCluster {
  readonly dir: string;
  readonly client: ApiClient;
  readonly events: EventFeed;
  readonly #signal: AbortSignal;

  private constructor(options: { dir: string; client: ApiClient; events: EventFeed; signal: AbortSignal }) {
    this.dir = options.dir;
    this.client = options.client;
    this.events = options.events;
    this.#signal = options.signal;
  }

  /** Starts it; its end is left to `context.atEnd`. */
  static async start(context: BenchContext, options: ClusterOptions = {}): Promise<BenchCluster> {
    const { signal, killSignal, say } = context;
    const dir = await mkdtemp(join(tmpdir(), 'gp-bench-'));
    context.atEnd(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
    const ending = new AbortController();
    const { info, ended } = await up({
      dir: join(dir, 'cluster'),
      hosts: options.hosts ?? 3,
      apiPort: 0,
      onProgress: ({ message }) => say(`  ${message}`),
      signal: AbortSignal.any([signal, ending.signal]),
      killSignal,
    });
    context.atEnd(async () => {
      ending.abort();
      await ended;
    });
    const [caPem, token] = await Promise.all([readFile(info.caFile, 'utf8'), readFile(info.tokenFile, 'utf8')]);
    const client = createClient({ apiUrl: info.apiUrl, caPem, token: token.trim() });
    context.atEnd(() => client.close());
    const events = new EventFeed(client, signal);
    await events.begin();
    context.atEnd(() => events.end());
    const cluster = new BenchCluster({ dir: info.dir, client, events, signal });
    await cluster.#importTiny(context);
    if (options.network !== undefined) {
      const body = { name: options.network, cidr: '10.20.0.0/24', dhcp: true };
      await client.call(client.http.POST('/v1/networks', { body }));
    }
    return cluster;
  }

  /** Carries out a fault. */
  lab(request: LabRequest): Promise<unknown> {
    return labCall(this.dir, request, this.#signal);
  }

  vms(): Promise<readonly Vm[]> {
    return this.client.list('/v1/vms');
  }

  vm(name: string): Promise<Vm> {
    return this.client.call(this.client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } } }));
  }

  hosts(): Promise<readonly Host[]> {
    return this.client.list('/v1/hosts');
  }

  /** The name of a VM's host. */
  async hostOf(name: string): Promise<string> {
    const { host } = await this.vm(name);
    if (host === null) throw new CodedError('conflict', `${name} has no host.`);
    return host;
  }

  createVm(name: string, more: Partial<CreateVm> = {}): Promise<Vm> {
    const body = { name, image: 'tiny', ...more } as CreateVm;
    return this.client.call(this.client.http.POST('/v1/vms', { body: structuredClone(body) as never }));
  }

  /** Creates VMs one after the other on one host, and waits until every guest is up. */
  async createOn(host: string, names: readonly string[], more: Partial<CreateVm> = {}): Promise<void> {
    const others = (await this.hosts()).filter(({ name }) => name !== host).map(({ name }) => name);
    for (const other of others) await this.cordon(other, true);
    for (const name of names) await this.createVm(name, more);
    for (const name of names) await this.guestReady(name, { deadlineMs: 20_000 * (names.length + 2) });
    for (const other of others) await this.cordon(other, false);
  }

  /** Resolves when the task has succeeded. */
  async migrateVm(name: string): Promise<void> {
    const params = { path: { vm: name } };
    const { id } = await this.client.call(this.client.http.POST('/v1/vms/{vm}/migrate', { params, body: {} }));
    await this.taskDone(id);
  }

  async deleteVm(name: string): Promise<void> {
    const { id } = await this.client.call(this.client.http.DELETE('/v1/vms/{vm}', { params: { path: { vm: name } } }));
    await this.taskDone(id);
  }

  async cordon(host: string, cordoned: boolean): Promise<void> {
    const params = { path: { host } };
    await this.client.call(this.client.http.PATCH('/v1/hosts/{host}', { params, body: { cordoned } }));
  }

  /** Waits for a task's end; CodedError 'failed' with its message when it did not succeed. */
  async taskDone(id: string): Promise<void> {
    const params = { path: { task: id }, query: { wait: 30 } };
    const task = await this.client.call(this.client.http.GET('/v1/tasks/{task}', { params }));
    if (task.state === 'running') throw deadlineError(`task ${task.kind} of ${task.target.name}`, 30_000);
    if (task.state !== 'succeeded') throw new CodedError('failed', `${task.kind}: ${task.message}`);
  }

  /** The end of the guest's console. */
  async console(name: string): Promise<string> {
    const params = { path: { vm: name }, query: { lines: 200 } };
    return (await this.client.call(this.client.http.GET('/v1/vms/{vm}/log', { params }))).text;
  }

  /**
   * Waits until the guest of the present generation has booted. A guest at work writes the line that says so out of
   * sight within seconds: its work of this generation says the same.
   */
  async guestReady(name: string, { deadlineMs = DEADLINE_MS }: { readonly deadlineMs?: number } = {}): Promise<void> {
    await this.until(`the guest of ${name}`, deadlineMs, async () => {
      const { generation, verdict } = await this.vm(name);
      if (verdict !== 'running') return false;
      const text = await this.console(name).catch(() => '');
      return new RegExp(`groundplane-tiny ready generation=${generation}\\b|seq \\d+ ${generation}\\r?\\n`).test(text);
    });
  }

  /** Waits until every host's agent answers and no host is quarantined. */
  async hostsHealthy(): Promise<void> {
    await this.until('every host', DEADLINE_MS, async () =>
      (await this.hosts()).every(({ agent, quarantined }) => agent === 'alive' && !quarantined),
    );
  }

  /** Asks repeatedly until the condition holds. */
  async until(what: string, deadlineMs: number, condition: () => Promise<boolean>): Promise<void> {
    const endsAtMs = monotonicMs() + deadlineMs;
    while (!(await condition())) {
      if (monotonicMs() > endsAtMs) throw deadlineError(what, deadlineMs);
      await sleep(systemClock, STEP_MS, { signal: this.#signal });
      this.#signal.throwIfAborted();
    }
  }

  /** Every QEMU of this cluster, by the operating system. */
  qemus(): readonly RunningQemu[] {
    return listProcesses().flatMap((record) => {
      const found = parseIncarnation(record.argv);
      const ours = found !== undefined && this.#vmIds.has(found.vm);
      return ours ? [{ ...found, pid: record.pid, startedMs: (record.startTicks + 1) * TICK_MS }] : [];
    });
  }

  /** The QEMU of one incarnation. CodedError 'not-found' when it does not run. */
  async qemuOf(vm: { readonly id: string; readonly generation: number }): Promise<RunningQemu> {
    this.#vmIds.add(vm.id);
    const qemu = this.qemus().find((one) => one.vm === vm.id && one.generation === vm.generation);
    if (qemu === undefined) throw new CodedError('not-found', `Generation ${vm.generation} of ${vm.id} does not run.`);
    return qemu;
  }

  /** The VMs asked for so far: a machine may run other clusters beside this one. */
  readonly #vmIds = new Set<string>();

  async #importTiny(context: BenchContext): Promise<void> {
    const built = await builtTiny(context);
    const kernel = await this.#upload(built.kernelPath, 'kernel');
    const initrd = await this.#upload(built.initrdPath, 'initrd');
    const defaults = { memoryBytes: 128 * MIB, vcpus: 1, blankDiskBytes: 64 * MIB };
    const body = { direct: { kernel, initrd, append: TINY_APPEND }, defaults };
    await this.client.call(this.client.http.PUT('/v1/images/{image}', { params: { path: { image: 'tiny' } }, body }));
  }

  async #upload(path: string, kind: 'kernel' | 'initrd'): Promise<string> {
    const bytes = await readFile(path);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await this.client.upload(
      { sha256, kind, sizeBytes: bytes.length, dataBytes: bytes.length, content: createReadStream(path) },
      this.#signal,
    );
    return sha256;
  }
}

/** The tiny image, built where the cache does not hold it. */
export function builtTiny({ say, signal }: Pick<BenchContext, 'say' | 'signal'>): Promise<TinyImage> {
  const cacheDir = process.env['GP_CACHE_DIR'] ?? join(import.meta.dirname, '../../.cache/images');
  return buildTiny({ cacheDir, signal, onProgress: (line) => say(`  tiny: ${line}`) });
}

/** How long after `sinceWallMs` an event was committed, in ms. Both clocks are this machine's. */
export function eventMs(event: Event, sinceWallMs: number): number {
  return Date.parse(event.at) - sinceWallMs;
}
