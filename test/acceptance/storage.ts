/** A guest's disk over a network that loses things. */
import { basename } from 'node:path';
import { present } from '../../src/base/assert.ts';
import { isRunning, listProcesses, type ProcessRecord, signalProcess } from '../../src/os/process-table.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { acknowledged, type Case, createTiny, deleteVms, gp, growsBeyond, until, untilVm, vmOf } from './case.ts';

/** Ten lines a second: this long without one, and a write waits. */
const STALLED_MS = 500;

function storageDaemonOf(disk: string): ProcessRecord {
  const isIts = ({ argv }: ProcessRecord): boolean =>
    basename(argv[0] ?? '') === 'qemu-storage-daemon' && argv.some((word) => word.includes(`/${disk}/`));
  return present(listProcesses().find(isIts), `storage daemon of ${disk}`);
}

/**
 * Cuts the host from storage while a write of the VM has arrived there whose answer was not sent: the daemon is stopped
 * in the meantime.
 */
async function loseAnAnswer(cluster: StoryCluster, name: string): Promise<void> {
  const { id, disks, host } = await vmOf(cluster, name);
  const daemon = storageDaemonOf(present(disks[0], 'disk').id);
  signalProcess(daemon, 'SIGSTOP');
  try {
    await until(`${name} stalls`, () => (cluster.serial.silentMs(id) >= STALLED_MS ? true : undefined));
    await gp(cluster, ['lab', 'cut-storage', present(host, 'host')]);
  } finally {
    if (isRunning(daemon)) signalProcess(daemon, 'SIGCONT');
  }
}

const lostAnswer: Case = {
  name: 'a write whose answer is lost with the network is not waited for for ever: the VM goes on elsewhere',
  async run(cluster, say) {
    await createTiny(cluster, 'd1', ['--storage-patience', '2s', '--append', 'gp.workload=sequence']);
    const { host } = await vmOf(cluster, 'd1');
    await growsBeyond(cluster, 'd1', 4);
    await loseAnAnswer(cluster, 'd1');
    const startMs = performance.now();
    await untilVm(cluster, 'd1', { verdict: 'running', generation: 2 });
    say(`elsewhere after ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
    await growsBeyond(cluster, 'd1', (await acknowledged(cluster, 'd1')) + 4);
    await gp(cluster, ['lab', 'heal-host', present(host, 'host')]);
    await deleteVms(cluster, ['d1']);
  },
};

export const storage: readonly Case[] = [lostAnswer];
