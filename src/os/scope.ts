/**
 * Processes that outlive the service that started them, on a machine whose first process is systemd: each in a
 * transient scope of a slice of its own, with limits if the kernel has them (cgroups v2). On other machines the process
 * is started without a scope. Guarantees: the process keeps its pid; a scope ends with its last process; a name is
 * never used twice, so that remains of an earlier start cannot be in the way.
 */
import { randomHex } from './random.ts';

/** Set by the units of services (install/units.ts): what they start goes into scopes. */
const VARIABLE = 'GROUNDPLANE_SCOPES';

/** The slices of what outlives the services. */
export const SLICES = { vms: 'groundplane-vms.slice', disks: 'groundplane-disks.slice' } as const;

/** A scope to start a process in. */
export interface Scope {
  readonly slice: keyof typeof SLICES;
  /** The beginning of the scope's name, for people: letters, digits, dashes. */
  readonly name: string;
  readonly limits?: ScopeLimits | undefined;
}

/** Limits of a scope; ignored by a kernel without the controllers of cgroups v2. */
export interface ScopeLimits {
  /** The memory limit in bytes: above it the kernel ends a process of the scope. */
  readonly memoryBytesMax: number;
  /** 1 to 10,000; 100 is everybody's. */
  readonly cpuWeight: number;
}

/** Returns the command that runs `argv` in a scope; `argv` itself if there are none. */
export function inScope(
  argv: readonly string[],
  scope: Scope,
  env: NodeJS.ProcessEnv = process.env,
): readonly string[] {
  if (env[VARIABLE] !== 'yes') return argv;
  const { slice, name, limits } = scope;
  const properties =
    limits === undefined
      ? []
      : [`MemoryMax=${limits.memoryBytesMax}`, 'MemorySwapMax=0', `CPUWeight=${limits.cpuWeight}`];
  return [
    ...['systemd-run', '--scope', '--quiet', '--collect', `--slice=${SLICES[slice]}`, `--unit=${name}-${randomHex(3)}`],
    ...properties.map((property) => `--property=${property}`),
    '--',
    ...argv,
  ];
}
