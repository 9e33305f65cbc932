/**
 * Constraints by name, and a snapshot without one of them: how the estate would be if a rule were dropped for an hour,
 * a tie ended, or a host had more memory. Pure.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateHost, EstateVm } from './estate.ts';

/** One constraint. Equal constraints have equal `kind` and `name`; `name` is empty if there is one of the kind. */
export interface Constraint {
  readonly kind: ConstraintKind;
  readonly name: string;
}

export type ConstraintKind =
  /** The host is emptied by this very plan. */
  | 'emptied'
  /** The host is cordoned, in maintenance, quarantined, or its agent is silent; `name`: the host. */
  | 'host-state'
  | 'rule'
  /** Members of the guest cluster share no host. */
  | 'guest-cluster'
  /** The guest cluster allows no more disturbed members; its heartbeat tolerates no longer pause. */
  | 'disturbed'
  | 'pause'
  | 'tie'
  | 'cpu-model'
  | 'network'
  | 'storage'
  | 'accelerator'
  | 'release'
  /** The VM cannot be moved now (`unsettled`), or moves already; `name`: the VM. */
  | 'unsettled'
  | 'moving'
  | 'memory'
  | 'vcpus'
  | 'room-for-loss';

/** A change that may make a plan possible. */
export type Relaxation =
  | { readonly kind: 'without'; readonly constraints: readonly Constraint[] }
  /** This much more memory on the host. */
  | { readonly kind: 'memory'; readonly host: HostName; readonly mib: number }
  /** The VMs are stopped in the meantime. */
  | { readonly kind: 'stopped'; readonly vms: readonly VmId[] };

/** More than any host needs. */
const PLENTY = 2 ** 40;

/** A text that is equal for equal constraints. */
export function keyOf({ kind, name }: Constraint): string {
  return name === '' ? kind : `${kind} ${name}`;
}

/** Returns the snapshot as it would be. */
export function relaxed(estate: Estate, relaxation: Relaxation): Estate {
  switch (relaxation.kind) {
    case 'without':
      return relaxation.constraints.reduce(without, estate);
    case 'memory':
      return withHosts(estate, (host) =>
        host.name === relaxation.host ? { memoryMib: host.memoryMib + relaxation.mib } : {},
      );
    case 'stopped':
      return { ...estate, vms: estate.vms.filter(({ id }) => !relaxation.vms.includes(id)) };
  }
}

function without(estate: Estate, { kind, name }: Constraint): Estate {
  const { policy, rules, guestClusters } = estate;
  const cluster = (change: Partial<Estate['guestClusters'][number]>): Estate => ({
    ...estate,
    guestClusters: guestClusters.map((one) => (one.name === name ? { ...one, ...change } : one)),
  });
  switch (kind) {
    case 'emptied':
      return estate;
    case 'host-state':
      return withHosts(estate, (host) => (host.name === name ? { state: 'in-service' } : {}));
    case 'rule':
      return { ...estate, rules: rules.map((rule) => (rule.name === name ? { ...rule, hard: false } : rule)) };
    case 'guest-cluster':
      return cluster({ sharesHosts: true });
    case 'disturbed':
      return cluster({ disturbed: [] });
    case 'pause':
      return cluster({ toleratesMs: PLENTY });
    case 'tie':
      return withVms(estate, ({ tie }) => (tie?.name === name ? { tie: null } : {}));
    case 'cpu-model':
      return withVms(estate, ({ cpuModel }) => (cpuModel === name ? { cpuModel: 'baseline' } : {}));
    case 'network':
      return withHosts(estate, (host) => ({ withoutNetworks: host.withoutNetworks.filter((one) => one !== name) }));
    case 'storage':
      return withHosts(estate, (host) => ({ withoutStorage: host.withoutStorage.filter((one) => one !== name) }));
    case 'accelerator':
      return withHosts(estate, () => ({ accelerator: 'kvm' }));
    case 'release':
      return withHosts(estate, () => ({ release: 0 }));
    case 'unsettled':
      return withVms(estate, (vm) => (vm.name === name ? { unsettled: null } : {}));
    case 'moving':
      return withVms(estate, (vm) =>
        vm.name === name && vm.movingTo !== null ? { host: vm.movingTo, movingTo: null } : {},
      );
    case 'memory':
      return withHosts(estate, () => ({ memoryMib: PLENTY }));
    case 'vcpus':
      return { ...estate, policy: { ...policy, vcpuOvercommit: PLENTY } };
    case 'room-for-loss':
      return { ...estate, policy: { ...policy, keepRoomForLoss: false } };
  }
}

function withHosts(estate: Estate, change: (host: EstateHost) => Partial<EstateHost>): Estate {
  return { ...estate, hosts: estate.hosts.map((host) => ({ ...host, ...change(host) })) };
}

function withVms(estate: Estate, change: (vm: EstateVm) => Partial<EstateVm>): Estate {
  return { ...estate, vms: estate.vms.map((vm) => ({ ...vm, ...change(vm) })) };
}
