/**
 * Constraints by name, and an estate without one of them: how the estate would be if a rule were dropped for an hour,
 * a tie ended, or a host had more memory. A model is changed in place, and changed back: the cost depends on the change,
 * not on the size of the estate. Pure.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Constraint } from './constraint.ts';
import type { EstateGuestCluster, EstateHost, EstatePolicy, EstateVm } from './estate.ts';
import { applyTo, type EstateChange, inverseOf } from './estate-change.ts';
import type { Model } from './model.ts';

/** A change that may make a plan possible. */
export type Relaxation =
  | { readonly kind: 'without'; readonly constraints: readonly Constraint[] }
  /** This much more memory on the host. */
  | { readonly kind: 'memory'; readonly host: HostName; readonly mib: number }
  /** The VMs are stopped in the meantime. */
  | { readonly kind: 'stopped'; readonly vms: readonly VmId[] };

/** More than any host needs. */
const PLENTY = 2 ** 40;

/** Returns the policy with the relaxation. */
export function relaxedPolicy(policy: EstatePolicy, relaxation: Relaxation): EstatePolicy {
  const isKept = relaxation.kind !== 'without' || relaxation.constraints.every(({ kind }) => kind !== 'room-for-loss');
  return isKept ? policy : { ...policy, keepRoomForLoss: false };
}

/** Relaxes the model; the returned function takes that back. The policy stays (`relaxedPolicy`). */
export function relax(model: Model, relaxation: Relaxation): () => void {
  const made: EstateChange[] = [];
  const make = (changes: readonly EstateChange[]): void => {
    for (const change of changes) {
      made.push(inverseOf(model, change));
      applyTo(model, change);
    }
  };
  switch (relaxation.kind) {
    case 'without':
      // One after the other: two may be about the same host.
      for (const constraint of relaxation.constraints) make(without(model, constraint));
      break;
    case 'memory':
      make(
        hostChanges(model, ({ name, memoryMib }) =>
          name === relaxation.host ? { memoryMib: memoryMib + relaxation.mib } : null,
        ),
      );
      break;
    case 'stopped':
      make(relaxation.vms.map((vm) => ({ kind: 'vm-gone', vm })));
  }
  return () => {
    for (const change of made.toReversed()) applyTo(model, change);
  };
}

function without(model: Model, { kind, name }: Constraint): readonly EstateChange[] {
  switch (kind) {
    case 'emptied':
    case 'room-for-loss':
      return [];
    case 'host-state':
      return hostChanges(model, (host) => (host.name === name ? { state: 'in-service' } : null));
    case 'rule': {
      const rule = model.rule(name);
      return rule === null ? [] : [{ kind: 'rule', name, rule: { ...rule, hard: false } }];
    }
    case 'guest-cluster':
      return clusterChange(model, name, { sharesHosts: true });
    case 'disturbed':
      return clusterChange(model, name, { disturbed: [] });
    case 'pause':
      return clusterChange(model, name, { toleratesMs: PLENTY });
    case 'tie':
      return vmChanges(model, ({ tie }) => (tie?.name === name ? { tie: null } : null));
    case 'cpu-model':
      return vmChanges(model, ({ cpuModel }) => (cpuModel === name ? { cpuModel: 'baseline' } : null));
    case 'network':
      return hostChanges(model, ({ withoutNetworks }) =>
        withoutNetworks.some((one) => one === name)
          ? { withoutNetworks: withoutNetworks.filter((one) => one !== name) }
          : null,
      );
    case 'storage':
      return hostChanges(model, ({ withoutStorage }) =>
        withoutStorage.some((one) => one === name)
          ? { withoutStorage: withoutStorage.filter((one) => one !== name) }
          : null,
      );
    case 'accelerator':
      return hostChanges(model, ({ accelerator }) => (accelerator === 'kvm' ? null : { accelerator: 'kvm' }));
    case 'release':
      return hostChanges(model, ({ release }) => (release === 0 ? null : { release: 0 }));
    case 'unsettled':
      return vmChanges(model, (vm) => (vm.name === name ? { unsettled: null } : null));
    case 'moving':
      return vmChanges(model, (vm) =>
        vm.name === name && vm.movingTo !== null ? { host: vm.movingTo, movingTo: null } : null,
      );
    case 'memory':
      return hostChanges(model, () => ({ memoryMib: PLENTY }));
    case 'vcpus':
      // 0 means unknown, and is not counted.
      return hostChanges(model, ({ vcpus }) => (vcpus === 0 ? null : { vcpus: 0 }));
  }
}

function hostChanges(model: Model, change: (host: EstateHost) => Partial<EstateHost> | null): EstateChange[] {
  return model.hosts.flatMap((host) => {
    const changed = change(host);
    return changed === null ? [] : [{ kind: 'host', host: { ...host, ...changed } }];
  });
}

function vmChanges(model: Model, change: (vm: EstateVm) => Partial<EstateVm> | null): EstateChange[] {
  return model.vms.flatMap((vm) => {
    const changed = vm === null ? null : change(vm);
    return vm === null || changed === null ? [] : [{ kind: 'vm', vm: { ...vm, ...changed } }];
  });
}

function clusterChange(model: Model, name: string, changed: Partial<EstateGuestCluster>): EstateChange[] {
  const cluster = model.cluster(name);
  return cluster === null ? [] : [{ kind: 'guest-cluster', name, cluster: { ...cluster, ...changed } }];
}
