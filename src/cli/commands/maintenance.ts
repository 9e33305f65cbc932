/** `gp host drain`, `gp host undrain` and `gp maintenance`: hosts are emptied, and the result is shown. */

import { type Command, Option } from 'commander';
import type { Drain, DrainPlan, DrainSummary } from '../../api/maintenance-views.ts';
import type { RollSummary } from '../../api/roll-views.ts';
import { counted } from '../../base/counted.ts';
import type { Io } from '../io.ts';
import { movesCsv } from '../maintenance/record-csv.ts';
import { drainMarkdown, rollMarkdown } from '../maintenance/record-markdown.ts';
import { describeRoll, ROLL_TABLE } from '../maintenance/roll-text.ts';
import { type Presentation, present, type Session } from '../session.ts';
import { formatFields, formatTable } from '../table.ts';
import { demandSuccess, waitForTask } from '../task-wait.ts';
import { formatAge, formatBytes, parseCount, parseDeadline, parseDuration } from '../units.ts';
import { action, nameArgument, type QuietOptions, quietOverrideOf } from './common.ts';
import { addRollCommands } from './roll.ts';

/** A drain of many VMs takes long; it continues whether or not somebody waits. */
const TIMEOUT_MS = 3_600_000;

interface DrainOptions extends QuietOptions {
  readonly dryRun?: true;
  readonly parallel?: number;
  readonly by?: string;
  readonly change?: string;
  readonly wait: boolean;
  readonly timeout: number;
}

interface UndrainOptions extends Pick<DrainOptions, 'parallel' | 'wait' | 'timeout'> {
  readonly return?: true;
}

const DRAIN_TABLE: Presentation<DrainSummary> = {
  header: ['ID', 'HOSTS', 'STATE', 'MOVED', 'WHO', 'CHANGE', 'AGE'],
  row: (drain) => [
    drain.id,
    drain.home === null ? drain.hosts.join(', ') : `back to ${drain.home}`,
    drain.stuck === null ? drain.state : `${drain.state}, stuck`,
    `${drain.moved} of ${drain.planned}`,
    drain.who,
    drain.change ?? '-',
    formatAge(Date.now() - Date.parse(drain.createdAt)),
  ],
  name: (drain) => drain.id,
};

/** Adds the commands named in the module's comment. `host`: the command that `drain` and `undrain` belong to. */
export function addMaintenanceCommands(program: Command, host: Command, io: Io): void {
  addHostCommands(host, io);
  const maintenance = program
    .command('maintenance')
    .description('maintenance: hosts that are emptied, one by one or as a roll');
  addRollCommands(maintenance, io);
  maintenance
    .command('list')
    .description('list drains and rolls, those that have ended included')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const rolls = await client.list('/v1/rolls', { signal: io.signal });
        const drains = await client.list('/v1/drains', { signal: io.signal });
        const all = [...rolls, ...drains].toSorted((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
        await session.printList(all, RECORD_TABLE);
      }),
    );
  maintenance
    .command('show')
    .description('show a drain or a roll: each move, foretold against actual; each host')
    .argument('<id>', 'of a drain or a roll')
    .addOption(new Option('--as <form>', 'as the evidence of a change').choices(['markdown', 'csv']))
    .action(
      action(io, async (session, id: string, { as }: { readonly as?: 'markdown' | 'csv' }) => {
        if (isRoll(id)) await showRoll(session, id, as);
        else await showDrain(session, id, as);
      }),
    );
  addVerbs(maintenance, io);
}

const isRoll = (id: string): boolean => id.startsWith('roll-');

const RECORD_TABLE: Presentation<DrainSummary | RollSummary> = {
  header: DRAIN_TABLE.header,
  row: (record, colours) => ('waves' in record ? ROLL_TABLE.row(record, colours) : DRAIN_TABLE.row(record, colours)),
  name: ({ id }) => id,
};

async function showRoll(session: Session, id: string, as: 'markdown' | 'csv' | undefined): Promise<void> {
  const client = await session.client();
  const roll = await client.call(client.http.GET('/v1/rolls/{roll}', { params: { path: { roll: id } } }));
  if (as === undefined) {
    await session.printOne(roll, ROLL_TABLE, describeRoll);
    return;
  }
  const drains: Drain[] = [];
  for (const drain of roll.drains)
    drains.push(await client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain } } })));
  session.io.out(as === 'csv' ? movesCsv(drains) : rollMarkdown(roll, drains));
}

async function showDrain(session: Session, id: string, as: 'markdown' | 'csv' | undefined): Promise<void> {
  const client = await session.client();
  const drain = await client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain: id } } }));
  if (as === undefined) await session.printOne(drain, DRAIN_TABLE, describeDrain);
  else session.io.out(as === 'csv' ? movesCsv([drain]) : drainMarkdown(drain));
}

