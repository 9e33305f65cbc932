/** What people wish of a VM, asked of the backend of production (control/backend/vm-wishes.ts) on some control node. */

import { unreachable } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { ChangeContext } from '../../control/backend/changes.ts';
import { VmWishes } from '../../control/backend/vm-wishes.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { DeedName } from '../faults/swarm.ts';

/** Those of people's deeds that are wishes of one VM. */
export type WishName = Exclude<DeedName, 'create' | 'drain' | 'share'>;

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
export function wishOf(context: ChangeContext, { deed, vm, to, patienceMs }: Wished): Promise<Entry<TaskRecord>> {
  const wishes = new VmWishes(context);
  switch (deed) {
    case 'start':
      return wishes.start(vm);
    case 'stop':
      return wishes.stop(vm, { mode: 'acpi', patienceMs });
    case 'power-off':
      return wishes.stop(vm, { mode: 'hard' });
    case 'suspend':
      return wishes.suspend(vm);
    case 'resume':
      return wishes.resume(vm);
    case 'reset':
      return wishes.reset(vm);
    case 'migrate':
      return wishes.migrate(vm, {});
    case 'migrate-to':
      return wishes.migrate(vm, { to });
    case 'delete':
      return wishes.delete(vm, { ifMatch: null });
    case 'cancel':
      return wishes.cancel(taskOf(context, vm));
    default:
      return unreachable(deed);
  }
}

/** Returns the VM's task in progress, of any kind; CodedError 'conflict' if there is none. */
function taskOf({ store }: ChangeContext, name: string): string {
  const tasks = [...store.tasks.values()].filter(
    ({ value }) => value.target.name === name && value.state === 'running',
  );
  const latest = tasks.sort((a, b) => a.revision - b.revision).at(-1);
  if (latest === undefined) throw new CodedError('conflict', `Nothing of ${name} is under way.`);
  return latest.value.id;
}
