/**
 * What one seed makes of a run: the cluster's shape, which misfortunes there are and how often. Most runs have few
 * kinds of misfortune, so that what each does is not hidden behind the others (swarm testing: Groce et al., ISSTA
 * 2012).
 */
import { type HostTroubles, NO_HOST_TROUBLES } from '../agent/agent-machine.ts';
import { CALM, type NetworkName, type NetworkWeather } from '../network/network.ts';
import { SimRandom } from '../time/sim-random.ts';

/** Misfortunes that happen now and then, each with its mean time between two of them in ms; absent: never. */
export const FAULTS = [
  'crash-server',
  'crash-leader',
  'crash-leader-at-step',
  'freeze-leader',
  'freeze-leader-at-step',
  'crash-agent',
  'crash-storage-service',
  'crash-daemon',
  'crash-etcd',
  'crash-qemu',
  'guest-ends',
  'guest-panics',
  'control-node-dies',
  'storage-node-dies',
  'host-dies',
  'rack-dies',
  'wipe-agent',
  'reinstall-host',
  'everything-dies',
  'cut-host',
  'cut-host-one-way',
  'cut-host-network',
  'cut-host-overlay',
  'cut-pair',
  'cut-pair-one-way',
  'cut-control-node',
  'cut-storage-node',
  'cut-racks',
  'storm',
  'freeze-server',
  'freeze-agent',
  'freeze-storage-service',
  'freeze-daemon',
  'freeze-etcd',
  'freeze-qemu',
  'clock-jump',
  'clock-drift',
  'slow-disk',
  'slow-pool',
  'full-pool',
  'compact-etcd',
  'lose-etcd-replies',
  'crash-target',
  'freeze-target',
  'cut-host-while-slow',
  'ask-at-step',
  'blind-leader',
  'bad-value',
  'stop-agent-at-launch',
  'cut-disks',
  'full-etcd',
] as const;
export type FaultName = (typeof FAULTS)[number];

/** Those that came later than the seeds. */
const LATER: ReadonlySet<FaultName> = new Set([
  'crash-target',
  'freeze-target',
  'cut-host-while-slow',
  'ask-at-step',
  'blind-leader',
  'bad-value',
  'stop-agent-at-launch',
  'cut-disks',
  'full-etcd',
]);
/** Without shared disks nobody would notice them. */
const OF_SHARED_DISKS: ReadonlySet<FaultName> = new Set(['crash-target', 'freeze-target']);

/** What people do, likewise. */
export const DEEDS = [
  'create',
  'start',
  'stop',
  'power-off',
  'suspend',
  'resume',
  'reset',
  'migrate',
  'migrate-to',
  'drain',
  'delete',
  'share',
  'cancel',
  'ask',
  'image',
  'maintain',
  'members',
] as const;
export type DeedName = (typeof DEEDS)[number];
/** Those that came later than the seeds: drawn from streams of their own. */
const LATER_DEEDS: ReadonlySet<DeedName> = new Set([
  ...(['share', 'cancel', 'ask', 'image', 'maintain', 'members'] as const),
]);

/** One run, before anything has happened. */
export interface Swarm {
  readonly seed: number;
  readonly controls: number;
  readonly storageNodes: number;
  readonly hosts: number;
  readonly racks: number;
  readonly vms: number;
  /** Every VM is alike: restarted after a failure, in no anti-affinity group. */
  readonly hasPlainVms?: boolean;
  /** Machines have a place for shared disks. */
  readonly hasSharedDisks: boolean;
  readonly hostMemoryBytes: number;
  /** How long anything may fail, in ms. */
  readonly troubleMs: number;
  readonly faults: ReadonlyMap<FaultName, number>;
  readonly deeds: ReadonlyMap<DeedName, number>;
  readonly weather: Readonly<Record<NetworkName, NetworkWeather>>;
  readonly hostTroubles: HostTroubles;
  /** How many guests in a hundred ignore the power button. */
  readonly deafPercent: number;
  /** How many migrations in a hundred complete without their source hearing of it. */
  readonly lostEndPercent: number;
  /** VMs that people make no more of; absent: 12. */
  readonly vmsMax?: number;
  /** Between two requests of a guest on one disk, in ms; absent: as in small clusters (qemu-process.ts). */
  readonly thinkMs?: readonly [number, number] | undefined;
  /** Somebody rolls over all hosts; absent: nobody does. */
  readonly roll?: RollSwarm;
  /** Of how many agents in a hundred the version is another one than the server's, older or newer. */
  readonly skewPercent: number;
}

