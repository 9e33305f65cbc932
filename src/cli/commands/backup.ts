/** `gp cluster backup`, `gp cluster restore`: the cluster's records, as files. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import type { Io } from '../io.ts';
import { action } from './common.ts';
import { BACKUP_TABLE } from './presentations.ts';

/** Adds both below `gp cluster`. */
export function addBackup(cluster: Command, io: Io): void {
  const backup = cluster
    .command('backup')
    .description('write the cluster’s records into a file; guests’ disks are not in it')
    .argument('<file>', 'a new file, which only its owner reads')
    .action(
      action(io, async (session, file: string) => {
        const { backUpCluster, keepBackup } = await import('../../install/cluster-backup.ts');
        const machine = await controlHere();
        // From etcd itself, where that is here: whatever the servers do.
        if (machine !== null) {
          session.say(`${file}: ${counted(await backUpCluster(machine, file), 'record')}.`);
          return;
        }
        const client = await session.client();
        await keepBackup(file, client.download('/v1/backup', io.signal));
        session.say(`${file} is a whole backup.`);
      }),
    );
  backup
    .command('list')
    .description('list the backups that control nodes have made by themselves')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/backups', { signal: io.signal }), BACKUP_TABLE);
      }),
    );
  cluster
    .command('make-room')
    .description('on a control node: make room in a full etcd although no server runs; no record is lost')
    .action(
      action(io, async (session) => {
        const { makeRoomHere } = await import('../../install/etcd-recovery.ts');
        await makeRoomHere((line) => session.say(line));
      }),
    );
  cluster
    .command('restore')
    .description('after the loss of every control node: begin the cluster again on this one; running VMs are adopted')
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
            if (keptIn !== null) session.say(`The former data of etcd is kept in ${keptIn}.`);
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

/** The configuration of this machine, if it is a control node whose identity we may use; else null. */
async function controlHere() {
  const { identityDir, readMachineConfig } = await import('../../install/setup.ts');
  const isReadable = await access(join(identityDir('control'), 'server-key.pem'), constants.R_OK).then(
    () => true,
    () => false,
  );
  const machine = isReadable ? await readMachineConfig() : undefined;
  return machine?.control === undefined ? null : machine;
}

async function demandControl() {
  const machine = await controlHere();
  if (machine !== null) return machine;
  throw new CodedError('not-found', 'This machine is no control node of an installed cluster.', {
    advice: 'Run it on a control node, as root.',
  });
}
