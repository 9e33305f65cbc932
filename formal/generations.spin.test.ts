/**
 * The model of generations.pml, searched exhaustively: with all its guards nothing is violated; without any one of them
 * something is. One search at a time, on one processor and below 4 GB: other suites run beside it.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Bounds, build, type Kind, type Program, readGuards, search, type Workshop } from './spin.ts';

const DEADLINE_MS = 560_000;

const NOTHING: Bounds = { breaks: 0, late: 0, migrations: 0, stops: 0, terms: 1, calm: 0 };

/** The meaning of each violated assertion, by the text that the checker prints. */
const SAYS = {
  oneWriter: /\(e&\(e-1\)\)==0/,
  writesInOrder: /e>=newest/,
  memoryAsOldAsDisk: /\(e&stale\)==0/,
  onlyCurrentGranted: /granted/,
  nothingWhenStopped: /phase!=0\)\)\|\|\(granted==0/,
  completeAtCommit: /q\[rec\.cur\]==7.*q\[rec\.oth\]==4/,
  wishKept: /rec\.stop==/,
  leaderOnly: /\.term==term/,
  stuck: /rec\.gen==4/,
  neverSettles: /acceptance cycle/,
} as const;

/** With all guards: every state within these bounds. */
const SEARCHES: readonly { name: string; bounds: Bounds; kind: Kind }[] = [
  {
    name: 'recovery and migration, two things break',
    bounds: { ...NOTHING, breaks: 2, late: 1, migrations: 1, terms: 2 },
    kind: 'assertions',
  },
  {
    name: 'migration and power-off, one thing breaks, no deadlock',
    bounds: { ...NOTHING, breaks: 1, migrations: 1, stops: 1, terms: 2, calm: 1 },
    kind: 'assertions',
  },
  {
    name: 'power-off, one thing breaks, one order comes late',
    bounds: { ...NOTHING, breaks: 1, late: 1, stops: 1, terms: 2 },
    kind: 'assertions',
  },
  {
    name: 'three leaders',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 3 },
    kind: 'assertions',
  },
  {
    name: 'two migrations',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 2, terms: 2 },
    kind: 'assertions',
  },
  {
    name: 'no deadlock once nothing breaks any more',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 2, calm: 1 },
    kind: 'assertions',
  },
  {
    name: 'progress: recovery and migration',
    bounds: { ...NOTHING, breaks: 1, migrations: 1, terms: 2, calm: 1 },
    kind: 'progress',
  },
  {
    name: 'progress: power-off',
    bounds: { ...NOTHING, breaks: 1, stops: 1, terms: 2, calm: 1 },
    kind: 'progress',
  },
];

interface Mutation {
  readonly bounds: Bounds;
  readonly finds: RegExp;
  readonly kind?: Kind;
  /** Leaves out the assertion that only the current generation is granted, which usually fails first. */
  readonly writersOnly?: true;
}

const STOP: Bounds = { ...NOTHING, breaks: 2, stops: 1 };
const MOVE: Bounds = { ...NOTHING, breaks: 1, migrations: 1 };
const TWO: Bounds = { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 2 };
const CALM: Bounds = { ...NOTHING, breaks: 1, migrations: 1, terms: 2, calm: 1 };

