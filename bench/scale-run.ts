/**
 * One measurement of `npm run bench -- scale`, in a process of its own so that its memory is its own:
 * `node --expose-gc bench/scale-run.ts '{"hosts": 1000, …}'` prints one JSON object.
 */
import { assert } from '../src/base/assert.ts';
import type { HostName, VmId } from '../src/base/ids.ts';
import { type Cost, Meter } from './lib/scale/meter.ts';
import { hostName, type Shape } from './lib/scale/records.ts';
import { askedTurns, askForever, CREATED_PREFIX } from './lib/scale/requests.ts';
import { ScaleWorld, type Seen } from './lib/scale/world.ts';

export interface RunOptions extends Shape {
  readonly seed: number;
  readonly warmUpS: number;
  readonly steadyS: number;
  /** The number of hosts that are lost at once after the steady state was measured; 0: none. */
  readonly lost: number;
}

const TAKEOVER_MS_MAX = 60_000;
const LOSS_MS_MAX = 60_000;
const AFTERWARDS_MS = 20_000;
/** Requests are asked so long before a rack is lost while they are asked, in seconds. */
const ASKED_S = 20;
const REASONS = 3;

/** What the process prints. */
export interface RunResult {
  readonly keys: number;
  /** The time from the start of the server until it leads. */
  readonly takeover: Cost;
  /** The cost of the warm-up, in which everything is looked at for the first time. */
  readonly warmUp: Cost;
  readonly steady: Cost;
  /** Longest turns of the event loop that requests of the API take after that, in ms of processor time. */
  readonly requests: Readonly<Record<string, readonly number[]>>;
  /** The losses of two racks, the second a while after the first; empty if no host is to be lost. */
  readonly losses: readonly Loss[];
  /** The same of a third rack, while requests are asked; null where no host is to be lost. */
  readonly underLoad: UnderLoad | null;
  /** What the leader asked for in the whole run, and what it warned of. */
  readonly asked: Readonly<Record<string, number>>;
  readonly warnings: Readonly<Record<string, number>>;
  readonly memory: { readonly rssSteadyMb: number; readonly rssPeakMb: number; readonly heapUsedMb: number };
}

