/** `gp cluster upgrade plan|run` and `gp cluster finalize`. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { CodedError } from '../../base/errors.ts';
import { parseTimeWindow } from '../../core/maintenance/time-window.ts';
import type { Io } from '../io.ts';
import { parseFreezes } from '../maintenance/freeze-file.ts';
import { formatFields, formatTable } from '../table.ts';
import { parseCount, parseDuration } from '../units.ts';
import type { PlannedRole, UpgradePlan } from '../upgrade/upgrade-plan.ts';
import type { RollTimes, RollWishes } from '../upgrade/upgrade-run.ts';
import { readWhole } from '../whole-file.ts';
import { action, collect } from './common.ts';

/** The default command that installs another version on a machine. */
const INSTALL = 'ssh root@{address} apt-get install -y --allow-downgrades {package}';
const DEADLINE_MS = 5 * 60_000;
const count = (text: string): number => parseCount(text);

interface RunFlags {
  readonly to: string;
  readonly package?: string;
  readonly run: string;
  readonly timeout: number;
  readonly drain?: true;
  readonly window?: readonly string[];
  readonly freezeFile?: string;
  readonly change?: string;
  readonly reason?: string;
  readonly maxUnavailable?: number;
  readonly perRack?: number;
  readonly workTime?: number;
}

/** Adds the commands named in the module's comment to `gp cluster`. */
export function addUpgradeCommands(cluster: Command, io: Io): void {
  const upgrade = cluster.command('upgrade').description('bring all machines to another version, or back');
  upgrade
    .command('plan')
    .description('show in which order machines would be upgraded; changes nothing')
    .requiredOption('--to <version>', 'version, such as 1.4.0')
    .action(
      action(io, async (session, { to }: { readonly to: string }) => {
        const [{ readFacts }, { planUpgrade }] = await Promise.all([
          import('../upgrade/upgrade-run.ts'),
          import('../upgrade/upgrade-plan.ts'),
        ]);
        const plan = planUpgrade(await readFacts(await session.client(), io.signal), to);
        await session.printOne(plan, { name: (of: UpgradePlan) => of.to }, describePlan);
      }),
    );
  upgrade
    .command('run')
    .description('upgrade one machine after the other; continues where it ended')
    .requiredOption('--to <version>', 'version, such as 1.4.0')
    .option('--package <file>', 'on each machine: a .deb, or NAME=VERSION (default: groundplane=VERSION)')
    .option('--run <command>', 'installs on {host} at {address} the {package}', INSTALL)
    .option('--timeout <duration>', 'time for each machine to install and to come back', parseDuration, DEADLINE_MS)
    .option('--drain', 'empty each host first, by maintenance rolls: its VMs get the QEMU of where they go')
    .option(
      '--window <window>',
      "when a machine's upgrade may begin: 'Sat 22:00-04:00 Europe/Berlin'; may be repeated",
      collect(String),
    )
    .option('--freeze-file <file>', 'when none may be: lines of FROM UNTIL REASON')
    .option('--change <number>', 'with --drain: the change that it belongs to')
    .option('--reason <text>', 'with --drain: why')
    .option('--max-unavailable <n>', 'with --drain: hosts that may be away at once (default: 1)', count)
    .option('--per-rack <n>', 'with --drain: hosts of one rack that may be away at once', count)
    .option('--work-time <duration>', 'with --drain: that a host is expected to take (default: 15m)', parseDuration)
    .action(
      action(io, async (session, flags: RunFlags) => {
        const { runUpgrade } = await import('../upgrade/upgrade-run.ts');
        const { to, run: command, timeout: deadlineMs } = flags;
        const [times, drain] = [await timesOf(io, flags), drainOf(flags)];
        const run = { to, command, deadlineMs, times, drain, package: flags.package ?? `groundplane=${to}` };
        const plan = await runUpgrade(session, await session.client(), run);
        await session.printOne(plan, { name: (of: UpgradePlan) => of.to }, describePlan);
      }),
    );
  cluster
    .command('finalize')
    .description("raise the cluster's release to that of all its machines; there is no way back then")
    .action(
      action(io, async (session) => {
        const client = await session.client();
        const raised = await client.call(client.http.POST('/v1/cluster/finalize'));
        await session.printOne(raised, { name: ({ release }) => release ?? '' }, ({ release }) =>
          formatFields([['Release', release ?? '-']]),
        );
      }),
    );
}

/** Returns the times of the flags. CodedError 'bad-input' for a window or a file that is none. */
async function timesOf(io: Io, { window = [], freezeFile }: RunFlags): Promise<RollTimes> {
  for (const text of window) {
    const read = parseTimeWindow(text);
    if ('reason' in read)
      throw new CodedError('bad-input', `"${text}" is no window. ${read.reason}`, { advice: 'Nothing was changed.' });
  }
  const freezes = freezeFile === undefined ? [] : parseFreezes(await readWhole(resolve(io.cwd, freezeFile)));
  return { windows: window, freezes };
}

/** Returns the wishes for emptying hosts; null without --drain. CodedError 'bad-input' for flags that need --drain. */
function drainOf({ drain, workTime, change, reason, maxUnavailable, perRack }: RunFlags): RollWishes | null {
  const wishes = { change, reason, maxUnavailable, perRack, workMs: workTime };
  if (drain === true) return wishes;
  if (Object.values(wishes).every((wish) => wish === undefined)) return null;
  throw new CodedError('bad-input', '--change, --reason, --max-unavailable, --per-rack and --work-time need --drain.', {
    advice: 'Nothing was changed.',
  });
}

function describePlan({ to, release, machines }: UpgradePlan): string {
  const roleText = ({ role, version, isAlive }: PlannedRole): string =>
    `${role} ${version ?? 'unknown'}${isAlive ? '' : ' (silent)'}`;
  const rows = machines.map((machine, at) => [
    String(at + 1),
    machine.name,
    machine.roles.map(roleText).join(', '),
    machine.isDone ? 'done' : machine.leads ? 'to do; leads' : 'to do',
  ]);
  return `${formatFields([
    ['To', to],
    ['Release', release ?? '-'],
  ])}${formatTable(['', 'MACHINE', 'RUNS', 'STATE'], rows)}`;
}
