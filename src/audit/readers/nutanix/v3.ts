/** Prism's API version 3: entities with `metadata`, `spec` and `status`. */
import { type Fields, fieldsOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { commonTies, gpuTies, type Lack, type PrismDisk, type PrismObject, powerOf } from './prism.ts';

/** Returns the object of an entity, or null; `kind`: what the list says that it holds. */
export function v3Object(file: string, entity: Fields, kind: string): PrismObject | null {
  switch (kind) {
    case 'vm':
      return { file, kind, is: vmOf(entity) };
    case 'host':
      return { file, kind, is: hostOf(entity) };
    case 'cluster':
      return { file, kind, is: { id: idOf(entity), name: nameOf(entity) } };
    case 'volume_group': {
      const said = valueAt(entity, 'spec', 'resources', 'sharing_status');
      const group = { id: idOf(entity), name: nameOf(entity), isShared: said === 'SHARED', vms: [] };
      return { file, kind: 'volume group', is: { ...group, said: ['spec.resources.sharing_status', said] } };
    }
    default:
      return null;
  }
}

function idOf(entity: Fields): string {
  return textAtPath(entity, 'metadata', 'uuid');
}

function nameOf(entity: Fields): string {
  return (
    textAtPath(entity, 'spec', 'name') ||
    textAtPath(entity, 'metadata', 'name') ||
    textAtPath(entity, 'status', 'name') ||
    idOf(entity)
  );
}

function hostOf(entity: Fields) {
  const resources = valueAt(entity, 'status', 'resources');
  const reference =
    valueAt(resources, 'cluster_reference') ??
    valueAt(entity, 'spec', 'cluster_reference') ??
    valueAt(entity, 'status', 'cluster_reference');
  const memoryMib = numberOf(valueAt(resources, 'memory_capacity_mib'));
  const state = textAtPath(resources, 'hypervisor', 'state');
  const running = numberOf(valueAt(resources, 'hypervisor', 'num_vms'));
  const hasController = valueAt(resources, 'controller_vm') !== undefined;
  const cluster = { id: textAtPath(reference, 'uuid'), name: textAtPath(reference, 'name') };
  const lacks: Lack[] = [];
  if (memoryMib === null) lacks.push(['memory', 'memory_capacity_mib']);
  if (cluster.id === '') lacks.push(['hosts', 'cluster_reference']);
  return {
    id: idOf(entity),
    name: nameOf(entity),
    cluster,
    memoryMib,
    // Version 3 leaves the state out of some hosts that are in service.
    state: state === '' || /normal/i.test(state) ? ('in service' as const) : ('out of service' as const),
    cpuModel: textAtPath(resources, 'cpu_model'),
    running: running === null ? null : running - (hasController ? 1 : 0),
    said: ['hypervisor.num_vms', running] as const,
    lacks,
  };
}

function vmOf(entity: Fields) {
  const both: Fields = {
    ...fieldsOf(valueAt(entity, 'status', 'resources')),
    ...fieldsOf(valueAt(entity, 'spec', 'resources')),
  };
  const reference = valueAt(entity, 'status', 'resources', 'host_reference') ?? both['host_reference'];
  const sockets = numberOf(both['num_sockets']);
  const nics = objectsAt(both, 'nic_list');
  const gpus = objectsAt(both, 'gpu_list');
  // The list is written even if it is empty.
  const lacks: readonly Lack[] = 'gpu_list' in both ? [] : [['devices', 'gpu_list']];
  return {
    id: idOf(entity),
    name: nameOf(entity),
    power: powerOf(textAtPath(both, 'power_state')),
    host: textAtPath(reference, 'uuid'),
    hostName: textAtPath(reference, 'name') || textAtPath(reference, 'uuid'),
    memoryMib: numberOf(both['memory_size_mib']),
    cpus: sockets === null ? null : sockets * (numberOf(both['num_vcpus_per_socket']) ?? 1),
    disks: objectsAt(both, 'disk_list').flatMap(diskOf),
    nics: nics.map((nic) => ({
      subnet: textAtPath(nic, 'subnet_reference', 'uuid'),
      name: textAtPath(nic, 'subnet_reference', 'name'),
    })),
    ties: [
      ...commonTies({
        agent: ['is_agent_vm', both['is_agent_vm']],
        pinned: ['is_vcpu_hard_pinned', both['is_vcpu_hard_pinned']],
        passthrough: ['enable_cpu_passthrough', both['enable_cpu_passthrough']],
        capable: ['', undefined],
        direct: nics.filter((nic) => textAtPath(nic, 'nic_type') === 'DIRECT_NIC').length,
      }),
      ...gpuTies(
        'gpu_list',
        gpus.map((gpu) => ({ name: textAtPath(gpu, 'name'), mode: textAtPath(gpu, 'mode') })),
      ),
    ],
    notes: textAtPath(entity, 'spec', 'description'),
    lacks,
  };
}

function diskOf(disk: Fields): readonly PrismDisk[] {
  // Images are on the cluster's storage, so that a CD ties no VM.
  if (textAtPath(disk, 'device_properties', 'device_type') === 'CDROM') return [];
  return [
    {
      group: textAtPath(disk, 'volume_group_reference', 'uuid'),
      label: textAtPath(disk, 'uuid'),
      bytes: numberOf(disk['disk_size_bytes']),
      column: 'disk_list.volume_group_reference',
    },
  ];
}
