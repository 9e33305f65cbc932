/** `gp cluster backup`, `gp cluster restore`: the cluster's records, on one of its control nodes. */
import type { Command } from 'commander';
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import type { Io } from '../io.ts';
import { action } from './common.ts';

/** Adds both below `gp cluster`. */
export function addBackup(cluster: Command, io: Io): void {
  cluster
    .command('backup')
    .description('write the cluster’s records into a file, on a control node; guests’ disks are not in it')
    .argument('<file>', 'a new file, which only its owner reads')
    .action(
      action(io, async (session, file: string) => {
        const { backUpCluster } = await import('../../install/cluster-backup.ts');
        session.say(`${file}: ${counted(await backUpCluster(await demandControl(), file), 'record')}.`);
      }),
    );
  cluster
    .command('restore')
    .description('after the loss of every control node: begin the cluster again on this one; what runs is adopted')
    .argument('<file>', 'a file of `gp cluster backup`')
    .option('--without <nodes...>', 'storage nodes that are not asked: they are down')
    .option('--dry-run', 'say what would be done, and change nothing')
    .action(
      action(io, async (session, file: string, flags: { without?: readonly string[]; dryRun?: boolean }) => {
        const [{ openBackup, restoreSteps }, { takeSteps }] = await Promise.all([
          import('../../install/cluster-backup.ts'),
          import('../../install/step.ts'),
        ]);
        const machine = await demandControl();
        const backup = await openBackup(file);
        const steps = restoreSteps(machine, {
          backup,
          without: flags.without ?? [],
          onRestored: ({ epoch, vms, keptIn }) => {
            session.say(`Epoch ${epoch} begins: what runs of ${counted(vms, 'VM')} is found out now (gp vm list).`);
            if (keptIn !== null) session.say(`What etcd held before is kept in ${keptIn}.`);
          },
        });
        await takeSteps(steps, {
          dryRun: flags.dryRun === true,
          say: (line) => session.say(line),
          signal: session.io.signal,
        });
      }),
    );
}

async function demandControl() {
  const { readMachineConfig } = await import('../../install/setup.ts');
  const machine = await readMachineConfig();
  if (machine?.control !== undefined) return machine;
  throw new CodedError('not-found', 'This machine is no control node of an installed cluster.', {
    advice: 'Run it on a control node.',
  });
}
