/** Mistakes in restoring a cluster, made on purpose, to show that the simulator notices each. */
import { EPOCH_KEY } from '../../core/model/keys.ts';
import { beginEpoch } from '../../core/plan/restore/begin-epoch.ts';
import type { RestoreMistake } from './restore-run.ts';

export const RESTORE_MISTAKES: readonly RestoreMistake[] = [
  {
    name: 'no-epoch',
    says: 'etcd is restored by its own tools: no epoch begins',
    rules: ['G1-generations-grow'],
    writes: () => [],
  },
  {
    name: 'epoch-heard',
    says: 'the epoch is the one after the snapshot’s, whatever storage nodes have heard',
    rules: ['G1-generations-grow', 'L1-converges'],
    epoch: (snapshotEpoch) => snapshotEpoch + 1,
  },
  {
    name: 'believed',
    says: 'what the snapshot says of a VM is believed',
    rules: ['A1-what-ran-runs-on', 'V3-what-runs-is-not-replaced', 'G6-nothing-else-granted'],
    writes: (records, epoch) =>
      beginEpoch(records, epoch, []).writes.map(({ key, value }) => ({
        key,
        value: value?.replace(/"restored":\d+,/, '') ?? null,
      })),
  },
  {
    name: 'not-announced',
    says: 'generations rise, and terms do not: nobody is told of an epoch',
    rules: ['L1-converges'],
    writes: (records, epoch) => beginEpoch(records, epoch, []).writes.filter(({ key }) => key !== EPOCH_KEY),
  },
];
