/** What people wish of a VM, decided by the code of production (core/request/vm-wishes.ts) on some control node. */

import { unreachable } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { type ChangeContext, changeWithTask } from '../../control/backend/changes.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Basis } from '../../core/request/basis.ts';
import { cancelTask } from '../../core/request/cancelling.ts';
import {
  deleteVm,
  migrateVm,
  resetVm,
  resumeVm,
  startVm,
  stopVm,
  suspendVm,
  type Wish,
} from '../../core/request/vm-wishes.ts';
import type { DeedName } from '../faults/swarm.ts';

/** Those of people's deeds that are wishes of one VM. */
export type WishName = Exclude<DeedName, 'create' | 'drain' | 'share' | 'ask' | 'image'>;

export interface Wished {
  readonly deed: WishName;
  /** Name or id. */
  readonly vm: string;
  /** For `migrate-to`. */
  readonly to: HostName;
  /** How long a guest may take to shut down, in ms. */
  readonly patienceMs: number;
}

/** Asks for it; CodedError where it is refused, or the answer is lost. */
export function wishOf(context: ChangeContext, wished: Wished): Promise<Entry<TaskRecord>> {
  return changeWithTask(context, (basis) => decide(basis, wished));
}

function decide(basis: Basis, { deed, vm, to, patienceMs }: Wished): Wish {
  switch (deed) {
    case 'start':
      return startVm(basis, vm);
    case 'stop':
      return stopVm(basis, null, vm, { mode: 'acpi', patienceMs });
    case 'power-off':
      return stopVm(basis, null, vm, { mode: 'hard' });
    case 'suspend':
      return suspendVm(basis, vm);
    case 'resume':
      return resumeVm(basis, vm);
    case 'reset':
      return resetVm(basis, vm);
    case 'migrate':
      return migrateVm(basis, vm, {});
    case 'migrate-to':
      return migrateVm(basis, vm, { to });
    case 'delete':
      return deleteVm(basis, vm, { ifMatch: null });
    case 'cancel':
      return cancelTask(basis, taskOf(basis, vm));
    default:
      return unreachable(deed);
  }
}

/** Returns the VM's task in progress, of any kind; CodedError 'conflict' if there is none. */
function taskOf({ records }: Basis, name: string): string {
  const tasks = [...records.tasks.values()].filter(
    ({ value }) => value.target.name === name && value.state === 'running',
  );
  const latest = tasks.sort((a, b) => a.revision - b.revision).at(-1);
  if (latest === undefined) throw new CodedError('conflict', `Nothing of ${name} is under way.`);
  return latest.value.id;
}
