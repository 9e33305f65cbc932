/** Small estates written by hand: properties that a test does not set have ordinary values. */
import type { HostName, VmId } from '../../../base/ids.ts';
import type { Estate, EstateGuestCluster, EstateHost, EstatePolicy, EstateRule, EstateVm } from '../estate.ts';
import { SEEDED_POLICY } from './seeded-estate.ts';

/** A host's name. */
export const hostName = (name: string): HostName => name as HostName;
/** The id of a VM by its name. */
export const vmId = (name: string): VmId => `vm-${name}` as VmId;

/** A host of 16 GiB in service, in a rack of its own. */
export function aHost(name: string, more: Partial<EstateHost> = {}): EstateHost {
  return {
    name: hostName(name),
    rack: null,
    state: 'in-service',
    memoryMib: 16_384,
    claimedMib: 0,
    vcpus: 8,
    accelerator: 'kvm',
    cpuModels: [],
    withoutNetworks: [],
    withoutStorage: [],
    release: 1,
    link: null,
    ...more,
  };
}

/** A VM of 4 GiB on a host. */
export function aVm(name: string, host: string, more: Partial<EstateVm> = {}): EstateVm {
  return {
    id: vmId(name),
    name,
    host: hostName(host),
    movingTo: null,
    memoryMib: 4_096,
    vcpus: 2,
    cpuModel: 'baseline',
    networks: [],
    storage: [],
    tie: null,
    unsettled: null,
    pauseMs: 400,
    dirtyMibPerSecond: null,
    ...more,
  };
}

/** A hard rule that keeps VMs on different hosts. */
export function aRule(name: string, vms: readonly string[], more: Partial<EstateRule> = {}): EstateRule {
  return { name, kind: 'apart', by: 'host', hard: true, vms: vms.map(vmId), most: 1, ...more };
}

/** A guest cluster that allows one disturbed member. */
export function aGuestCluster(
  name: string,
  members: readonly string[],
  more: Partial<EstateGuestCluster> = {},
): EstateGuestCluster {
  return {
    name,
    members: members.map(vmId),
    maxDisturbed: 1,
    toleratesMs: 2_000,
    sharesHosts: false,
    disturbed: [],
    ...more,
  };
}

/** An estate that keeps no room for a loss unless the test says so. */
export function estateOf(parts: Partial<Omit<Estate, 'policy'>> & { readonly policy?: Partial<EstatePolicy> }): Estate {
  return {
    hosts: [],
    vms: [],
    rules: [],
    guestClusters: [],
    ...parts,
    policy: { ...SEEDED_POLICY, keepRoomForLoss: false, ...parts.policy },
  };
}
