/**
 * Prism Element's API version 2: `{"metadata": {…}, "entities": […]}`, where only the fields tell what an entity is.
 */
import { type Fields, flagOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { commonTies, type Lack, mibOf, type PrismDisk, type PrismObject, type PrismTie, powerOf } from './prism.ts';

/** Returns what the entity is; null: not of version 2. */
function kindOf(entity: Fields): 'vm' | 'host' | 'cluster' | 'volume group' | null {
  if ('metadata' in entity || !('uuid' in entity)) return null;
  if ('power_state' in entity && ('num_vcpus' in entity || 'vm_features' in entity)) return 'vm';
  if ('hypervisor_address' in entity || ('memory_capacity_in_bytes' in entity && 'cluster_uuid' in entity))
    return 'host';
  if ('num_nodes' in entity || 'cluster_external_ipaddress' in entity) return 'cluster';
  return 'attachment_list' in entity || 'is_shared' in entity ? 'volume group' : null;
}

/** Returns the object of an entity, or null. */
export function v2Object(file: string, entity: Fields): PrismObject | null {
  const kind = kindOf(entity);
  if (kind === 'vm') return { file, kind, is: vmOf(entity) };
  if (kind === 'host') return { file, kind, is: hostOf(entity) };
  const id = textAtPath(entity, 'uuid');
  const name = textAtPath(entity, 'name') || id;
  if (kind === 'cluster') return { file, kind, is: { id, name } };
  if (kind === null) return null;
  const vms = objectsAt(entity, 'attachment_list').flatMap((one) => textAtPath(one, 'vm_uuid') || []);
  const isShared = flagOf(entity['is_shared']) === true || new Set(vms).size > 1;
  return { file, kind, is: { id, name, isShared, said: ['is_shared', entity['is_shared']], vms } };
}

function hostOf(entity: Fields) {
  const bytes = numberOf(entity['memory_capacity_in_bytes']);
  const state = textAtPath(entity, 'state');
  const hypervisor = textAtPath(entity, 'hypervisor_state');
  const isAway =
    (state !== '' && state !== 'NORMAL') ||
    textAtPath(entity, 'host_maintenance_mode_reason') !== '' ||
    flagOf(entity['host_in_maintenance_mode']) === true ||
    (hypervisor !== '' && !/normal/i.test(hypervisor));
  const id = textAtPath(entity, 'uuid');
  const cluster = textAtPath(entity, 'cluster_uuid');
  const running = numberOf(entity['num_vms']);
  const lacks: Lack[] = [];
  if (bytes === null) lacks.push(['memory', 'memory_capacity_in_bytes']);
  if (state === '') lacks.push(['hosts', 'state']);
  if (cluster === '') lacks.push(['hosts', 'cluster_uuid']);
  return {
    id,
    name: textAtPath(entity, 'name') || id,
    cluster: { id: cluster, name: '' },
    memoryMib: mibOf(bytes),
    state: isAway ? ('out of service' as const) : state === '' ? ('unknown' as const) : ('in service' as const),
    cpuModel: textAtPath(entity, 'cpu_model'),
    // The controller VM is one of them.
    running: running === null || textAtPath(entity, 'controller_vm_backplane_ip') === '' ? running : running - 1,
    said: ['state', state] as const,
    lacks,
  };
}

function vmOf(entity: Fields) {
  const id = textAtPath(entity, 'uuid');
  const cores = numberOf(entity['num_cores_per_vcpu']) ?? 1;
  const sockets = numberOf(entity['num_vcpus']);
  const lacks: Lack[] = [];
  if (!('allow_live_migrate' in entity)) lacks.push(['devices', 'allow_live_migrate']);
  if (!('gpus_assigned' in entity)) lacks.push(['devices', 'gpus_assigned']);
  // Both lists are written only if they are asked for.
  if (!('vm_disk_info' in entity)) lacks.push(['disks', 'vm_disk_info']);
  if (!('vm_nics' in entity)) lacks.push(['networks', 'vm_nics']);
  return {
    id,
    name: textAtPath(entity, 'name') || id,
    power: powerOf(textAtPath(entity, 'power_state')),
    host: textAtPath(entity, 'host_uuid'),
    hostName: textAtPath(entity, 'host_uuid'),
    memoryMib: numberOf(entity['memory_mb']),
    cpus: sockets === null ? null : sockets * cores,
    disks: objectsAt(entity, 'vm_disk_info').flatMap(diskOf),
    nics: objectsAt(entity, 'vm_nics').map((nic) => ({ subnet: textAtPath(nic, 'network_uuid'), name: '' })),
    ties: tiesOf(entity),
    notes: textAtPath(entity, 'description'),
    lacks,
  };
}

function diskOf(disk: Fields): readonly PrismDisk[] {
  // Images are on the cluster's storage, so that a CD ties no VM.
  if (flagOf(disk['is_cdrom']) === true) return [];
  const address = valueAt(disk, 'disk_address');
  return [
    {
      group: textAtPath(address, 'volume_group_uuid'),
      label: textAtPath(address, 'vmdisk_uuid') || textAtPath(address, 'device_uuid'),
      bytes: numberOf(disk['size']),
      column: 'vm_disk_info.disk_address',
    },
  ];
}

function tiesOf(entity: Fields): readonly PrismTie[] {
  const hosts = valueAt(entity, 'affinity', 'host_uuids');
  const named = Array.isArray(hosts) ? hosts.filter((one) => typeof one === 'string') : [];
  return [
    ...commonTies({
      agent: ['vm_features.AGENT_VM', valueAt(entity, 'vm_features', 'AGENT_VM')],
      pinned: ['', undefined],
      passthrough: ['vm_features.CPU_PASSTHROUGH', valueAt(entity, 'vm_features', 'CPU_PASSTHROUGH')],
      capable: ['allow_live_migrate', entity['allow_live_migrate']],
      direct: 0,
    }),
    ...(flagOf(entity['gpus_assigned']) === true
      ? [{ kind: 'gpu', effect: 'blocks', subject: '', column: 'gpus_assigned', value: true } as const]
      : []),
    ...(named.length > 0
      ? [
          {
            kind: 'pinned',
            effect: 'limits',
            subject: '',
            column: 'affinity.host_uuids',
            value: named,
            hosts: named,
          } as const,
        ]
      : []),
  ];
}
