/**
 * Carries out steps. One handler per step, in `steps/` by family; each is idempotent and makes no choice. What was
 * acknowledged is kept per VM for as long as this leader leads, and forgotten with it.
 */
import type { Generation } from '../../../base/ids.ts';
import { currentIncarnation, type Incarnation, type VmRecord } from '../../model/vm.ts';
import type { Step, StepName } from '../../plan/vm/steps.ts';
import type { QmpTarget } from '../../ports/qmp-link.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import { beginIssuing } from './steps/credentials.ts';
import { createDisk, deleteDisk } from './steps/disk-steps.ts';
import { fence, grant, revoke, share } from './steps/grant-steps.ts';
import { activate, allowPause, cancelSend, cont, halt, listen, powerDown, reset, send } from './steps/guest-steps.ts';
import { end, launch } from './steps/process-steps.ts';
import { type ExecutorPorts, qmpTarget, type StepContext, type StepHandler } from './steps/step-context.ts';

const HANDLERS: { readonly [K in StepName]: StepHandler<K> } = {
  'create-disk': createDisk,
  'delete-disk': deleteDisk,
  fence,
  grant,
  revoke,
  share,
  launch,
  end,
  cont,
  halt,
  reset,
  'power-down': powerDown,
  listen,
  activate,
  send,
  'allow-pause': allowPause,
  'cancel-send': cancelSend,
};

/** Turns steps into orders on the ports; holds no state of its own. */
export class Executor {
  readonly #ports: ExecutorPorts;

  constructor(ports: ExecutorPorts) {
    this.#ports = ports;
  }

  /**
   * Carries out `step` for `vm` and notes what was acknowledged in `notes`. Rejects with CodedError if it was not
   * carried out as a whole.
   */
  perform(vm: VmRecord, step: Step, notes: Acknowledgements): Promise<void> {
    // The table's type says that each step goes to its own handler, which TypeScript cannot follow through an index.
    const handler = HANDLERS[step.do] as (context: StepContext, step: Step) => Promise<void>;
    return handler({ ports: this.#ports, vm, notes }, step);
  }

  /** Where the QEMU of an incarnation is reached; CodedError 'not-found' if its host has no record. */
  target(vm: VmRecord, incarnation: Incarnation): QmpTarget {
    return qmpTarget(this.#ports.store, vm, incarnation);
  }

  /** Where the QEMU that may run the guest is reached; null: there is none. CodedError as `target`. */
  currentTarget(vm: VmRecord): QmpTarget | null {
    const incarnation = currentIncarnation(vm.phase);
    return incarnation === null ? null : this.target(vm, incarnation);
  }

  /** Begins to make the credentials of a generation that is about to be committed. */
  beginIssuing(vm: VmRecord, generation: Generation, notes: Acknowledgements): void {
    beginIssuing({ ports: this.#ports, vm, notes }, generation);
  }
}
