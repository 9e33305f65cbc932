/** What people wish of a VM, asked of the API through some control node. */
import type { OperationId } from '../../api/operations.ts';
import type { Task } from '../../api/views.ts';
import { unreachable } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { DeedName } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { Topology } from '../machines/topology.ts';

/** Those of people's deeds that are wishes of one VM. */
export type WishName = Exclude<DeedName, 'create' | 'drain' | 'share' | 'ask' | 'image' | 'maintain' | 'members'>;

export interface Wished {
  readonly deed: WishName;
  /** Name or id. */
  readonly vm: string;
  /** For `migrate-to`. */
  readonly to: HostName;
  /** How long a guest may take to shut down, in ms. */
  readonly patienceMs: number;
}

/** Asks for it and returns its task; the errors of `askNode`. */
export async function wishOf(topology: Topology, node: SimControlNode, wished: Wished): Promise<Task> {
  if (node.context === null) throw new CodedError('unavailable', `${node.name} does not serve.`);
  const [id, request] = requestOf(wished, node.context);
  return (await askNode(topology, node, id, request)) as Task;
}

function requestOf({ deed, vm, to, patienceMs }: Wished, context: BackendContext): [OperationId, SimRequest] {
  const params = { vm };
  switch (deed) {
    case 'start':
      return ['startVm', { params }];
    case 'stop':
      return ['stopVm', { params, body: { mode: 'acpi', patienceMs } }];
    case 'power-off':
      return ['stopVm', { params, body: { mode: 'hard' } }];
    case 'suspend':
      return ['suspendVm', { params }];
    case 'resume':
      return ['resumeVm', { params }];
    case 'reset':
      return ['resetVm', { params }];
    case 'migrate':
      return ['migrateVm', { params }];
    case 'migrate-to':
      return ['migrateVm', { params, body: { to } }];
    case 'delete':
      return ['deleteVm', { params }];
    case 'cancel':
      return ['cancelTask', { params: { task: taskOf(context, vm) } }];
    default:
      return unreachable(deed);
  }
}

/** Returns the VM's task in progress, of any kind; CodedError 'conflict' if there is none. */
function taskOf({ store }: BackendContext, name: string): string {
  const tasks = [...store.tasks.values()].filter(
    ({ value }) => value.target.name === name && value.state === 'running',
  );
  const latest = tasks.sort((a, b) => a.revision - b.revision).at(-1);
  if (latest === undefined) throw new CodedError('conflict', `Nothing of ${name} is under way.`);
  return latest.value.id;
}
