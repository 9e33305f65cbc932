/**
 * Tells a story of scenarios/ on a simulated cluster, in simulated time. Guarantees: the same seed tells it in the same
 * way, to the last line of the log; any rule of core/check that the cluster breaks meanwhile ends it, as a step that
 * does not come true does.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../../base/errors.ts';
import { parseStory } from '../../stories/story-language.ts';
import { type StoryStage, StoryTeller } from '../../stories/story-teller.ts';
import { findVm, GpCommands } from './gp-commands.ts';
import { Observer } from './observe.ts';
import { StoryCluster, type StoryClusterOptions } from './story-cluster.ts';

const SCENARIOS = join(import.meta.dirname, '../../../scenarios');
const POLL_MS = [30, 150] as const;
const LINES_SHOWN = 30;

/** What a story recorded, and what its golden log says it should have. */
export interface Told {
  readonly recorded: string;
  readonly golden: string;
  readonly simulatedMs: number;
}

/** The stories that there are, in the order of their names. */
export async function listStories(): Promise<readonly string[]> {
  const entries = await readdir(SCENARIOS, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

/**
 * Tells the story of that name. Throws an Error at the step that does not come true; CodedError 'not-found' where there
 * is no such story.
 */
export async function tellStory(name: string, options: StoryClusterOptions): Promise<Told> {
  const known = await listStories();
  if (!known.includes(name))
    throw new CodedError('not-found', `There is no story ${JSON.stringify(name)}.`, {
      advice: `There are: ${known.join(', ')}.`,
    });
  const read = (file: string): Promise<string> => readFile(join(SCENARIOS, name, file), 'utf8');
  const golden = await read('golden.log');
  return { ...(await tell(await read('story.txt'), options)), golden };
}

/** Tells the story of that text. Throws as `tellStory` does, and an Error for a text that is no story. */
export async function tell(text: string, options: StoryClusterOptions): Promise<Omit<Told, 'golden'>> {
  const { shape, statements } = parseStory(text);
  const cluster = await StoryCluster.start(shape, options);
  const teller = new StoryTeller(stageOn(cluster));
  await teller.take(statements);
  return { recorded: teller.recorded(), simulatedMs: cluster.nowMs };
}

function stageOn(cluster: StoryCluster): StoryStage {
  const gp = new GpCommands(cluster);
  const observer = new Observer(cluster);
  /** Events up to this revision are of the cluster's start. */
  const since = gp.server().store.revision;
  return {
    nowMs: () => cluster.nowMs,
    pass: () => cluster.pass(cluster.random.between(...POLL_MS)),
    gp: (words) => gp.run(words),
    fact: (words) => observer.fact(words),
    look: (words, waiting) => observer.look(words, waiting),
    fellLeader: (fall) => cluster.faults.arm({ ...fall, control: observer.fact(['leader']) }),
    checkDisks: (name) => {
      const { id } = findVm(gp.server(), name).value;
      const lines = gp
        .server()
        .store.disksOf(id)
        .map(({ id: disk, node }) => {
          const content = cluster.sim.storage.get(node)?.pool.contentOf(disk) ?? new Set<number>();
          const wrong = cluster.guests.wrongWith(id, disk, content);
          if (wrong.length > 0) throw new Error(`The disk of ${name} is not as acknowledged:\n${wrong.join('\n')}`);
          return content.size;
        });
      return `${lines.join(' and ')} lines`;
    },
    events: () =>
      [...gp.server().store.events.entries.values()]
        .filter(({ revision }) => revision > since)
        .sort((a, b) => a.revision - b.revision)
        .map(({ value: { kind, vmName, host, generation } }) => ({ kind, vm: vmName, host, generation })),
    onStep: (line) => cluster.sim.say(() => `== ${line}`),
    lastWords: () => cluster.lastLines(LINES_SHOWN).join('\n'),
  };
}
