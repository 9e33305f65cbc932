/** `gp maintenance plan`: what maintenance of many hosts would do, for approval. */
import type { Command } from 'commander';
import type { Io } from '../io.ts';
import { describeMaintenancePlan } from '../maintenance/plan-text.ts';
import { present } from '../session.ts';
import { parseCount } from '../units.ts';
import { action } from './common.ts';

interface PlanOptions {
  readonly hosts: string;
  readonly maxUnavailable?: number;
  readonly perRack?: number;
  readonly parallel?: number;
}

/** Adds the commands named in the module's comment. */
export function addRollCommands(maintenance: Command, io: Io): void {
  const count = (text: string): number => parseCount(text);
  maintenance
    .command('plan')
    .description('show what maintenance of many hosts would do, wave after wave; nothing is changed')
    .requiredOption('--hosts <hosts>', 'all, rack=NAME, or names with commas between them')
    .option('--max-unavailable <n>', 'hosts that may be away at once (default: 1)', count)
    .option('--per-rack <n>', 'hosts of one rack that may be away at once (default: no limit)', count)
    .option('--parallel <n>', 'moves at once from and to one host (default: 2)', count)
    .addHelpText('after', '\nKeep the plan for its approval: gp maintenance plan --hosts all -o json > plan.json')
    .action(
      action(io, async (session, { hosts, maxUnavailable, perRack, parallel }: PlanOptions) => {
        const client = await session.client();
        const body = { hosts: hosts.split(','), ...present({ maxUnavailable, perRack, parallel }) };
        const plan = await client.call(client.http.POST('/v1/maintenance-plan', { body }));
        await session.printOne(plan, { name: ({ hash }) => hash }, describeMaintenancePlan);
      }),
    );
}
