/** Mistakes in restoring a cluster, made on purpose, to show that the simulator notices each. */
import { EPOCH_KEY } from '../../core/model/keys.ts';
import { beginEpoch } from '../../core/plan/restore/begin-epoch.ts';
import { adoptUnknown, deleteUnknown } from '../../core/request/unknown-vms.ts';
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
  {
    name: 'adopted-as-seen',
    says: 'an unknown VM is adopted with the generation that it is seen to run as',
    rules: ['G1-generations-grow'],
    adopt: (basis, unknown, facts, said) => {
      const admitted = adoptUnknown(basis, unknown, facts, said);
      const generation = unknown.processes[0]?.generation ?? admitted.result.generation;
      return {
        ...admitted,
        changes: admitted.changes.map((change) =>
          change.kind === 'vm' && change.value !== null
            ? { ...change, value: { ...change.value, generation } }
            : change,
        ),
      };
    },
  },
  {
    name: 'deleted-in-part',
    says: 'an unknown VM is deleted although a storage node that may have a disk of it has not been heard',
    rules: ['G6-nothing-else-granted'],
    remove: (basis, unknown, by) => deleteUnknown(basis, { ...unknown, unheard: [] }, by),
  },
];
