/** Steps about a running QEMU's guest, over QMP: its vCPUs, its power button, and the streams of a live migration. */
import { assert } from '../../../../base/assert.ts';
import { type Incarnation, migrationPolicyOf } from '../../../model/vm.ts';
import type { QmpTarget } from '../../../ports/qmp-link.ts';
import { qmpTarget, type StepContext, type StepHandler } from './step-context.ts';

const at = ({ ports, vm }: StepContext, incarnation: Incarnation): QmpTarget => qmpTarget(ports.store, vm, incarnation);

/** Lets the guest run. */
export const cont: StepHandler<'cont'> = async (context, { incarnation }) =>
  context.ports.qmp.cont(at(context, incarnation));

/** Holds the guest still. */
export const halt: StepHandler<'halt'> = async (context, { incarnation }) =>
  context.ports.qmp.halt(at(context, incarnation));

/** Resets the machine, as its reset button does. */
export const reset: StepHandler<'reset'> = async (context, { incarnation }) => {
  await context.ports.qmp.reset(at(context, incarnation));
  context.notes.reset = context.vm.resetRequest?.taskId ?? null;
};

/** Presses the power button. */
export const powerDown: StepHandler<'power-down'> = async (context, { incarnation }) =>
  context.ports.qmp.powerDown(at(context, incarnation));

/** Tells a destination to wait for the stream of its source. */
export const listen: StepHandler<'listen'> = async (context, { destination }) => {
  const { phase } = context.vm;
  assert(phase.kind === 'migrating', 'a destination listens in phase migrating only');
  await context.ports.qmp.listen(at(context, destination), at(context, phase.source));
  context.notes.listening.add(destination.generation);
};

/** Makes a halted source use its disks, so that it can release them at the end of sending. */
export const activate: StepHandler<'activate'> = async (context, { source, destination }) => {
  await context.ports.qmp.activate(at(context, source));
  context.notes.activated.add(destination.generation);
};

/** Begins to send the guest's memory. */
export const send: StepHandler<'send'> = async (context, { source, destination }) => {
  await context.ports.qmp.send(at(context, source), at(context, destination), {
    slowDown: migrationPolicyOf(context.vm).slowDown,
  });
  context.notes.sent.add(destination.generation);
};

/** Allows a longer pause at the end of sending. */
export const allowPause: StepHandler<'allow-pause'> = async (context, { source, ms }) =>
  context.ports.qmp.allowPause(at(context, source), ms);

/** Ends sending. */
export const cancelSend: StepHandler<'cancel-send'> = async (context, { source }) =>
  context.ports.qmp.cancelSend(at(context, source));
