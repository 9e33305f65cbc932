/**
 * The iSCSI names of a VM: its initiator port, the target with its shared disks, and one account for each of its
 * generations. Pure. The initiator port belongs to the VM for its whole life, on every host: persistent reservations
 * belong to this port.
 */
import { type Generation, parseGeneration, parseVmId, type VmId } from '../../base/ids.ts';

const AUTHORITY = 'iqn.2026-11.org.groundplane';
const INITIATOR = `${AUTHORITY}:vm:`;
const ACCOUNT = /^(vm-[0-9a-f]{12}):g([1-9]\d{0,15})$/;

/** The name by which a VM's QEMUs log in. */
export function initiatorName(vm: VmId): string {
  return INITIATOR + vm;
}

/** The VM of an initiator name; undefined if the name is no VM's. */
export function vmOfInitiator(name: string): VmId | undefined {
  const id = name.startsWith(INITIATOR) ? name.slice(INITIATOR.length) : '';
  return /^vm-[0-9a-f]{12}$/.test(id) ? parseVmId(id) : undefined;
}

/** The target that has a VM's shared disks of one storage node, under the VM's numbers. */
export function targetName(vm: VmId): string {
  return `${AUTHORITY}:disks:${vm}`;
}

/** The CHAP name of one incarnation. */
export function accountName(vm: VmId, generation: Generation): string {
  return `${vm}:g${generation}`;
}

/** The VM and generation of an account name; undefined if the name is not in our form. */
export function parseAccountName(name: string): { readonly vm: VmId; readonly generation: Generation } | undefined {
  const [, vm, generation] = ACCOUNT.exec(name) ?? [];
  if (vm === undefined || !Number.isSafeInteger(Number(generation))) return undefined;
  return { vm: parseVmId(vm), generation: parseGeneration(Number(generation)) };
}