/** What goes wrong without each guard. */
const MUTATIONS: Readonly<Record<string, Mutation>> = {
  FENCE_BEFORE_GRANT: { bounds: MOVE, finds: SAYS.oneWriter, writersOnly: true },
  FENCE_BEFORE_CONT: { bounds: TWO, finds: SAYS.oneWriter, writersOnly: true },
  FENCE_BEFORE_STOPPED: { bounds: STOP, finds: SAYS.nothingWhenStopped },
  FLOOR: { bounds: TWO, finds: SAYS.oneWriter, writersOnly: true },
  REVOKED_REMEMBERED: { bounds: TWO, finds: SAYS.onlyCurrentGranted },
  REVOKED_AFTER_RESTART: { bounds: TWO, finds: SAYS.onlyCurrentGranted },
  READING_BEFORE_GRANTING: { bounds: TWO, finds: SAYS.oneWriter, writersOnly: true },
  CHECK_WHEN_RESTORING: { bounds: STOP, finds: SAYS.oneWriter, writersOnly: true },
  HARD_STOP_ADMITTING_NOTHING: { bounds: STOP, finds: SAYS.oneWriter, writersOnly: true },
  NEW_GENERATION: { bounds: STOP, finds: SAYS.oneWriter, writersOnly: true },
  ELECTION_COMPARE: { bounds: TWO, finds: SAYS.leaderOnly },
  REVISION_COMPARE: { bounds: STOP, finds: SAYS.wishKept },
  THE_SOURCES_WORD: { bounds: MOVE, finds: SAYS.completeAtCommit },
  A_COMPLETE_DESTINATION: { bounds: MOVE, finds: SAYS.completeAtCommit },
  ASKING_THE_SOURCE_AGAIN: { bounds: { ...TWO, breaks: 0, late: 0 }, finds: SAYS.memoryAsOldAsDisk },
  DOUBTING_A_SILENT_SOURCE: { bounds: TWO, finds: SAYS.memoryAsOldAsDisk },
  KNOWING_THE_RECEIVER: { bounds: { ...MOVE, migrations: 2, terms: 2 }, finds: SAYS.memoryAsOldAsDisk },
  REVOKING_THE_DESTINATION: { bounds: MOVE, finds: SAYS.onlyCurrentGranted },
  COMMIT_BEFORE_CONT: { bounds: TWO, finds: SAYS.writesInOrder },
  GIVING_UP_AN_EMPTY_ARRIVAL: { bounds: CALM, finds: SAYS.stuck },
  GIVING_A_MIGRATION_UP: { bounds: CALM, finds: SAYS.stuck },
  CONTINUING_AFTER_AN_ERROR: { bounds: CALM, finds: SAYS.stuck },
  ENDING_WHAT_IS_STALE: { bounds: CALM, finds: SAYS.stuck },
  RESTORING: { bounds: CALM, finds: SAYS.neverSettles, kind: 'progress' },
};

const cancelled = new AbortController();
let workshop: Workshop;
let programs: Readonly<Record<Kind, Program>>;
before(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gp-spin-'));
  workshop = { folder, deadlineMs: DEADLINE_MS, signal: cancelled.signal };
  programs = { assertions: await build('assertions', workshop), progress: await build('progress', workshop) };
});
after(async () => {
  cancelled.abort();
  await rm(workshop.folder, { recursive: true, force: true });
});

describe('the model, searched', { timeout: DEADLINE_MS }, () => {
  for (const { name, bounds, kind } of SEARCHES) {
    it(name, async (t) => {
      const found = await search(programs[kind], { name, bounds, settings: [], isFair: true }, workshop);
      assert.equal(found.violation, null, found.output);
      assert.ok(found.complete, found.output);
      if (kind === 'assertions' && bounds.calm === 1) assert.deepEqual(found.unreached, []);
      t.diagnostic(`${found.states} states, depth ${found.depth}`);
    });
  }

  for (const [guard, { bounds, finds, kind = 'assertions', writersOnly }] of Object.entries(MUTATIONS)) {
    it(`without ${guard.toLowerCase().replaceAll('_', ' ')} it fails`, async () => {
      const settings = [`WITHOUT_${guard}`, ...(writersOnly === true ? ['ONLY_WRITERS'] : [])];
      const found = await search(programs[kind], { name: guard, bounds, settings, isFair: true }, workshop);
      assert.match(found.violation ?? 'nothing was found', finds);
    });
  }

  it('progress needs fairness: without it the check of progress fails', async () => {
    const unfair = { name: 'unfair', bounds: CALM, settings: [], isFair: false };
    const found = await search(programs.progress, unfair, workshop);
    assert.match(found.violation ?? 'nothing was found', SAYS.neverSettles);
  });

  it('every guard of the model is taken away once', async () => {
    assert.deepEqual(Object.keys(MUTATIONS).sort(), await readGuards());
  });
});
