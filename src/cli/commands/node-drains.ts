/** `gp control drain`, `gp storage drain`, and back: nodes are taken out of service. */
import type { Command } from 'commander';
import type { NodeDrainPlan } from '../../api/maintenance-views.ts';
import type { ControlNode } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { sleep } from '../../base/sleep.ts';
import { systemClock } from '../../os/clock.ts';
import type { Io } from '../io.ts';
import { present, type Session } from '../session.ts';
import { action, nameArgument } from './common.ts';
import { CONTROL_TABLE, STORAGE_TABLE } from './presentations.ts';

/** How long the leader may take to hand over: one round of its watch, and an election. */
const HAND_OVER_MS = 30_000;
const LOOK_MS = 500;

interface Options {
  readonly dryRun?: boolean;
  readonly reason?: string;
  readonly change?: string;
}

/** Adds `drain` and `undrain` to both commands. */
export function addNodeDrains(
  { control, storage }: { readonly control: Command; readonly storage: Command },
  io: Io,
): void {
  addDrain(control, 'take a control node out of service: the lead passes on, and etcd keeps its majority').action(
    action(io, async (session, name: string, { dryRun, reason, change }: Options) => {
      const client = await session.client();
      const request = { params: { path: { node: name } }, body: present({ reason, change }) };
      const plan = await client.call(client.http.POST('/v1/control-nodes/{node}/drain-plan', request));
      if (await isShown(session, plan, dryRun)) return;
      await client.call(client.http.POST('/v1/control-nodes/{node}/drain', request));
      const drained = await untilHandedOver(session, io, name);
      await session.printOne(
        drained,
        CONTROL_TABLE,
        () => `${name} is out of service: it does not lead, and etcd has its majority without it\n`,
      );
    }),
  );
  addVerb(control, 'undrain', 'take a control node back into service').action(
    action(io, async (session, name: string) => {
      const client = await session.client();
      const params = { params: { path: { node: name } } };
      const back = await client.call(client.http.POST('/v1/control-nodes/{node}/undrain', params));
      await session.printOne(back, CONTROL_TABLE, () => `${name} is in service again\n`);
    }),
  );
  addDrain(storage, 'take a storage node out of service: nothing new is put there, and no disk may be on it').action(
    action(io, async (session, name: string, { dryRun, reason, change }: Options) => {
      const client = await session.client();
      const request = { params: { path: { node: name } }, body: present({ reason, change }) };
      const plan = await client.call(client.http.POST('/v1/storage-nodes/{node}/drain-plan', request));
      if (await isShown(session, plan, dryRun)) return;
      const drained = await client.call(client.http.POST('/v1/storage-nodes/{node}/drain', request));
      await session.printOne(drained, STORAGE_TABLE, () => `${name} is out of service: no disk is on it\n`);
    }),
  );
  addVerb(storage, 'undrain', 'take a storage node back into service').action(
    action(io, async (session, name: string) => {
      const client = await session.client();
      const params = { params: { path: { node: name } } };
      const back = await client.call(client.http.POST('/v1/storage-nodes/{node}/undrain', params));
      await session.printOne(back, STORAGE_TABLE, () => `${name} is in service again\n`);
    }),
  );
}

/** The options are those of `gp host drain`, except those about moves. */
function addDrain(command: Command, description: string): Command {
  return addVerb(command, 'drain', description)
    .option('--dry-run', 'show the effect and change nothing')
    .option('--reason <text>', 'the reason, for people who look at the node')
    .option('--change <number>', 'the change that it belongs to');
}

/** Shows the effect of a drain, before it begins or instead of it; returns true for the latter. */
async function isShown(session: Session, plan: NodeDrainPlan, dryRun = false): Promise<boolean> {
  const text = `${plan.node}: ${plan.consequences.join(' ')}`;
  if (dryRun) await session.printOne(plan, { name: ({ node }) => node }, () => `${text}\n`);
  else session.say(text);
  return dryRun;
}

function addVerb(command: Command, verb: string, description: string): Command {
  return command.command(verb).description(description).argument('<node>', 'name', nameArgument);
}

/** The node once another one leads. CodedError 'deadline': the node stays drained, and may still lead. */
async function untilHandedOver(session: Session, io: Io, name: string): Promise<ControlNode> {
  const deadline = systemClock.monotonicMs() + HAND_OVER_MS;
  for (;;) {
    const client = await session.client();
    // While no control node leads, the list names no leader.
    const nodes: readonly ControlNode[] = await client.list('/v1/control-nodes', { signal: io.signal });
    const drained = nodes.find((node) => node.name === name);
    if (drained !== undefined && nodes.some((node) => node.leader && node.name !== name)) return drained;
    if (systemClock.monotonicMs() > deadline)
      throw new CodedError('deadline', `${name} still leads after ${HAND_OVER_MS / 1_000} s.`, {
        advice: 'It stays drained, and passes the lead on as soon as another control node can lead: gp control list.',
      });
    await sleep(systemClock, LOOK_MS, { signal: io.signal });
  }
}
