/** The programs of the roles, and Node's options for each of them. */
import { programFile } from '../os/program-file.ts';

/** The roles of a machine. One machine may have several. */
export type Role = 'etcd' | 'control' | 'storage' | 'agent';

/** The roles that are programs of ours; etcd's is its own. */
export type NodeRole = Exclude<Role, 'etcd'>;

/** The heap of each role in MiB: bounded, so that a leak shows as a restart and not as a machine without memory. */
const HEAP_MIB: Readonly<Record<NodeRole, number>> = { control: 512, storage: 256, agent: 256 };

/** Returns what Node is started with for a role, before the program. */
export function nodeArguments(role: NodeRole): readonly string[] {
  return [
    `--max-old-space-size=${HEAP_MIB[role]}`,
    // About 4 MB less in each process; their work is waiting, not computing.
    '--optimize-for-size',
    '--max-semi-space-size=2',
    // While a server takes over, almost every object that it makes is kept. V8 learns from it to make such objects
    // where only a full collection finds them, and goes on when they are thrown away at once: a third of the processor
    // time of a leader of 20,000 VMs.
    '--no-allocation-site-pretenuring',
    '--disable-warning=ExperimentalWarning',
  ];
}

/** Returns the command of a role; the caller adds `--config FILE`. */
export function roleProgram(role: NodeRole): readonly string[] {
  const program = programFile(`../${role}/main`, import.meta.url);
  return [process.execPath, ...nodeArguments(role), program];
}

/**
 * The environment of a role's process. One arena of the C library's allocator for all threads: each other would keep
 * some MB.
 */
export const ROLE_ENVIRONMENT: Readonly<Record<string, string>> = { NODE_ENV: 'production', MALLOC_ARENA_MAX: '1' };
