/** `gp cluster upgrade plan|run` and `gp cluster finalize`. */
import type { Command } from 'commander';
import type { Io } from '../io.ts';
import { formatFields, formatTable } from '../table.ts';
import { parseDuration } from '../units.ts';
import type { PlannedRole, UpgradePlan } from '../upgrade/upgrade-plan.ts';
import { action } from './common.ts';

/** The default command that installs another version on a machine. */
const INSTALL = 'ssh root@{address} apt-get install -y --allow-downgrades {package}';
const DEADLINE_MS = 5 * 60_000;

interface RunFlags {
  readonly to: string;
  readonly package?: string;
  readonly run: string;
  readonly timeout: number;
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
    .description('upgrade one machine after the other; goes on from where it ended')
    .requiredOption('--to <version>', 'version, such as 1.4.0')
    .option('--package <file>', 'on each machine: a .deb, or NAME=VERSION (default: groundplane=VERSION)')
    .option('--run <command>', 'installs on {host} at {address} the {package}', INSTALL)
    .option('--timeout <duration>', 'for each machine to install and to come back', parseDuration, DEADLINE_MS)
    .action(
      action(io, async (session, flags: RunFlags) => {
        const { runUpgrade } = await import('../upgrade/upgrade-run.ts');
        const { to, run: command, timeout: deadlineMs } = flags;
        const run = { to, command, deadlineMs, package: flags.package ?? `groundplane=${to}` };
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
