/** One change of an estate, made on a model, and the change that takes it back. */
import type { VmId } from '../../base/ids.ts';
import type { EstateGuestCluster, EstateHost, EstateRule, EstateVm } from './estate.ts';
import type { Model } from './model.ts';

/** One change of the estate. */
export type EstateChange =
  | { readonly kind: 'vm'; readonly vm: EstateVm }
  | { readonly kind: 'vm-gone'; readonly vm: VmId }
  | { readonly kind: 'host'; readonly host: EstateHost }
  /** null: the rule, or the guest cluster, is gone. */
  | { readonly kind: 'rule'; readonly name: string; readonly rule: EstateRule | null }
  | { readonly kind: 'guest-cluster'; readonly name: string; readonly cluster: EstateGuestCluster | null };

/** Makes a change. */
export function applyTo(model: Model, change: EstateChange): void {
  switch (change.kind) {
    case 'vm':
      model.setVm(change.vm);
      break;
    case 'vm-gone':
      model.removeVm(change.vm);
      break;
    case 'host':
      model.setHost(change.host);
      break;
    case 'rule':
      model.setRule(change.name, change.rule);
      break;
    case 'guest-cluster':
      model.setCluster(change.name, change.cluster);
  }
}

/** The change that takes back a change that is about to be made. An unknown host is a fault of the caller. */
export function inverseOf(model: Model, change: EstateChange): EstateChange {
  switch (change.kind) {
    case 'vm':
    case 'vm-gone': {
      const id = change.kind === 'vm' ? change.vm.id : change.vm;
      const vm = model.vms[model.vm(id)] ?? null;
      return vm === null ? { kind: 'vm-gone', vm: id } : { kind: 'vm', vm };
    }
    case 'host': {
      const host = model.hosts[model.host(change.host.name)];
      if (host === undefined) throw new Error(`A host that is not there yet (${change.host.name}) is not tried out.`);
      return { kind: 'host', host };
    }
    case 'rule':
      return { kind: 'rule', name: change.name, rule: model.rule(change.name) };
    case 'guest-cluster':
      return { kind: 'guest-cluster', name: change.name, cluster: model.cluster(change.name) };
  }
}
