/** How objects of each kind look as tables. */
import type { ApiToken } from '../../api/access-views.ts';
import type { Backup } from '../../api/backup-views.ts';
import type { ControlNode, Disk, Event, Host, Image, Network, StorageNode, Task } from '../../api/views.ts';
import type { Colours } from '../io.ts';
import type { Presentation } from '../session.ts';
import { formatAge, formatBytes, formatDuration } from '../units.ts';

/** Formats how long ago a time was. */
export const ageOf = (time: string): string => formatAge(Date.now() - Date.parse(time));
const yes = (value: boolean): string => (value ? 'yes' : 'no');

export const EVENT_TABLE: Presentation<Event> = {
  header: ['TIME', 'KIND', 'VM', 'HOST', 'GENERATION', 'MESSAGE'],
  row: (event) => [
    event.at,
    event.kind,
    event.vm ?? '-',
    event.host ?? '-',
    event.generation === null ? '-' : String(event.generation),
    event.message,
  ],
  name: (event) => event.revision,
};

const maintenanceWord = (maintenance: Host['maintenance']): string =>
  maintenance === null ? '' : maintenance.isEmpty ? 'drained' : 'draining';

/** Whether the host can be drained, and how long that would take. */
function drainWords({ drain: { possible, foretoldMs } }: Host['evacuability']): string {
  return foretoldMs === null ? possible : `${possible}, ${formatDuration(foretoldMs)}`;
}

export const HOST_TABLE: Presentation<Host> = {
  header: ['NAME', 'RACK', 'AGENT', 'DRAIN', 'LOSS', 'STATE', 'VMS', 'MEMORY', 'VCPUS', 'ACCELERATOR'],
  row: (host, colours) => [
    host.name,
    host.rack ?? '-',
    host.agent === 'alive' ? colours.green(host.agent) : colours.red(host.agent),
    drainWords(host.evacuability),
    host.evacuability.loss.possible,
    [maintenanceWord(host.maintenance), host.cordoned ? 'cordoned' : '', host.quarantined ? 'quarantined' : '']
      .filter(Boolean)
      .join(', ') || '-',
    String(host.vms.length),
    `${formatBytes(host.memoryUsedBytes)} of ${formatBytes(host.memoryTotalBytes)}`,
    String(host.vcpus),
    host.accelerator,
  ],
  wide: {
    header: ['RELEASE', 'QEMU', 'ADDRESS'],
    row: ({ release, addresses }) => [release.agent ?? 'unknown', release.qemu ?? 'unknown', addresses.control],
  },
  name: (host) => host.name,
};

export const NETWORK_TABLE: Presentation<Network> = {
  header: ['NAME', 'VNI', 'CIDR', 'GATEWAY', 'DHCP', 'NAT', 'ADDRESSES'],
  row: (network) => [
    network.name,
    String(network.vni),
    network.cidr ?? '-',
    network.gateway ?? '-',
    yes(network.dhcp),
    yes(network.nat),
    String(network.reservations.length),
  ],
  name: (network) => network.name,
};

export const IMAGE_TABLE: Presentation<Image> = {
  header: ['NAME', 'BOOT', 'FORMAT', 'DISK', 'NODES', 'AGE'],
  row: (image) => [
    image.name,
    image.direct === null ? 'disk' : 'direct',
    image.disk?.format ?? '-',
    image.disk === null ? '-' : formatBytes(image.disk.virtualSizeBytes),
    image.nodes.join(', ') || '-',
    ageOf(image.createdAt),
  ],
  name: (image) => image.name,
};

/** Formats how full a pool is, in percent, with a word if the level needs attention. */
function roomOf({ room, usedBytes, totalBytes }: StorageNode, colours: Colours): string {
  if (room === null || usedBytes === null || totalBytes === null || totalBytes === 0) return '-';
  const percent = `${Math.floor((usedBytes / totalBytes) * 100)} % used`;
  if (room === 'enough') return percent;
  return (room === 'low' ? colours.yellow : colours.red)(`${room}: ${percent}`);
}

/**
 * Formats the state of a storage node: a silent service whose disks are still served is told apart from a node that is
 * down.
 */
function stateOfStorage({ state, served }: StorageNode): string {
  return served === true ? `${state}, disks served` : state;
}

export const STORAGE_TABLE: Presentation<StorageNode> = {
  header: ['NAME', 'STATE', 'DISKS', 'FAULTS', 'USED', 'TOTAL', 'ROOM', 'ADDRESS'],
  row: (node, colours) => [
    node.name,
    inService(node.state === 'alive' ? colours.green(node.state) : colours.red(stateOfStorage(node)), node),
    String(node.disks),
    node.faults.length === 0 ? '-' : colours.red(String(node.faults.length)),
    node.usedBytes === null ? '-' : formatBytes(node.usedBytes),
    node.totalBytes === null ? '-' : formatBytes(node.totalBytes),
    roomOf(node, colours),
    node.addresses.storage,
  ],
  name: (node) => node.name,
};

/** The state of a node, and whether it is out of service. */
function inService(state: string, { maintenance }: Pick<ControlNode, 'maintenance'>): string {
  return maintenance === null ? state : `${state}, drained`;
}

export const CONTROL_TABLE: Presentation<ControlNode> = {
  header: ['NAME', 'STATE', 'LEADER', 'ADDRESS', 'VERSION'],
  row: (node) => [node.name, inService(node.state, node), yes(node.leader), node.address ?? '-', node.version ?? '-'],
  name: (node) => node.name,
};

export const DISK_TABLE: Presentation<Disk> = {
  header: ['ID', 'VM', 'ROLE', 'NODE', 'SIZE', 'SOURCE', 'PHASE'],
  row: (disk) => [disk.id, disk.vm, disk.role, disk.node, formatBytes(disk.sizeBytes), disk.source, disk.phase],
  name: (disk) => disk.id,
};

export const TASK_TABLE: Presentation<Task> = {
  header: ['ID', 'KIND', 'TARGET', 'STATE', 'PROGRESS', 'AGE', 'MESSAGE'],
  row: (task) => [
    task.id,
    task.kind,
    task.target.name,
    task.state,
    task.progressPercent === null ? '-' : `${task.progressPercent} %`,
    ageOf(task.startedAt),
    task.message,
  ],
  name: (task) => task.id,
};

export const BACKUP_TABLE: Presentation<Backup> = {
  header: ['CONTROL NODE', 'PLACE', 'FILE', 'SIZE', 'AGE'],
  row: ({ controlNode, place, file, sizeBytes, takenAt }) => [
    ...[controlNode, place, file, formatBytes(sizeBytes), ageOf(takenAt)],
  ],
  wide: { header: ['WHERE', 'REVISION'], row: ({ where, revision }) => [where, String(revision)] },
  name: (backup) => backup.file,
};

export const TOKEN_TABLE: Presentation<ApiToken> = {
  header: ['NAME', 'ID', 'BACKUP', 'AGE'],
  row: (token) => [token.name, token.id, yes(token.backup), ageOf(token.createdAt)],
  name: (token) => token.name,
};
