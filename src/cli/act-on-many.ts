/** One action on many VMs as one request and one task: waits for it, and prints the reason for each VM that refused. */
import type { BulkActionRequest } from '../api/requests.ts';
import { printable } from '../base/printable.ts';
import type { WaitOptions } from './commands/common.ts';
import type { Session } from './session.ts';
import { demandSuccess, waitForTask } from './task-wait.ts';

/** The action, and the VMs that it is for. */
interface Many extends Pick<BulkActionRequest, 'action' | 'mode' | 'patienceMs' | 'to' | 'accept'> {
  readonly vms: readonly string[];
}

/** `done`: the result in words, such as `stopped`. CodedError 'failed' if a VM refused or failed. */
export async function actOnMany(
  session: Session,
  request: Many,
  { wait, timeout, done }: WaitOptions & { readonly done: string },
): Promise<void> {
  const client = await session.client();
  const begun = await client.call(client.http.POST('/v1/vms/actions', { body: { ...request, vms: [...request.vms] } }));
  if (!wait) {
    if (!(await session.printedAsData(begun))) session.io.out(`${begun.id}\n`);
    return;
  }
  const task = await waitForTask(session, begun, timeout);
  const params = { path: { task: task.id } };
  const vms = await client.list('/v1/tasks/{task}/vms', { params, signal: session.io.signal });
  if (!(await session.printedAsData(vms)))
    for (const { vm, state, message } of vms) {
      if (state === 'succeeded') session.say(`${vm} ${done}`);
      else session.io.err(`gp: ${printable(`${vm}: ${message}`)}\n`);
    }
  demandSuccess(task);
}
