/** The fate of the VMs of a lost host. Pure: from the records and the events that are kept. */
import type { HostName, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import { currentIncarnation, type VmRecord } from '../model/vm.ts';
import type { Basis } from './basis.ts';

/** A VM that ran on the host, and what happened to it. */
export interface LostVm {
  readonly vm: string;
  readonly what: string;
}

/** Events from shortly before the quarantine belong to the same loss, in ms: VMs are declared lost one by one. */
const BEFORE_MS = 5_000;

/** Returns the VMs that the host had when it was lost, those first that are still recorded there. */
export function lostVms({ records, index }: Basis, { name, quarantine }: HostRecord): readonly LostVm[] {
  const since = (quarantine?.since ?? 0) - BEFORE_MS;
  const there = [...index.vmsOn(name)].flatMap((id) => index.vm(id) ?? []);
  const waiting = there.map((vm) => ({
    vm: vm.name,
    what: `it is still recorded on ${name} (${vm.phase.kind}), and starts elsewhere once a host can take it`,
  }));
  const lastHost = new Map<VmId, HostName>();
  const victims = new Map<VmId, LostVm>();
  for (const { value } of records.events.values()) {
    const { vm, vmName, host, at, kind, message } = value;
    if (vm === null) continue;
    if (kind === 'lost' && at >= since && lastHost.get(vm) === name)
      victims.set(vm, { vm: vmName ?? vm, what: `${message} Now ${stateOf(index.vm(vm))}.` });
    if (host !== null) lastHost.set(vm, host);
  }
  const isWaiting = new Set(there.map(({ id }) => id));
  return [...waiting, ...[...victims].flatMap(([id, lost]) => (isWaiting.has(id) ? [] : [lost]))];
}

function stateOf(vm: VmRecord | null): string {
  if (vm === null) return 'it is deleted';
  const at = currentIncarnation(vm.phase);
  return at === null ? 'it is stopped' : `it is ${vm.phase.kind} on ${at.host}, generation ${at.generation}`;
}
