/** Steps about an incarnation's process: its start by the host's agent, and its end by the agent or by QMP. */
import { takeIssued } from './credentials.ts';
import { launchOrder } from './launch-order.ts';
import { DEADLINE, qmpTarget, type StepHandler } from './step-context.ts';

/** Starts QEMU with its vCPUs halted. */
export const launch: StepHandler<'launch'> = async (context, step) => {
  const { ports, notes } = context;
  const { generation, host } = step.incarnation;
  const credentials = await takeIssued(context, generation);
  const order = await launchOrder(context, step, credentials);
  const { listens } = await ports.hosts.launch(host, order, { deadlineMs: DEADLINE.launch });
  notes.wasLaunched(generation, { listens });
};

/** Ends QEMU at once. */
export const end: StepHandler<'end'> = async ({ ports: { hosts, qmp, store }, vm, notes }, { incarnation, by }) => {
  const { generation, host } = incarnation;
  if (by === 'qmp') {
    await qmp.quit(qmpTarget(store, vm, incarnation));
  } else {
    const order = { term: store.term, vm: vm.id, generations: [generation], reason: `phase ${vm.phase.kind}` };
    await hosts.kill(host, order, { deadlineMs: DEADLINE.kill });
  }
  qmp.forget(vm.id, generation);
  notes.ended.add(generation);
};
