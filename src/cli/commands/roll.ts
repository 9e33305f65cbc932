/**
 * `gp maintenance plan` and `gp maintenance roll`: maintenance of many hosts is planned, approved, and carried out wave
 * after wave; the commands of a roll run where `gp` runs.
 */
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { approvedTextOf } from '../../api/approved.ts';
import type { MaintenancePlan } from '../../api/maintenance-views.ts';
import type { Roll } from '../../api/roll-views.ts';
import { CodedError } from '../../base/errors.ts';
import type { ApiClient } from '../../client/client.ts';
import type { Io } from '../io.ts';
import { parseFreezes } from '../maintenance/freeze-file.ts';
import { describeMaintenancePlan, parsePlanFile } from '../maintenance/plan-text.ts';
import { planMarkdown } from '../maintenance/record-markdown.ts';
import { runRoll } from '../maintenance/roll-runner.ts';
import { describeRoll } from '../maintenance/roll-text.ts';
import { present, type Session } from '../session.ts';
import { parseCount, parseDuration } from '../units.ts';
import { readWhole } from '../whole-file.ts';
import { action, collect, type QuietOptions, quietOverrideOf } from './common.ts';

interface PlanOptions {
  readonly hosts: string;
  readonly maxUnavailable?: number;
  readonly perRack?: number;
  readonly parallel?: number;
  readonly as?: 'markdown';
}

interface RollOptions extends QuietOptions {
  readonly plan?: string;
  readonly resume?: string;
  readonly change?: string;
  readonly window?: readonly string[];
  readonly freezeFile?: string;
  readonly maxUnavailable?: number;
  readonly perRack?: number;
  readonly pre?: string;
  readonly run?: string;
  readonly verify?: string;
  readonly preTimeout?: number;
  readonly runTimeout?: number;
  readonly verifyTimeout?: number;
  readonly backTimeout?: number;
  readonly workTime?: number;
  readonly onFailure?: 'stop' | 'continue';
  readonly wait: boolean;
}

/** Adds the commands named in the module's comment. */
export function addRollCommands(maintenance: Command, io: Io): void {
  const count = (text: string): number => parseCount(text);
  maintenance
    .command('plan')
    .description('show what maintenance of many hosts would do, wave after wave; nothing is changed')
    .requiredOption('--hosts <hosts>', 'all, rack=NAME, or names with commas between them')
    .option('--max-unavailable <n>', 'hosts that may be away at once (default: 1)', count)
    .option('--per-rack <n>', 'hosts of one rack that may be away at once (default: no limit)', count)
    .option('--parallel <n>', 'moves at once from and to one host (default: 2)', count)
    .addOption(new Option('--as <form>', 'as the implementation and back-out plan of a change').choices(['markdown']))
    .addHelpText('after', '\nKeep the plan for its approval: gp maintenance plan --hosts all -o json > plan.json')
    .action(
      action(io, async (session, { hosts, maxUnavailable, perRack, parallel, as }: PlanOptions) => {
        const client = await session.client();
        const body = { hosts: hosts.split(','), ...present({ maxUnavailable, perRack, parallel }) };
        const plan = await client.call(client.http.POST('/v1/maintenance-plan', { body }));
        if (as === 'markdown') session.io.out(planMarkdown(plan));
        else await session.printOne(plan, { name: ({ hash }) => hash }, describeMaintenancePlan);
      }),
    );
  addRoll(maintenance, io, count);
}

