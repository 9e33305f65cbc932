/**
 * Plays what one person does with one VM, step after step, in a cluster in which nothing fails: every sequence up to
 * some length, each with a VM of its own, and checks the guest at the end. Guarantees: the expected result depends on
 * the sequence alone.
 */
import type { TraceEntry } from '../../core/check/trace.ts';
import { SimCluster } from '../cluster.ts';
import { calmSwarm } from '../faults/swarm.ts';
import { disorder } from '../judge/disorder.ts';
import { People } from '../people/people.ts';
import { begin } from '../run.ts';

export const STEPS = ['suspend', 'resume', 'reset', 'migrate', 'stop'] as const;
export type SequenceStep = (typeof STEPS)[number];
export type Sequence = readonly SequenceStep[];

export interface SequencesOptions {
  readonly seed: number;
  /** The sequences to play, at most VMS_AT_ONCE. */
  readonly sequences: readonly Sequence[];
  /** Pause between steps in ms of simulated time; null: each step begins when the previous one has settled. */
  readonly gapMs: number | null;
  readonly log?: (line: string) => void;
}

/** How many VMs are acted on at the same time. */
export const VMS_AT_ONCE = 12;
const HOST_BYTES = 40 * 2 ** 30;
/** Deadline for a step, in ms of simulated time; after it the cluster is considered stuck. */
const SETTLE_MS = 60_000;
const LOOK_MS = 250;

/** Returns every sequence of one to `length` steps; a stopped VM takes no further ones. */
export function sequencesUpTo(length: number): readonly Sequence[] {
  if (length === 0) return [];
  const longer = sequencesUpTo(length - 1).flatMap((rest) => STEPS.map((step): Sequence => [...rest, step]));
  return [...STEPS.map((step): Sequence => [step]), ...longer].filter(
    (sequence) => !sequence.slice(0, -1).includes('stop'),
  );
}

/** Plays the sequences; returns what is wrong afterwards, one sentence each. */
export async function runSequences(options: SequencesOptions): Promise<readonly string[]> {
  const { seed, sequences, gapMs, log = null } = options;
  const swarm = { ...calmSwarm(seed, sequences.length), hostMemoryBytes: HOST_BYTES };
  const cluster = new SimCluster({ swarm, log, bug: null });
  const people = new People(cluster);
  const guests = new Guests(cluster);
  const wrong = [...(await begin(cluster, people, () => false))];
  const settle = async (): Promise<void> => {
    const { clock } = cluster;
    const endsAt = clock.monotonicMs() + SETTLE_MS;
    // The last request is in etcd by then.
    await clock.run(clock.monotonicMs() + LOOK_MS);
    while (disorder(cluster).length > 0 && clock.monotonicMs() < endsAt) await clock.run(clock.monotonicMs() + LOOK_MS);
    wrong.push(...disorder(cluster));
  };
  const longest = Math.max(...sequences.map(({ length }) => length));
  for (let i = 0; i < longest && wrong.length === 0; i++) {
    for (const [n, sequence] of sequences.entries()) {
      const step = sequence[i];
      if (step !== undefined) people.wishFor(step, `vm${n + 1}`, null);
    }
    if (gapMs === null) await settle();
    else await cluster.clock.run(cluster.clock.monotonicMs() + gapMs);
  }
  await settle();
  for (const n of sequences.keys()) people.wishFor('resume', `vm${n + 1}`, null);
  await settle();
  const { violations } = cluster;
  wrong.push(...violations.map(({ rule, what }) => `${rule}: ${what}`));
  for (const [n, sequence] of sequences.entries()) {
    const told = gapMs === null ? guests.differences(`vm${n + 1}`, sequence) : guests.restarts(`vm${n + 1}`);
    wrong.push(...told.map((what) => `${sequence.join(', ')}: ${what}`));
  }
  return wrong;
}

/** Records each guest's history: how often it booted, its generations, and why. */
class Guests {
  readonly #cluster: SimCluster;
  readonly #boots = new Map<string, number>();
  readonly #restarts = new Map<string, string[]>();

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    cluster.onEntry = (entry) => this.#note(entry);
  }

  #note(entry: TraceEntry): void {
    if (entry.kind === 'booted') {
      const key = `${entry.vm} ${entry.disk}`;
      this.#boots.set(key, (this.#boots.get(key) ?? 0) + 1);
    }
    if (entry.kind !== 'commit') return;
    for (const { kind, value } of entry.changes) {
      if (kind !== 'vm' || value === null || value.phase.kind !== 'starting' || value.phase.reason === 'requested')
        continue;
      this.#restarts.set(value.name, [...(this.#restarts.get(value.name) ?? []), value.phase.reason]);
    }
  }

  /** Returns the automatic restarts of a guest, each of which lost its memory. */
  restarts(name: string): readonly string[] {
    return (this.#restarts.get(name) ?? []).map((reason) => `${name} was started anew (${reason})`);
  }

  /** Compares the guest with the expected result when each step had its time to complete. */
  differences(name: string, sequence: Sequence): readonly string[] {
    const { tables } = this.#cluster.truth;
    const vm = [...tables.vm.values()].find((record) => record.name === name);
    const wrong = [...this.restarts(name)];
    if (vm === undefined) return [...wrong, `${name} is gone`];
    const expected = expectedOf(sequence);
    if (vm.generation !== expected.generation)
      wrong.push(`${name} is at generation ${vm.generation}, not ${expected.generation}`);
    for (const { disk } of vm.spec.disks) {
      const boots = this.#boots.get(`${vm.id} ${disk}`) ?? 0;
      if (boots !== expected.boots) wrong.push(`the guest of ${name} booted ${boots} times, not ${expected.boots}`);
    }
    const failed = [...tables.task.values()].filter(
      ({ target, state }) => target.name === name && state !== 'succeeded',
    );
    wrong.push(...failed.map(({ kind, state, message }) => `${kind} ${state}: ${message}`));
    return wrong;
  }
}

/** Returns what a sequence does to a guest that ran once and is continued at the end unless it was stopped. */
function expectedOf(sequence: Sequence): { readonly generation: number; readonly boots: number } {
  let generation = 1;
  let boots = 1;
  let isHalted = false;
  let isBootDue = false;
  const last = sequence.at(-1);
  for (const step of last === 'stop' ? sequence : [...sequence, 'resume' as const]) {
    if (step === 'migrate') generation++;
    if (step === 'suspend') isHalted = true;
    if (step === 'reset' && isHalted) isBootDue = true;
    if (step === 'reset' && !isHalted) boots++;
    // A guest runs while it shuts down.
    if (step !== 'resume' && step !== 'stop') continue;
    isHalted = false;
    if (isBootDue) boots++;
    isBootDue = false;
  }
  return { generation, boots };
}