/** A roll, as an administrator begins it. */
export interface RollSwarm {
  readonly maxUnavailable: number;
  readonly perRack: number | null;
  readonly commands: readonly ('pre' | 'run' | 'verify')[];
  readonly windows: readonly string[];
  readonly onFailure: 'stop' | 'continue';
  /** How many commands in a hundred fail. */
  readonly workFailsPercent: number;
  /** How many looks in a hundred, of which there is one each 0.7 s, end the `gp` that runs commands, or make somebody pause or abort the roll. */
  readonly gpEndsPercent: number;
  readonly pausePercent: number;
  readonly abortPercent: number;
  /** Mean time between two things that a user does meanwhile (people/roll-users.ts), in ms. */
  readonly usersMs: number;
}

const GIB = 2 ** 30;
/** A guest's memory in a simulated cluster, in bytes. */
export const VM_BYTES = GIB;

/** Draws a run from a seed. */
export function drawSwarm(seed: number): Swarm {
  const random = new SimRandom(seed).fork('swarm');
  const share = random.pick([0.06, 0.12, 0.25, 0.5]);
  const percent = (likely: number, most: number): number => (random.unit() < likely ? random.between(0, most) : 0);
  const faults = new Map<FaultName, number>();
  const often = (from: SimRandom): number => from.pick([2_500, 6_000, 12_000, 25_000]);
  for (const name of FAULTS) if (!LATER.has(name) && random.unit() < share) faults.set(name, often(random));
  const deeds = new Map<DeedName, number>();
  for (const name of DEEDS)
    if (!LATER_DEEDS.has(name) && random.unit() < 0.5) deeds.set(name, random.pick([1_500, 4_000, 10_000]));
  if (random.unit() < 0.6) deeds.set('migrate', random.pick([800, 2_000, 5_000]));
  // Streams of their own: the seeds that were there before stay what they were.
  const sharing = new SimRandom(seed).fork('share');
  if (sharing.unit() < 0.3) deeds.set('share', sharing.pick([1_500, 4_000]));
  const cancelling = new SimRandom(seed).fork('cancel');
  if (cancelling.unit() < 0.4) deeds.set('cancel', cancelling.pick([800, 2_500, 6_000]));
  const asking = new SimRandom(seed).fork('ask');
  if (asking.unit() < 0.5) deeds.set('ask', asking.pick([500, 1_500, 4_000]));
  const imaging = new SimRandom(seed).fork('image');
  if (imaging.unit() < 0.4) deeds.set('image', imaging.pick([1_000, 2_500]));
  const changing = new SimRandom(seed).fork('members');
  if (changing.unit() < 0.3) deeds.set('members', changing.pick([3_000, 7_000, 15_000]));
  const full = drawFullEstate(seed);
  if (full !== null) deeds.set('maintain', full.meanMs);
  const later = new SimRandom(seed).fork('later faults');
  for (const name of LATER) {
    const isWanted = later.unit() < (deeds.has('share') ? 0.5 : share);
    const meanMs = often(later);
    if (isWanted && (deeds.has('share') || !OF_SHARED_DISKS.has(name))) faults.set(name, meanMs);
  }
  const hosts = 3 + random.below(4);
  const drawn: Swarm = {
    seed,
    controls: random.unit() < 0.4 ? 1 : 3,
    storageNodes: 1 + random.below(3),
    hosts,
    racks: 1 + random.below(3),
    vms: 1 + random.below(6),
    hasSharedDisks: deeds.has('share'),
    hostMemoryBytes: random.pick([3, 4, 5, 9]) * GIB,
    troubleMs: random.pick([8_000, 15_000, 25_000, 40_000]),
    faults,
    deeds,
    weather: {
      control: drawWeather(random),
      storage: drawWeather(random),
      overlay: CALM,
    },
    hostTroubles: {
      fetchFails: 0,
      startFails: percent(0.15, 30),
      startHangs: percent(0.05, 5),
      killSticks: percent(0.1, 20),
      networkFails: percent(0.1, 20),
    },
    deafPercent: percent(0.3, 60),
    lostEndPercent: percent(0.4, 25),
    skewPercent: random.unit() < 0.4 ? 50 : 0,
  };
  if (full === null) return drawn;
  const shape = { hosts: 3, vms: full.vms, hostMemoryBytes: full.hostGib * GIB, hasPlainVms: true };
  return { ...drawn, ...shape, ...(full.isCalm ? { faults: new Map() } : {}) };
}

/**
 * Maintenance of a cluster that is nearly full, in a quarter of the seeds: three hosts with room for two or three VMs each,
 * so that what a drain was promised is what somebody else wants, and often no misfortune that hides it; null: none.
 */
function drawFullEstate(
  seed: number,
): { readonly meanMs: number; readonly vms: number; readonly hostGib: number; readonly isCalm: boolean } | null {
  const random = new SimRandom(seed).fork('maintain');
  if (random.unit() >= 1 / 4) return null;
  const hostGib = random.pick([3, 4]);
  const vms = hostGib === 3 ? 3 : 3 + random.below(3);
  return { meanMs: random.pick([400, 800, 1_500]), hostGib, vms, isCalm: random.chance(40) };
}

