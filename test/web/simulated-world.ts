/** A simulated cluster behind the real API, in a process of its own (scripts/mock-api.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { colourOf } from '../../src/sim/api/sim-display.ts';
import type { Colour, World } from './world.ts';

const ROOT = join(import.meta.dirname, '../..');
/** A large cluster takes its time. */
const START_MS = 600_000;
const SHOW_MS = 30_000;

/** The options of the mock: numbers by option, such as hosts. */
export type Sizes = Readonly<Record<string, number>>;

/** Starts one of these sizes. */
export async function simulatedWorld(sizes: Sizes): Promise<World> {
  const options = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const argv = ['scripts/mock-api.ts', '--port', '0', ...options];
  const cluster = spawn(process.execPath, argv, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    return worldOf(cluster, await addressesOf(cluster));
  } catch (error) {
    cluster.kill('SIGKILL');
    throw error;
  }
}

function worldOf(cluster: ChildProcess, { ui, token }: { readonly ui: URL; readonly token: string }): World {
  const drawn = (vm: string): Colour => colourOf(vm) as Colour;
  const tell = (words: string): void => void cluster.stdin?.write(`${words}\n`);
  return {
    origin: ui.origin,
    link: ui.pathname + ui.hash,
    token,
    api: { origin: `http://127.0.0.1:${ui.port}`, token, caPem: null },
    browserArguments: [],
    showMs: SHOW_MS,
    movesAreSeen: false,
    webVms: ['web1', 'web2', 'web4', 'web5', 'web7', 'web8'],
    dbVm: 'web3',
    guestSystem: 'Simulated 1',
    talk: (vm, turn) => ({ typed: `hello${turn}`, answered: new RegExp(`hello${turn}\\s+${vm} login:`) }),
    // A bar moves over the guest's colour with each key; a guest that moved has it at its beginning.
    draw: async (vm, turn) => ({ before: drawn(vm), keys: turn === 0 ? 'x' : 'xx', after: drawn(vm) }),
    fault: async (words) => tell(words),
    holdDeletions: async (isHeld) => {
      for (const node of ['s1', 's2']) tell(`${isHeld ? 'kill-storage' : 'restore'} ${node}`);
    },
    freeze: async (isFrozen) => void cluster.kill(isFrozen ? 'SIGSTOP' : 'SIGCONT'),
    end: async () => {
      cluster.kill('SIGCONT');
      const ended = once(cluster, 'exit');
      cluster.kill('SIGTERM');
      await ended;
    },
  };
}

/** What the mock prints once it can be used. */
async function addressesOf(cluster: ChildProcess): Promise<{ ui: URL; token: string }> {
  if (cluster.stdout === null) throw new Error('The simulated cluster has no output.');
  const lines = createInterface({ input: cluster.stdout, signal: AbortSignal.timeout(START_MS) });
  let ui: URL | null = null;
  for await (const line of lines) {
    const [name, value = ''] = line.split(/:\s+/, 2);
    if (name === 'UI') ui = new URL(value);
    if (name === 'Token' && ui !== null) return { ui, token: value };
  }
  throw new Error('The simulated cluster did not start.');
}
