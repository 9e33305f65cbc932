/** Functions that the writers of seeded estates share. */
import { membersOf, type Seed, type SeedVm } from './seed.ts';

export const MIB = 2 ** 20;

/** Formats JSON as tools print it. */
export function json(value: unknown): string {
  return JSON.stringify(value, null, 1);
}

/** Returns true if the VM shares a disk with others. */
export function isShared({ clusters }: Seed, { cluster }: SeedVm): boolean {
  return cluster !== null && clusters === 'identity';
}

/** Returns true if only signs show the VM's cluster. */
export function hasSigns({ clusters }: Seed, { cluster }: SeedVm): boolean {
  return cluster !== null && clusters === 'signs';
}

/** Returns the guest clusters that only signs show, with their members. */
export function groups(seed: Seed): readonly (readonly [number, readonly SeedVm[]])[] {
  return seed.clusters === 'signs' ? [...membersOf(seed)] : [];
}
