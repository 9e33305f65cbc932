/** What the writers of seeded estates share. */
import { membersOf, type Seed, type SeedVm } from './seed.ts';

export const MIB = 2 ** 20;

/** JSON as tools print it. */
export function json(value: unknown): string {
  return JSON.stringify(value, null, 1);
}

/** Whether the VM has a disk in common with others. */
export function isShared({ clusters }: Seed, { cluster }: SeedVm): boolean {
  return cluster !== null && clusters === 'identity';
}

/** Whether only signs tell of the VM's cluster. */
export function hasSigns({ clusters }: Seed, { cluster }: SeedVm): boolean {
  return cluster !== null && clusters === 'signs';
}

/** Guest clusters of which only signs tell, with their members. */
export function groups(seed: Seed): readonly (readonly [number, readonly SeedVm[]])[] {
  return seed.clusters === 'signs' ? [...membersOf(seed)] : [];
}