async function main(options: RunOptions): Promise<void> {
  const world = new ScaleWorld(options, options.seed);
  const keys = await world.fill();
  const { clock } = world;
  const meter = new Meter(clock, world.leader);
  world.lead();
  const takeover = await meter.run(clock.monotonicMs() + TAKEOVER_MS_MAX, () => world.controller !== null);
  assert(world.controller !== null, 'the server leads');
  const warmUp = await meter.run(clock.monotonicMs() + options.warmUpS * 1_000);
  const steady = await meter.run(clock.monotonicMs() + options.steadyS * 1_000);
  const rssSteadyMb = megabytes(process.memoryUsage.rss());
  const requests = await askedTurns(world.backend());
  const { losses, underLoad } = options.lost === 0 ? NO_LOSS : await loseRacks(world, meter, options);
  const rssPeakMb = megabytes(process.resourceUsage().maxRSS * 1_024);
  // This is measured last: after a full collection V8 begins the next one early, and that would be counted for the
  // loss.
  globalThis.gc?.();
  const heapUsedMb = megabytes(process.memoryUsage().heapUsed);
  const memory = { rssSteadyMb, rssPeakMb, heapUsedMb };
  const [asked, warnings] = [Object.fromEntries(world.fleet.asked), Object.fromEntries(world.warnings)];
  const result: RunResult = { keys, takeover, warmUp, steady, requests, losses, underLoad, asked, warnings, memory };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const megabytes = (bytes: number): number => Math.round(bytes / 1e6);

/** Times from the loss on. */
interface Loss {
  readonly vms: number;
  readonly lossToFirstDecisionMs: number;
  readonly lossToLastDecisionMs: number;
  readonly lossToLastRunningMs: number;
  /** The time from the loss to the last decision, and from there until all VMs run. */
  readonly decisions: Cost;
  readonly recovery: Cost;
  readonly wrong: readonly string[];
  readonly vmsPerHost: { readonly min: number; readonly max: number };
  /** What the leader asked for until all VMs ran. */
  readonly asked: Readonly<Record<string, number>>;
}

/** What happened while requests were asked. */
interface UnderLoad {
  readonly loss: Loss;
  /** The quiet time before the loss. */
  readonly quiet: Cost;
  readonly answered: number;
  /** How many requests were refused, and the messages of the first few. */
  readonly refused: number;
  readonly because: readonly string[];
}

const NO_LOSS = { losses: [], underLoad: null } as const;

/**
 * What a loss asks of the leader runs for the first time in the first one, and V8 compiles it meanwhile: so there is a
 * second one. The third one comes while requests are asked.
 */
async function loseRacks(
  world: ScaleWorld,
  meter: Meter,
  { lost }: RunOptions,
): Promise<{ readonly losses: readonly Loss[]; readonly underLoad: UnderLoad }> {
  let witness = (_each: Seen): void => undefined;
  await world.witness((each) => witness(each));
  const gone = new Set<HostName>();
  const loseRack = (rack: number): Promise<Loss> => {
    const hosts = Array.from({ length: lost }, (_, n) => hostName(rack * lost + n));
    for (const host of hosts) gone.add(host);
    return loseHosts(world, meter, { hosts, gone, onSeen: (listener) => (witness = listener) });
  };
  const losses = [await loseRack(0), await loseRack(1)];
  meter.watchTurns();
  const load = askForever(world.backend(), world.leader);
  const quiet = await meter.run(world.clock.monotonicMs() + ASKED_S * 1_000);
  const loss = await loseRack(2);
  load.end();
  const { refused } = load;
  const because = refused.slice(0, REASONS);
  const underLoad = { loss, quiet, answered: load.answered(), refused: refused.length, because };
  return { losses, underLoad };
}

interface LoseOptions {
  readonly hosts: readonly HostName[];
  /** The hosts of this rack, and those that were lost before. */
  readonly gone: ReadonlySet<HostName>;
  readonly onSeen: (listener: (each: Seen) => void) => void;
}

async function loseHosts(world: ScaleWorld, meter: Meter, { hosts, gone, onSeen }: LoseOptions): Promise<Loss> {
  const { clock, fleet } = world;
  const seen: Seen[] = [];
  const starting = new Set<VmId>();
  const affected = new Set(vmsOn(world, new Set(hosts)));
  const waiting = new Set(affected);
  onSeen((each) => {
    if ((each.after ?? each.before)?.name.startsWith(CREATED_PREFIX) === true) return;
    seen.push(each);
    if (each.after?.phase.kind === 'starting' && waiting.delete(each.id)) starting.add(each.id);
    if (each.after?.phase.kind === 'running') starting.delete(each.id);
  });
  const before = new Map(fleet.asked);
  const at = clock.monotonicMs();
  fleet.lose(hosts);
  const decisions = await meter.run(at + LOSS_MS_MAX, () => waiting.size === 0);
  const decidedAt = clock.monotonicMs();
  const recovery = await meter.run(at + LOSS_MS_MAX, () => waiting.size === 0 && starting.size === 0);
  const runningAt = clock.monotonicMs();
  const asked = [...fleet.asked].map(([what, count]) => [what, count - (before.get(what) ?? 0)] as const);
  await clock.run(clock.monotonicMs() + AFTERWARDS_MS);
  const counts = countPerHost(world, gone);
  return {
    vms: affected.size,
    lossToFirstDecisionMs: Math.round((seen[0]?.atMs ?? Number.NaN) - at),
    lossToLastDecisionMs: Math.round(decidedAt - at),
    lossToLastRunningMs: Math.round(runningAt - at),
    decisions,
    recovery,
    wrong: mistakes(world, seen, { affected, gone }),
    vmsPerHost: { min: Math.min(...counts), max: Math.max(...counts) },
    asked: Object.fromEntries(asked),
  };
}

function vmsOn({ vms }: ScaleWorld, hosts: ReadonlySet<HostName>): VmId[] {
  return [...vms.values()].flatMap(({ id, name, phase }) =>
    phase.kind === 'running' && hosts.has(phase.incarnation.host) && !name.startsWith(CREATED_PREFIX) ? [id] : [],
  );
}

function countPerHost({ vms, fleet }: ScaleWorld, gone: ReadonlySet<HostName>): number[] {
  const counts = new Map<HostName, number>(
    [...fleet.hosts.keys()].filter((host) => !gone.has(host)).map((host) => [host, 0]),
  );
  for (const { phase } of vms.values())
    if (phase.kind === 'running') counts.set(phase.incarnation.host, (counts.get(phase.incarnation.host) ?? 0) + 1);
  return [...counts.values()];
}

/**
 * Decisions that should not have been made: any about a VM whose host is there, a second one about a VM whose host is
 * gone, a new place on a lost host, beside a VM of the same group, or where no room is left; and VMs that do not run in
 * the end.
 */
function mistakes(
  world: ScaleWorld,
  seen: readonly Seen[],
  { affected, gone }: { readonly affected: ReadonlySet<VmId>; readonly gone: ReadonlySet<HostName> },
): string[] {
  const wrong: string[] = [];
  const starts = new Map<VmId, number>();
  for (const { id, before, after } of seen) {
    const name = after?.name ?? id;
    if (!affected.has(id)) wrong.push(`unasked: ${name}, ${before?.phase.kind} -> ${after?.phase.kind}`);
    if (after === null || before === null) wrong.push(`${name} came or went`);
    else if (after.generation !== before.generation) starts.set(id, (starts.get(id) ?? 0) + 1);
    else if (after.phase.kind !== 'running') wrong.push(`oscillating: ${name} became ${after.phase.kind}`);
  }
  for (const id of affected) {
    if (starts.get(id) !== 1) wrong.push(`repeated: ${id} was started ${starts.get(id) ?? 0} times`);
  }
  const bytes = new Map<HostName, number>();
  const groups = new Map<string, Set<HostName>>();
  for (const vm of world.vms.values()) {
    if (vm.phase.kind !== 'running') {
      if (vm.name.startsWith(CREATED_PREFIX)) continue;
      wrong.push(`${vm.name} is ${vm.phase.kind}`);
      continue;
    }
    const { host } = vm.phase.incarnation;
    if (gone.has(host)) wrong.push(`${vm.name} is on ${host}, which is lost`);
    bytes.set(host, (bytes.get(host) ?? 0) + vm.spec.memoryBytes);
    const group = vm.spec.antiAffinity;
    if (group === null) continue;
    const hosts = groups.get(group) ?? new Set<HostName>();
    if (hosts.has(host)) wrong.push(`two of ${group} are on ${host}`);
    groups.set(group, hosts.add(host));
  }
  for (const [host, used] of bytes) {
    const room = world.controller?.index.host(host)?.capacity.memoryBytes ?? 0;
    if (used > room) wrong.push(`${host} holds ${used} bytes in ${room}`);
  }
  return wrong;
}

await main(JSON.parse(process.argv[2] ?? '{}') as RunOptions);
