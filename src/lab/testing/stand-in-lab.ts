/**
 * A one-machine cluster of stand-ins (stand-in.ts) for tests of the lab. Guarantees: `end` leaves nothing of it.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { present } from '../../base/assert.ts';
import { until } from '../../os/testing/until.ts';
import { labCall, labStatus } from '../client.ts';
import type { MachineStatus } from '../faults.ts';
import type { LabOptions } from '../outer.ts';
import { type UpResult, up } from '../up.ts';

/** The address of h1's agent. */
export const AGENT = ['10.77.2.1', 7443] as const;
export const WATCHDOG_MS = 3_000;
const SHAPE = { hosts: 2, controlNodes: 1, storageNodes: 1 } as const;

const standIn = (port: number): readonly string[] => [
  process.execPath,
  fileURLToPath(new URL('stand-in.ts', import.meta.url)),
  String(port),
];
const STAND_INS = {
  ...{ etcd: standIn(2379), control: standIn(7440), storage: standIn(7444), agent: standIn(7443) },
  watchdogMs: WATCHDOG_MS,
  firstBeatMs: 4_000,
};

/** The options of a cluster of two hosts, a control node and a storage node in this directory. */
export const standInOptions = (directory: string): LabOptions => ({
  dir: directory,
  ...SHAPE,
  apiPort: 0,
  standIns: STAND_INS,
  bare: true,
});

export interface Executed {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** A running cluster, and functions that ask its machines and stand-ins. */
export class StandInLab {
  /** A temporary directory, of which the cluster's is one part. */
  readonly base: string;
  readonly dir: string;
  readonly up: UpResult;
  /** The steps that the start reported. */
  readonly steps: readonly string[];
  readonly #stop: AbortController;

  private constructor(parts: {
    readonly base: string;
    readonly up: UpResult;
    readonly steps: readonly string[];
    readonly stop: AbortController;
  }) {
    this.base = parts.base;
    this.dir = parts.up.info.dir;
    this.up = parts.up;
    this.steps = parts.steps;
    this.#stop = parts.stop;
  }

  static async start(): Promise<StandInLab> {
    const base = await mkdtemp(join(tmpdir(), 'groundplane-lab-'));
    await chmod(base, 0o755);
    const steps: string[] = [];
    const stop = new AbortController();
    const started = await up({
      ...standInOptions(join(base, 'one')),
      signal: stop.signal,
      onProgress: ({ step, of, message }) => steps.push(`${step}/${of} ${message}`),
    });
    return new StandInLab({ base, up: started, steps, stop });
  }

  async end(): Promise<void> {
    this.#stop.abort(new Error('the test is over'));
    await this.up.ended;
    await rm(this.base, { recursive: true });
  }

  async exec(target: string, argv: readonly string[]): Promise<Executed> {
    return (await labCall(this.dir, { verb: 'exec', target, argv })) as Executed;
  }

  /** Asks the stand-in at an address, from a machine: its answer, `refused` or `silence`. */
  async ask(from: string, [host, port]: readonly [string, number], line = 'who'): Promise<string> {
    const script = `
      const socket = require('node:net').connect({ host: '${host}', port: ${port} }, () => socket.write('${line}\\n'));
      const say = (text) => { process.stdout.write(text); process.exit(0); };
      socket.once('data', (chunk) => say(String(chunk).trim()));
      socket.once('error', (error) => say(error.code === 'ECONNREFUSED' ? 'refused' : error.code));
      setTimeout(() => say('silence'), 700);`;
    return (await this.exec(from, [process.execPath, '-e', script])).stdout;
  }

  /** Waits until the stand-in at an address answers like this, as seen from a machine. */
  answers(from: string, at: readonly [string, number], pattern: RegExp): Promise<void> {
    return until(`${pattern} from ${at.join(':')}`, async () => pattern.test(await this.ask(from, at)));
  }

  async statusOf(name: string): Promise<MachineStatus> {
    const machine = (await labStatus(this.dir)).find((candidate) => candidate.name === name);
    return present(machine, name);
  }
}
