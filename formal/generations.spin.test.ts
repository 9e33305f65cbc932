/**
 * The model of generations.pml, searched exhaustively: with all its guards nothing is violated; without any one of them something is.
 * Two searches at a time, each on one processor and below 4 GB.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Bounds, readGuards, type Search, search } from './spin.ts';

const DEADLINE_MS = 560_000;

const NOTHING: Bounds = { breaks: 0, late: 0, migrations: 0, stops: 0, terms: 1, calm: 0 };
const ASSERTIONS = 'assertions';
const PROGRESS = { ltl: 'settles', fair: true } as const;

/** What each violated assertion says, by what the checker prints of it. */
const SAYS = {
  oneWriter: /\(e&\(e-1\)\)==0/,
  writesInOrder: /e>=newest/,
  memoryAsOldAsDisk: /\(e&stale\)==0/,
  onlyCurrentGranted: /granted/,
  nothingWhenStopped: /phase!=0\)\|\|\(granted==0/,
  completeAtCommit: /q\[rec\.cur\]==7.*q\[rec\.oth\]==4/,
  wishKept: /rec\.stop==/,
  leaderOnly: /\.term==term/,
  stuck: /rec\.gen==4/,
  neverSettles: /acceptance cycle/,
} as const;

/** With all guards: every state within these bounds. */
const SEARCHES: readonly { name: string; bounds: Bounds; property: Search['property'] }[] = [
  {
    name: 'recovery and migration, two things break',
    bounds: { ...NOTHING, breaks: 2, late: 1, migrations: 1, terms: 2 },
    property: ASSERTIONS,
  },
  {
    name: 'migration and power-off, one thing breaks, no deadlock',
    bounds: { ...NOTHING, breaks: 1, migrations: 1, stops: 1, terms: 2, calm: 1 },
    property: ASSERTIONS,
  },
  {
    name: 'power-off, one thing breaks, one order comes late',
    bounds: { ...NOTHING, breaks: 1, late: 1, stops: 1, terms: 2 },
    property: ASSERTIONS,
  },
  {
    name: 'three leaders',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 3 },
    property: ASSERTIONS,
  },
  {
    name: 'two migrations',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 2, terms: 2 },
    property: ASSERTIONS,
  },
  {
    name: 'no deadlock once nothing breaks any more',
    bounds: { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 2, calm: 1 },
    property: ASSERTIONS,
  },
  {
    name: 'progress: recovery and migration',
    bounds: { ...NOTHING, breaks: 1, migrations: 1, terms: 2, calm: 1 },
    property: PROGRESS,
  },
  {
    name: 'progress: power-off',
    bounds: { ...NOTHING, breaks: 1, stops: 1, terms: 2, calm: 1 },
    property: PROGRESS,
  },
];

interface Mutation {
  readonly bounds: Bounds;
  readonly finds: RegExp;
  readonly property?: Search['property'];
  /** Without the assertion that only the current generation is granted, which mostly falls first. */
  readonly writersOnly?: true;
}

const STOP: Bounds = { ...NOTHING, breaks: 2, stops: 1 };
const MOVE: Bounds = { ...NOTHING, breaks: 1, migrations: 1 };
const TWO: Bounds = { ...NOTHING, breaks: 1, late: 1, migrations: 1, terms: 2 };
const CALM: Bounds = { ...NOTHING, breaks: 1, migrations: 1, terms: 2, calm: 1 };

/** Without each guard: what goes wrong. */
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
  RESTORING: { bounds: CALM, finds: SAYS.neverSettles, property: PROGRESS },
};

let folder = '';
const cancelled = new AbortController();
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gp-spin-'));
});
after(async () => {
  cancelled.abort();
  await rm(folder, { recursive: true, force: true });
});

function common(name: string): Pick<Search, 'folder' | 'name' | 'deadlineMs' | 'signal'> {
  return { folder, name: name.replaceAll(/[^A-Za-z]+/g, '-'), deadlineMs: DEADLINE_MS, signal: cancelled.signal };
}

describe('the model, searched', { concurrency: 2, timeout: DEADLINE_MS }, () => {
  for (const { name, bounds, property } of SEARCHES) {
    it(name, async (t) => {
      const found = await search({ ...common(name), bounds, property, defines: [], optimize: 2 });
      assert.equal(found.violation, null, found.output);
      assert.ok(found.complete, found.output);
      if (property === ASSERTIONS && bounds.calm === 1) assert.deepEqual(found.unreached, []);
      t.diagnostic(`${found.states} states, depth ${found.depth}`);
    });
  }

  for (const [guard, { bounds, finds, property = ASSERTIONS, writersOnly }] of Object.entries(MUTATIONS)) {
    it(`without ${guard.toLowerCase().replaceAll('_', ' ')} it fails`, async () => {
      const defines = [`WITHOUT_${guard}`, ...(writersOnly === true ? ['ONLY_WRITERS'] : [])];
      const found = await search({ ...common(guard), bounds, property, defines, optimize: 0 });
      assert.match(found.violation ?? 'nothing was found', finds);
    });
  }

  it('progress needs fairness: without it the check of progress fails', async () => {
    const property = { ltl: 'settles', fair: false };
    const found = await search({ ...common('unfair'), bounds: CALM, property, defines: [], optimize: 0 });
    assert.match(found.violation ?? 'nothing was found', SAYS.neverSettles);
  });

  it('every guard of the model is taken away once', async () => {
    assert.deepEqual(Object.keys(MUTATIONS).sort(), await readGuards());
  });
});