function addVerbs(maintenance: Command, io: Io): void {
  const told = (id: string, state: string) => () => `${id}: ${state}\n`;
  maintenance
    .command('pause')
    .description('begin nothing more of a drain or a roll')
    .argument('<id>', 'of a drain or a roll')
    .action(
      action(io, async (session, id: string) => {
        const client = await session.client();
        const changed = isRoll(id)
          ? await client.call(client.http.POST('/v1/rolls/{roll}/pause', { params: { path: { roll: id } } }))
          : await client.call(client.http.POST('/v1/drains/{drain}/pause', { params: { path: { drain: id } } }));
        await session.printOne(changed, { name: () => id }, told(id, changed.state));
      }),
    );
  maintenance
    .command('resume')
    .description('resume a drain or a roll')
    .argument('<id>', 'of a drain or a roll')
    .option('--retry', 'try hosts of a roll that have failed again')
    .action(
      action(io, async (session, id: string, { retry = false }: { readonly retry?: boolean }) => {
        const client = await session.client();
        const changed = isRoll(id)
          ? await client.call(
              client.http.POST('/v1/rolls/{roll}/resume', { params: { path: { roll: id } }, body: { retry } }),
            )
          : await client.call(client.http.POST('/v1/drains/{drain}/resume', { params: { path: { drain: id } } }));
        await session.printOne(changed, { name: () => id }, told(id, changed.state));
      }),
    );
  maintenance
    .command('cancel')
    .description('end a drain once the moves under way have ended; VMs that have moved stay')
    .argument('<drain>', 'id')
    .action(
      action(io, async (session, drain: string) => {
        const client = await session.client();
        const changed = await client.call(
          client.http.POST('/v1/drains/{drain}/cancel', { params: { path: { drain } } }),
        );
        await session.printOne(changed, DRAIN_TABLE, told(drain, changed.state));
      }),
    );
  maintenance
    .command('abort')
    .description('end a roll: nothing more begins, work that has begun is finished')
    .argument('<roll>', 'id')
    .action(
      action(io, async (session, roll: string) => {
        const client = await session.client();
        const changed = await client.call(client.http.POST('/v1/rolls/{roll}/abort', { params: { path: { roll } } }));
        await session.printOne(changed, ROLL_TABLE, told(roll, changed.state));
      }),
    );
}

function addHostCommands(host: Command, io: Io): void {
  host
    .command('drain')
    .description('move every VM off a host, so that it can be taken out of service')
    .argument('<host>', 'name', nameArgument)
    .option('--dry-run', 'show the plan and change nothing')
    .option('--parallel <n>', 'moves at once from and to one host (default: 2)', (text) => parseCount(text))
    .option('--by <time>', 'deadline: 18:00, or 2026-05-01T18:00:00Z; no move begins that would end later', (text) =>
      parseDeadline(text),
    )
    .option('--reason <text>', 'the reason, for people who look at the host')
    .option('--change <number>', 'the change that it belongs to')
    .option('--override-quiet', 'move members in quiet hours of their guest clusters, too; needs --owner and --reason')
    .option('--owner <who>', 'who answers for --override-quiet')
    .option('--no-wait', 'return as soon as the drain has begun')
    .addOption(
      new Option('--timeout <duration>', 'stop waiting after this long; the drain continues')
        .argParser(parseDuration)
        .default(TIMEOUT_MS, '1h'),
    )
    .action(
      action(io, async (session, name: string, options: DrainOptions) => {
        const client = await session.client();
        const { parallel, by, reason, change } = options;
        const body = present({ parallel, by, reason, change, quietOverride: quietOverrideOf(options) });
        const request = { params: { path: { host: name } }, body };
        const plan = await client.call(client.http.POST('/v1/hosts/{host}/drain-plan', request));
        if (options.dryRun === true) {
          await session.printOne(plan, { name: () => name }, describePlan);
          return;
        }
        session.say(describePlan(plan).trimEnd());
        const drain = await client.call(client.http.POST('/v1/hosts/{host}/drain', request));
        session.say(`${drain.id} has begun. End it with: gp maintenance cancel ${drain.id}`);
        const ended = options.wait ? await waitForDrain(session, drain, options.timeout) : drain;
        await session.printOne(ended, DRAIN_TABLE, () => (options.wait ? describeDrain(ended) : ''));
      }),
    );
  host
    .command('undrain')
    .description('take a host that was drained back into service')
    .argument('<host>', 'name', nameArgument)
    .option('--return', 'bring back the VMs that its last drain moved away')
    .option('--parallel <n>', 'moves at once from and to one host (default: 2)', (text) => parseCount(text))
    .option('--no-wait', 'return as soon as the moves have begun')
    .addOption(
      new Option('--timeout <duration>', 'stop waiting after this long; the moves continue')
        .argParser(parseDuration)
        .default(TIMEOUT_MS, '1h'),
    )
    .action(
      action(io, async (session, name: string, options: UndrainOptions) => {
        const client = await session.client();
        const changed = await client.call(
          client.http.POST('/v1/hosts/{host}/undrain', { params: { path: { host: name } } }),
        );
        if (options.return !== true) {
          await session.printOne(changed, { name: () => name }, () => `${name} is in service again\n`);
          return;
        }
        session.say(`${name} is in service again`);
        const request = { params: { path: { host: name } }, body: present({ parallel: options.parallel }) };
        const begun = await client.call(client.http.POST('/v1/hosts/{host}/return', request));
        session.say(`${begun.id} brings ${begun.planned} VMs back. End it with: gp maintenance cancel ${begun.id}`);
        const ended = options.wait ? await waitForDrain(session, begun, options.timeout) : begun;
        await session.printOne(ended, DRAIN_TABLE, () => (options.wait ? describeDrain(ended) : ''));
      }),
    );
}

