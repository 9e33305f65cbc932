/**
 * API requests to the leader of a large cluster: what each costs in its longest turn of the event loop, and a load of
 * them.
 */
import { messageOf } from '../../../src/base/errors.ts';
import type { Backend } from '../../../src/control/backend/backend.ts';
import type { Clock } from '../../../src/core/ports/clock.ts';

/** The largest page. */
const PAGE = { limit: 1_000 };
const CALL = { principal: { name: 'bench' }, signal: new AbortController().signal };
/** A VM that the load creates; it is started, as most are. */
const NEW_VM = { vcpus: 1, memoryBytes: 2 ** 30, disks: [{ sizeBytes: 2 ** 30 }] };
/** Rounds per request; the first round, in which V8 compiles, is not measured. */
const ROUNDS = 5;

/** Processor time of this thread, in ms; other processes do not add to it. */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** Returns the processor time, in ms, of the longest turn while `work` runs and its answer is made into text. */
async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let before = busyMs();
  const look = (): void => {
    const now = busyMs();
    longest = Math.max(longest, now - before);
    before = now;
  };
  let isOver = false;
  const turn = (): void => {
    look();
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  JSON.stringify(await work());
  look();
  isOver = true;
  return longest;
}

/** Returns, by request, the longest turn of each of ROUNDS rounds, longest first, in ms. */
export async function askedTurns(backend: Backend): Promise<Record<string, number[]>> {
  const asks: Readonly<Record<string, () => Promise<unknown>>> = {
    'GET /v1/vms?limit=1000': () => backend.vms.list(PAGE, CALL),
    'GET /v1/vms?label=none': () => backend.vms.list({ ...PAGE, label: ['none'] }, CALL),
    'GET /v1/vms?verdict=lost': () => backend.vms.list({ ...PAGE, verdict: 'lost' }, CALL),
    'GET /v1/hosts?limit=1000': () => backend.hosts.list(PAGE, CALL),
    'GET /v1/disks?limit=1000': () => backend.storageNodes.listDisks(PAGE, CALL),
    'GET /v1/networks?limit=1000': () => backend.networks.list(PAGE, CALL),
    'GET /v1/storage-nodes': () => backend.storageNodes.list(PAGE, CALL),
    'GET /v1/events?limit=1000': () => backend.events.list(PAGE, CALL),
    'GET /v1/cluster': () => backend.cluster.get(),
    'GET /metrics': () => backend.cluster.metrics(),
  };
  const turns: Record<string, number[]> = {};
  for (const [what, ask] of Object.entries(asks)) {
    await ask();
    const rounds: number[] = [];
    for (let round = 0; round < ROUNDS; round++) rounds.push(await longestTurn(ask));
    turns[what] = rounds.map((ms) => Math.round(ms * 10) / 10).sort((a, b) => b - a);
  }
  return turns;
}

/** Requests in a second. */
const ASKED_PER_SECOND = 20;
/** Names of the VMs that the load creates begin so. */
export const CREATED_PREFIX = 'asked-';

/** A load of requests: each is asked when its time has come, whether or not those before it were answered. */
export interface Load {
  /** How many requests were answered. */
  readonly answered: () => number;
  /** The messages of those that were refused. */
  readonly refused: readonly string[];
  readonly end: () => void;
}

/**
 * Asks ASKED_PER_SECOND times a second, by turns: a page of VMs, hosts, the cluster, metrics, and the creation of a VM.
 */
export function askForever(backend: Backend, clock: Clock): Load {
  const refused: string[] = [];
  let [asked, answered, created, isOver] = [0, 0, 0, false];
  const asks: readonly (() => unknown)[] = [
    () => backend.vms.list({ limit: 100 }, CALL),
    () => backend.hosts.list(PAGE, CALL),
    () => backend.cluster.get(),
    () => backend.cluster.metrics(),
    () => backend.vms.create({ ...NEW_VM, name: `${CREATED_PREFIX}${created++}` }),
  ];
  const ask = async (): Promise<void> => {
    try {
      JSON.stringify(await asks[asked++ % asks.length]?.());
      answered += 1;
    } catch (error) {
      refused.push(messageOf(error));
    }
  };
  const next = (): void => {
    if (isOver) return;
    clock.after(1_000 / ASKED_PER_SECOND, next);
    void ask();
  };
  next();
  return {
    answered: () => answered,
    refused,
    end: () => {
      isOver = true;
    },
  };
}