function addRoll(maintenance: Command, io: Io, count: (text: string) => number): void {
  const duration = (flag: string, about: string): Option => new Option(flag, about).argParser(parseDuration);
  maintenance
    .command('roll')
    .description('carry out a plan that was approved: empty its hosts wave after wave, work on each, take it back')
    .option('--plan <file>', 'the plan that was approved (gp maintenance plan -o json)')
    .option('--resume <roll>', 'take part in a roll that has begun: run its commands')
    .option('--change <number>', 'the change that it belongs to')
    .option('--reason <text>', 'why')
    .option('--override-quiet', 'move members in quiet hours of their guest clusters, too; needs --owner and --reason')
    .option('--owner <who>', 'who answers for --override-quiet')
    .option(
      '--window <window>',
      "when something may begin: 'Sat 22:00-04:00 Europe/Berlin'; may be repeated",
      collect(String),
    )
    .option('--freeze-file <file>', 'when nothing begins: lines of FROM UNTIL REASON')
    .option('--max-unavailable <n>', 'hosts that may be away at once, if fewer than approved', count)
    .option('--per-rack <n>', 'hosts of one rack, if fewer than approved', count)
    .option('--pre <command>', 'before a host is emptied; {host} is its name')
    .option('--run <command>', 'the work on an empty host; it may restart the host')
    .option('--verify <command>', 'succeeds once the host is well; tried again until its timeout')
    .addOption(duration('--pre-timeout <duration>', 'of --pre (default: 10m)'))
    .addOption(duration('--run-timeout <duration>', 'of --run (default: 1h)'))
    .addOption(duration('--verify-timeout <duration>', 'of --verify (default: 30m)'))
    .addOption(duration('--back-timeout <duration>', 'for the host’s agent to answer after --run (default: 30m)'))
    .addOption(duration('--work-time <duration>', 'that the work on a host is expected to take (default: 15m)'))
    .addOption(new Option('--on-failure <what>', 'when a host fails (default: stop)').choices(['stop', 'continue']))
    .option('--no-wait', 'begin the roll, and run no command')
    .action(
      action(io, async (session, options: RollOptions) => {
        const client = await session.client();
        const roll = await beginOrFind(session, client, options);
        if (!options.wait) {
          await session.printOne(roll, { name: ({ id }) => id }, describeRoll);
          return;
        }
        const ended = await runRoll(session, client, roll);
        await session.printOne(ended, { name: ({ id }) => id }, describeRoll);
        if (ended.state === 'completed' && ended.failed === 0) return;
        throw new CodedError(
          'failed',
          `${ended.id} is ${ended.state}; ${ended.done} of ${ended.planned} hosts are done.`,
          {
            advice: `See "gp maintenance show ${ended.id}".`,
          },
        );
      }),
    );
}

async function beginOrFind(session: Session, client: ApiClient, options: RollOptions): Promise<Roll> {
  const { plan, resume } = options;
  if ((plan === undefined) === (resume === undefined))
    throw new CodedError('bad-input', 'Either --plan or --resume is needed.', { advice: 'Nothing was changed.' });
  if (resume === undefined) return begin(session, client, options);
  const roll = await client.call(client.http.GET('/v1/rolls/{roll}', { params: { path: { roll: resume } } }));
  demandSameCommands(roll, options);
  return roll;
}

/** Refuses commands that were not typed here: commands that somebody else put into the record never run unseen. */
function demandSameCommands({ id, commands }: Roll, options: RollOptions): void {
  const flags = (['pre', 'run', 'verify'] as const).map((step) => ({
    step,
    given: options[step],
    kept: commands[step],
  }));
  if (flags.every(({ given, kept }) => (given ?? null) === kept)) return;
  const needed = flags.flatMap(({ step, kept }) => (kept === null ? [] : [`--${step} ${quoted(kept)}`]));
  throw new CodedError('bad-input', `The commands of ${id} must be given as they were when it began.`, {
    advice: `Nothing was run. Read them; then: gp maintenance roll --resume ${[id, ...needed].join(' ')}`,
  });
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

async function begin(session: Session, client: ApiClient, options: RollOptions): Promise<Roll> {
  const { cwd } = session.io;
  const plan = parsePlanFile(await readWhole(resolve(cwd, options.plan ?? '')));
  const approved = textWithHash(plan);
  const { change, reason, window, freezeFile, maxUnavailable, perRack, pre, run, verify, onFailure } = options;
  const freezes = freezeFile === undefined ? undefined : [...parseFreezes(await readWhole(resolve(cwd, freezeFile)))];
  const { preTimeout, runTimeout, verifyTimeout, backTimeout, workTime } = options;
  const body = {
    plan: approved,
    hash: plan.hash,
    ...present({ change, reason, maxUnavailable, perRack, pre, run, verify, onFailure, freezes }),
    ...present({ windows: window === undefined ? undefined : [...window], workMs: workTime, backMs: backTimeout }),
    ...present({ quietOverride: quietOverrideOf(options) }),
    ...present({ preMs: preTimeout, runMs: runTimeout, verifyMs: verifyTimeout }),
  };
  const roll = await client.call(client.http.POST('/v1/rolls', { body }));
  session.say(`${roll.id} has begun. Continue it with: gp maintenance roll --resume ${roll.id}`);
  if (roll.wouldNotFit.length > 0)
    session.say(`Waves that no window within reach has time for: ${roll.wouldNotFit.join(', ')}.`);
  for (const { from, until, waves } of roll.forecast)
    session.say(`From ${from}${until === null ? '' : ` until ${until}`}: waves ${waves.join(', ')}.`);
  return roll;
}

/** The text that was approved. CodedError 'conflict' if the file does not match its hash. */
function textWithHash(plan: MaintenancePlan): string {
  const text = approvedTextOf(plan);
  const hash = createHash('sha256').update(text).digest('hex');
  if (hash === plan.hash) return text;
  throw new CodedError(
    'conflict',
    `The plan in the file has the hash ${hash}, and says that ${plan.hash} was approved.`,
    {
      advice:
        'Nothing was changed. Somebody changed the file: have the plan approved as it is, or take the one that was.',
    },
  );
}
