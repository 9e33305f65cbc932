/**
 * Measures what API requests cost the leader of a large cluster: the longest turn of the event loop that each request
 * takes.
 */
import type { ControlBackend } from '../../../src/control/backend/control-backend.ts';

/** The largest page. */
const PAGE = { limit: 1_000 };
const CALL = { principal: { name: 'bench' }, signal: new AbortController().signal };
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
export async function askedTurns(backend: ControlBackend): Promise<Record<string, number[]>> {
  const asks: Readonly<Record<string, () => Promise<unknown>>> = {
    'GET /v1/vms?limit=1000': () => backend.listVms(PAGE, CALL),
    'GET /v1/vms?label=none': () => backend.listVms({ ...PAGE, label: ['none'] }, CALL),
    'GET /v1/vms?verdict=lost': () => backend.listVms({ ...PAGE, verdict: 'lost' }, CALL),
    'GET /v1/hosts?limit=1000': () => backend.listHosts(PAGE, CALL),
    'GET /v1/disks?limit=1000': () => backend.listDisks(PAGE, CALL),
    'GET /v1/networks?limit=1000': () => backend.listNetworks(PAGE, CALL),
    'GET /v1/storage-nodes': () => backend.listStorageNodes(PAGE, CALL),
    'GET /v1/events?limit=1000': () => backend.listEvents(PAGE, CALL),
    'GET /v1/cluster': () => backend.cluster(),
    'GET /metrics': () => backend.metrics(),
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
