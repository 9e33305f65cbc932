/** Prism Central's API version 4: `{"data": […], "metadata": {…}}`. */
import { type Fields, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { commonTies, gpuTies, type Lack, mibOf, type PrismObject, type PrismPolicy, powerOf } from './prism.ts';

/** Returns the object of an item, or null. */
export function v4Object(file: string, item: Fields): PrismObject | null {
  const type = textAtPath(item, '$objectType');
  const id = textAtPath(item, 'extId');
  const name = textAtPath(item, 'name') || id;
  if (/\.VolumeGroup$/.test(type) || 'sharingStatus' in item) {
    const said = item['sharingStatus'];
    const is = { id, name, isShared: said === 'SHARED', said: ['sharingStatus', said] as const, vms: [] };
    return { file, kind: 'volume group', is };
  }
  const policy = policyOf(item, type, id, name);
  if (policy !== null) return { file, kind: 'policy', is: policy };
  if (/\.Category$/.test(type) || 'detailedAssociations' in item) {
    const hosts = objectsAt(item, 'detailedAssociations').filter((one) => textAtPath(one, 'resourceType') === 'HOST');
    return { file, kind: 'category', is: { id, hosts: hosts.map((one) => textAtPath(one, 'resourceId')) } };
  }
  if (/\.Host$/.test(type) || 'hostName' in item || 'maintenanceState' in item)
    return { file, kind: 'host', is: hostOf(item) };
  if (/\.Vm$/.test(type) || 'powerState' in item) return { file, kind: 'vm', is: vmOf(item) };
  return /\.Cluster$/.test(type) ? { file, kind: 'cluster', is: { id, name } } : null;
}

/** Returns the policy of an item, or null. */
function policyOf(item: Fields, type: string, id: string, name: string): PrismPolicy | null {
  const ids = (field: string): readonly string[] => objectsAt(item, field).map((one) => textAtPath(one, 'extId'));
  if (/\.VmHostAffinityPolicy$/.test(type) || 'hostCategories' in item)
    return { id, name, kind: 'hosts', vmCategories: ids('vmCategories'), hostCategories: ids('hostCategories') };
  if (!/\.VmAntiAffinityPolicy$/.test(type)) return null;
  return { id, name, kind: 'apart', vmCategories: ids('categories'), hostCategories: [] };
}

function hostOf(item: Fields) {
  const id = textAtPath(item, 'extId');
  const bytes = numberOf(item['memorySizeBytes']);
  const state = textAtPath(item, 'maintenanceState');
  const running = numberOf(valueAt(item, 'hypervisor', 'numberOfVms'));
  const cluster = {
    id: textAtPath(item, 'cluster', 'uuid') || textAtPath(item, 'cluster', 'extId'),
    name: textAtPath(item, 'cluster', 'name'),
  };
  const lacks: Lack[] = [];
  if (bytes === null) lacks.push(['memory', 'memorySizeBytes']);
  if (state === '') lacks.push(['hosts', 'maintenanceState']);
  if (cluster.id === '') lacks.push(['hosts', 'cluster']);
  const isUp = /^(?:normal|null|none)$/i.test(state);
  return {
    id,
    name: textAtPath(item, 'hostName') || textAtPath(item, 'name') || id,
    cluster,
    memoryMib: mibOf(bytes),
    state: state === '' ? ('unknown' as const) : isUp ? ('in service' as const) : ('out of service' as const),
    cpuModel: textAtPath(item, 'cpuModel'),
    running: running === null ? null : running - (valueAt(item, 'controllerVm') === undefined ? 0 : 1),
    said: ['maintenanceState', state] as const,
    lacks,
  };
}

function vmOf(item: Fields) {
  const id = textAtPath(item, 'extId');
  const sockets = numberOf(item['numSockets']);
  const nics = objectsAt(item, 'nics');
  const gpus = objectsAt(item, 'gpus');
  const lacks: readonly Lack[] = 'isLiveMigrateCapable' in item ? [] : [['devices', 'isLiveMigrateCapable']];
  return {
    id,
    name: textAtPath(item, 'name') || id,
    power: powerOf(textAtPath(item, 'powerState')),
    host: textAtPath(item, 'host', 'extId'),
    hostName: textAtPath(item, 'host', 'extId'),
    memoryMib: mibOf(numberOf(item['memorySizeBytes'])),
    cpus: sockets === null ? null : sockets * (numberOf(item['numCoresPerSocket']) ?? 1),
    disks: objectsAt(item, 'disks').map((disk) => {
      const backing = valueAt(disk, 'backingInfo');
      return {
        group: textAtPath(backing, 'volumeGroupExtId'),
        label: textAtPath(disk, 'extId'),
        bytes: numberOf(valueAt(backing, 'diskSizeBytes')),
        column: 'disks.backingInfo',
      };
    }),
    nics: nics.map((nic) => ({
      subnet: textAtPath(networkOf(nic), 'subnet', 'extId'),
      name: textAtPath(networkOf(nic), 'subnet', 'name'),
    })),
    ties: [
      ...commonTies({
        agent: ['isAgentVm', item['isAgentVm']],
        pinned: ['isVcpuHardPinningEnabled', item['isVcpuHardPinningEnabled']],
        passthrough: ['isCpuPassthroughEnabled', item['isCpuPassthroughEnabled']],
        capable: ['isLiveMigrateCapable', item['isLiveMigrateCapable']],
        direct: nics.filter((nic) => textAtPath(networkOf(nic), 'nicType') === 'DIRECT_NIC').length,
      }),
      ...gpuTies(
        'gpus',
        gpus.map((gpu) => ({ name: textAtPath(gpu, 'name'), mode: textAtPath(gpu, 'mode') })),
      ),
    ],
    categories: objectsAt(item, 'categories').map((one) => textAtPath(one, 'extId')),
    notes: textAtPath(item, 'description'),
    lacks,
  };
}

function networkOf(nic: Fields): unknown {
  return valueAt(nic, 'networkInfo') ?? valueAt(nic, 'nicNetworkInfo');
}
