/** Plays a story on a real cluster: its steps as they are done there. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../../src/base/sleep.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { systemClock } from '../../src/os/clock.ts';
import { parseStory, type Story } from '../../src/stories/story-language.ts';
import { type StoryStage, StoryTeller } from '../../src/stories/story-teller.ts';
import { checkDisk } from './disk-check.ts';
import { Observer } from './observe.ts';
import type { StoryCluster } from './story-cluster.ts';

const SCENARIOS = join(import.meta.dirname, '../../scenarios');
const POLL_MS = 150;

/** The recorded log of a story, and its golden log. */
export interface Told {
  readonly recorded: string;
  readonly golden: string;
}

/** The story in a folder of scenarios/. */
export async function readStory(name: string): Promise<Story> {
  return parseStory(await readFile(join(SCENARIOS, name, 'story.txt'), 'utf8'));
}

/**
 * Plays the story of that name. Throws an Error at the step that does not come true. GP_UPDATE_GOLDEN=1 rewrites its
 * golden log.
 */
export async function tell(name: string, cluster: StoryCluster): Promise<Told> {
  const story = await readStory(name);
  const teller = new StoryTeller(stageOn(cluster, await cluster.newestEvent()));
  await teller.take(story.statements);
  const file = join(SCENARIOS, name, 'golden.log');
  const recorded = teller.recorded();
  if (process.env['GP_UPDATE_GOLDEN'] === '1') await writeFile(file, recorded);
  return { recorded, golden: await readFile(file, 'utf8').catch(() => '') };
}

function stageOn(cluster: StoryCluster, since: bigint): StoryStage {
  const observer = new Observer(cluster);
  const startedMs = performance.now();
  return {
    nowMs: () => performance.now() - startedMs,
    pass: () => sleep(systemClock, POLL_MS),
    gp: async (words) => {
      const { exitCode, stdout, stderr } = await cluster.gp(words);
      return { isDone: exitCode === 0, said: `gp ended with status ${exitCode}.\n${stdout}${stderr}` };
    },
    fact: (words) => observer.fact(words),
    look: (words, waiting) => observer.look(words, waiting),
    fellLeader: async ({ by, workflow, step }) => {
      const leader = await observer.fact(['leader']);
      await writeFile(labLayout(cluster.dir).machine(leader).failpointFile, `${by} ${workflow} ${step}\n`);
    },
    checkDisks: (name) => checkDisks(cluster, name),
    events: () => cluster.eventsAfter(since),
    onTaken: (note) => {
      if (process.env['GP_TELL'] === '1') console.error(note);
    },
  };
}

async function checkDisks({ client, serial, dir }: StoryCluster, name: string): Promise<string> {
  const vm = await client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } } }));
  serial.look();
  const logs = serial.of(vm.id).map(({ text }) => text);
  const report = await checkDisk(dir, vm, logs);
  if (!report.good) throw new Error(`The disk of ${name} is not as acknowledged:\n${shown(report)}`);
  return `${report.lastSequence} lines, ${report.counts.acknowledged} acknowledged`;
}

function shown(report: object): string {
  return JSON.stringify(report, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value), 2);
}