/** Sizes of a cluster whose hosts are rolled over. */
export const ROLLS = {
  /** As `npm test` plays it. */
  small: {
    hosts: [12, 20],
    often: [8_000, 20_000, 45_000],
    troubleMs: [30_000, 60_000],
    usersMs: [800, 2_000, 6_000],
    thinkMs: undefined,
  },
  /** Guests write rarely: the writes of 500 guests would be most of what is simulated. */
  large: {
    hosts: [200, 200],
    often: [4_000, 10_000, 25_000],
    troubleMs: [60_000, 150_000],
    usersMs: [300, 1_000],
    thinkMs: [2_000, 12_000],
  },
} as const;
export type RollSize = keyof typeof ROLLS;

/** Draws a run in which somebody rolls over all hosts, while anything may fail and people go on using the cluster. */
export function drawRoll(seed: number, size: RollSize): Swarm {
  const random = new SimRandom(seed).fork(`roll ${size}`);
  const { often, ...sizes } = ROLLS[size];
  const hosts = sizes.hosts[0] + random.below(sizes.hosts[1] - sizes.hosts[0] + 1);
  const racks = Math.ceil(hosts / 5);
  const share = random.pick([0, 0.06, 0.12, 0.25]);
  const faults = new Map<FaultName, number>();
  for (const name of FAULTS)
    if (!OF_SHARED_DISKS.has(name) && random.unit() < share) faults.set(name, random.pick(often));
  const deeds = new Map<DeedName, number>();
  for (const name of ['create', 'start', 'stop', 'power-off', 'migrate', 'drain', 'delete', 'ask'] as const)
    if (random.unit() < 0.5) deeds.set(name, random.pick(often));
  return {
    ...calmSwarm(seed, Math.floor(hosts * random.pick([1, 2, 2.5]))),
    storageNodes: Math.max(2, Math.ceil(hosts / 20)),
    hosts,
    racks,
    hasSharedDisks: false,
    vmsMax: hosts * 3,
    troubleMs: random.pick(sizes.troubleMs),
    thinkMs: sizes.thinkMs,
    faults,
    deeds,
    deafPercent: random.pick([0, 0, 30]),
    lostEndPercent: random.pick([0, 0, 10]),
    skewPercent: random.pick([0, 0, 50]),
    roll: {
      maxUnavailable: Math.max(1, Math.floor(hosts / random.pick([5, 8, 12]))),
      perRack: random.pick([null, 1, 1, 2]),
      commands: random.pick([['pre', 'run', 'verify'], ['run'], ['run', 'verify'], []] as const),
      windows: random.pick(WINDOWS),
      onFailure: random.pick(['stop', 'continue']),
      workFailsPercent: random.pick([0, 3, 10]),
      gpEndsPercent: random.pick([0, 0, 1]),
      pausePercent: random.pick([0, 0, 1]),
      abortPercent: random.pick([0, 0, 0, 0.3]),
      usersMs: random.pick(sizes.usersMs),
    },
  };
}

/** A simulation begins at 22:13:20 UTC on a Tuesday. The last window of each is long. */
const WINDOWS = [
  [],
  ['Tue 22:13-22:15 UTC', 'Tue 22:16-04:00 UTC'],
  ['Tue 23:14-23:15 Europe/Berlin', 'Tue 22:16-22:17 UTC', 'Mon-Sun 22:18-22:12 Europe/London'],
  ['Wed 03:44-03:45 Asia/Kolkata', 'Tue 17:15-17:16 America/New_York', 'Tue-Wed 22:18-22:17 UTC'],
] as const;

/** A cluster in which nothing happens by itself. */
export function calmSwarm(seed: number, vms: number): Swarm {
  const faults: Swarm['faults'] = new Map();
  const deeds: Swarm['deeds'] = new Map();
  return {
    seed,
    controls: 3,
    storageNodes: 2,
    hosts: 3,
    racks: 1,
    vms,
    hasPlainVms: true,
    hasSharedDisks: true,
    hostMemoryBytes: 5 * GIB,
    troubleMs: 0,
    faults,
    deeds,
    weather: { control: CALM, storage: CALM, overlay: CALM },
    hostTroubles: NO_HOST_TROUBLES,
    deafPercent: 0,
    lostEndPercent: 0,
    skewPercent: 0,
  };
}

function drawWeather(random: SimRandom): NetworkWeather {
  const percent = (likely: number, most: number): number => (random.unit() < likely ? random.between(0, most) : 0);
  return {
    delayMs: random.pick([
      [0.1, 0.5],
      [0.2, 2],
      [1, 12],
      [0.2, 40],
    ] as const),
    lossPercent: percent(0.3, 4),
    duplicatePercent: percent(0.3, 6),
    latePercent: percent(0.3, 6),
    lateMs: random.pick([50, 400, 3_000, 8_000]),
  };
}
