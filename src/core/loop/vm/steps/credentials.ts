/**
 * An incarnation's certificate, made while its generation is committed and granted. Guarantees: each launch has
 * credentials of its own.
 */
import type { Generation } from '../../../../base/ids.ts';
import type { Credentials } from '../acknowledgements.ts';
import type { StepContext } from './step-context.ts';

/**
 * Making a key and signing its certificate takes as long as a transaction or a grant, so it runs in parallel to both;
 * the certificate is used only after them.
 */
export function beginIssuing({ ports, vm, notes }: StepContext, generation: Generation): void {
  const credentials = ports.credentials.issue(vm.id, generation);
  // The launch gets the error of a failure; without a launch, nobody needs it.
  credentials.catch(() => undefined);
  notes.issuing = { generation, credentials };
}

/** Returns what `beginIssuing` began for this generation, or begins now. */
export function takeIssued({ ports, vm, notes }: StepContext, generation: Generation): Promise<Credentials> {
  const { issuing } = notes;
  notes.issuing = null;
  return issuing?.generation === generation ? issuing.credentials : ports.credentials.issue(vm.id, generation);
}
