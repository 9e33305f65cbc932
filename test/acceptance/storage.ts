/** A guest's disk over a network that loses things. */
import { basename } from 'node:path';
import { present } from '../../src/base/assert.ts';
import { isRunning, listProcesses, type ProcessRecord, signalProcess } from '../../src/os/process-table.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, until, untilVm, vmOf } from './case.ts';

/** Ten lines a second: this long without one, and a write waits. */
const STALLED_MS = 500;

function storageDaemonOf(disk: string): ProcessRecord {
  const isIts = ({ argv }: ProcessRecord): boolean =>
    basename(argv[0] ?? '') === 'qemu-storage-daemon' && argv.some((word) => word.includes(`/${disk}/`));
  return present(listProcesses().find(isIts), `storage daemon of ${disk}`);
}

/** Cuts the host from storage while a write of the VM has arrived there whose answer was not sent: the daemon stands still meanwhile. */
async function loseAnAnswer(cluster: StoryCluster, name: string): Promise<void> {
  const { id, disks, host } = await vmOf(cluster, name);
  const daemon = storageDaemonOf(present(disks[0], 'disk').id);
  signalProcess(daemon, 'SIGSTOP');
  try {
    const stalls = (): true | undefined => {
      cluster.serial.look();
      return cluster.serial.silentMs(id) >= STALLED_MS ? true : undefined;
    };
    await until(`${name} stalls`, stalls);
    await gp(cluster, ['lab', 'cut-storage', present(host, 'host')]);
  } finally {
    if (isRunning(daemon)) signalProcess(daemon, 'SIGCONT');
  }
}

const lostAnswer: Case = {
  name: 'a write whose answer is lost with the network is not waited for for ever: the VM goes on elsewhere',
  async run(cluster, say) {
    await createTiny(cluster, 'd1', ['--storage-patience', '2s', '--append', 'gp.workload=sequence']);
    const { id, host } = await vmOf(cluster, 'd1');
    const lines = async (more: number): Promise<void> => {
      const from = cluster.serial.acknowledged(id);
      await until(`${more} more lines`, () => (cluster.serial.acknowledged(id) >= from + more ? true : undefined));
    };
    await lines(5);
    await loseAnAnswer(cluster, 'd1');
    const startMs = performance.now();
    await untilVm(cluster, 'd1', { verdict: 'running', generation: 2 });
    say(`elsewhere after ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
    await lines(5);
    await gp(cluster, ['lab', 'heal-host', present(host, 'host')]);
    await deleteVms(cluster, ['d1']);
  },
};

export const storage: readonly Case[] = [lostAnswer];