/** The drain at its end; CodedError 'failed' unless its hosts are empty. */
async function waitForDrain(session: Session, { id, task }: Drain, timeoutMs: number): Promise<Drain> {
  const client = await session.client();
  const begun = await client.call(client.http.GET('/v1/tasks/{task}', { params: { path: { task } } }));
  demandSuccess(await waitForTask(session, begun, timeoutMs));
  return client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain: id } } }));
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

function describePlan({
  hosts,
  moves,
  durationMs,
  movedBytes,
  endsAt,
  fits,
  lost,
  heldBack,
  awaited,
}: DrainPlan): string {
  const end = fits === null ? '' : `, ends at about ${endsAt}: ${fits ? 'in time' : 'too late'}`;
  const sum = `${counted(moves.length, 'move')}, ${formatBytes(movedBytes)}, about ${seconds(durationMs)}${end}`;
  const title = `${hosts.join(', ')}: ${sum}\n${lost.map(lostText).join('')}`;
  if (moves.length === 0) return title;
  const held = heldBack.map((why) => `${why} Its members move after that, or with --override-quiet.\n`);
  return (
    title +
    [...awaited.map((why) => `${why}\n`), ...held].join('') +
    formatTable(
      ['MOVE', 'VM', 'FROM', 'TO', 'AFTER', 'MEMORY', 'WRITES', 'BEGINS', 'TAKES', 'PAUSE'],
      moves.map((move) => [
        String(move.id),
        move.vm,
        move.from,
        move.to,
        move.after.join(', ') || '-',
        formatBytes(move.memoryBytes),
        move.writesBytesPerSecond === null ? '-' : `${formatBytes(move.writesBytesPerSecond)}/s`,
        seconds(move.startsAtMs),
        seconds(move.foretoldMs),
        `${Math.round(move.foretoldPauseMs)} ms`,
      ]),
    ) +
    moves.map(remedyText).join('')
  );
}

const REMEDIES = {
  'slow-down': 'it is slowed down until the pages are copied',
  'longer-pause': 'it is paused for longer at the end',
  stop: 'it is stopped and starts on its new host, as its owner allows',
} as const;

/** The fate of the VMs of a lost host. */
function lostText({ host, since, reason, vms }: DrainPlan['lost'][number]): string {
  const lines = vms.map(({ vm, what }) => `  ${vm}: ${what}\n`);
  const none = lines.length === 0 ? '  No VM was there, as far as events are kept.\n' : '';
  return `${host} has been lost since ${since} (${reason}): no VM is moved from there.\n${none}${lines.join('')}`;
}

/** The remedy for a guest that writes faster than it is copied; empty if none is needed. */
function remedyText({ vm, remedy }: DrainPlan['moves'][number]): string {
  return remedy === null ? '' : `${vm} writes faster than its memory is copied: ${REMEDIES[remedy]}\n`;
}

function describeDrain(drain: Drain): string {
  const fields = formatFields([
    ['Id', drain.id],
    ['Hosts', drain.home === null ? drain.hosts : [`back to ${drain.home}`]],
    ['Deadline', drain.by ?? '-'],
    ['State', drain.state],
    ['Stuck', drain.stuck ?? 'no'],
    ['Waits', drain.waits === null ? 'no' : `since ${drain.waits.since}: ${drain.waits.what}`],
    ['Held back', drain.heldBack.length === 0 ? 'no' : [...drain.heldBack]],
    ...(drain.quietOverride === null
      ? []
      : [['Quiet hours', `overridden by ${drain.quietOverride.owner}: ${drain.quietOverride.reason}`] as const]),
    ['Asked by', drain.who],
    ['Reason', drain.reason ?? '-'],
    ['Change', drain.change ?? '-'],
    ['Began', drain.createdAt],
    ['Ended', drain.endedAt ?? '-'],
    ['Deviations', drain.deviations.map(({ at, what }) => `${at} ${what}`)],
  ]);
  if (drain.moves.length === 0) return fields;
  return `${fields}\n${formatTable(
    ['MOVE', 'VM', 'FROM', 'TO', 'STATE', 'FORETOLD', 'TOOK', 'PAUSE FORETOLD', 'PAUSE', 'NOTE'],
    drain.moves.map((move) => [
      String(move.id),
      move.vm,
      move.from,
      move.to,
      move.state,
      seconds(move.foretoldMs),
      tookOf(move),
      `${Math.round(move.foretoldPauseMs)} ms`,
      move.measuredPauseMs === null ? '-' : `${Math.round(move.measuredPauseMs)} ms`,
      move.note ?? '-',
    ]),
  )}`;
}

function tookOf({ startedAt, endedAt }: Drain['moves'][number]): string {
  return startedAt === null || endedAt === null ? '-' : seconds(Date.parse(endedAt) - Date.parse(startedAt));
}
