/** Guest clusters and shared disks for people: rows of tables, and everything about one. */
import type { GuestCluster, SharedDisk } from '../api/views.ts';
import type { Colours } from './io.ts';
import type { Presentation } from './session.ts';
import { formatFields } from './table.ts';
import { formatAge, formatBytes } from './units.ts';

type DiskView = GuestCluster['disks'][number];
type Member = GuestCluster['members'][number];

export const GUEST_CLUSTER_TABLE: Presentation<GuestCluster> = {
  header: ['NAME', 'MEMBERS', 'DISKS', 'DISTURBED', 'MAX', 'TOLERATES', 'HEARTBEAT'],
  row: (cluster, colours) => [
    cluster.name ?? colours.red('(nobody declared it)'),
    cluster.members.map(({ vm }) => vm).join(', ') || '-',
    cluster.disks.map(({ name }) => name).join(', ') || '-',
    String(cluster.disturbed.length),
    cluster.maxDisturbed === null ? '-' : String(cluster.maxDisturbed),
    cluster.toleratesMs === null ? '-' : `${cluster.toleratesMs} ms`,
    cluster.heartbeatNetworks.join(', ') || '-',
  ],
  name: (cluster) => cluster.name ?? cluster.members.map(({ vm }) => vm).join('+'),
};

export const SHARED_DISK_TABLE: Presentation<SharedDisk> = {
  header: ['NAME', 'ID', 'GUEST CLUSTER', 'NODE', 'SIZE', 'PHASE', 'VMS'],
  row: (disk) => [
    disk.name,
    disk.id,
    disk.guestCluster ?? '-',
    disk.node,
    formatBytes(disk.sizeBytes),
    disk.phase,
    disk.vms.map(({ vm }) => vm).join(', ') || '-',
  ],
  name: (disk) => disk.id,
};

/** Everything about one guest cluster. */
export function describeGuestCluster(cluster: GuestCluster, colours: Colours): string {
  const fields = formatFields([
    ['Name', cluster.name ?? colours.red('nobody declared it')],
    ...(cluster.because.length > 0 ? [['Because', cluster.because] as const] : []),
    ['State', stateOf(cluster)],
    ['Disturbed', cluster.disturbed.length === 0 ? 'none' : [...cluster.disturbed]],
    ['Bears', `${cluster.maxDisturbed ?? '-'} at once, a pause of ${cluster.toleratesMs ?? '-'} ms`],
    ['Notice', cluster.noticeMs === null ? 'none' : `${cluster.noticeMs / 1000} s, unless the guest acknowledges`],
    [
      'Ready-check',
      cluster.readyCheck === null
        ? 'none'
        : `${cluster.readyCheck.command}  (for ${cluster.readyCheck.withinMs / 1000} s)`,
    ],
    ['Quiet hours', cluster.quiet.length === 0 ? 'none' : [...cluster.quiet]],
    ['Heartbeat', cluster.heartbeatNetworks.join(', ') || '-'],
    ['Hosts', cluster.sharesHosts ? 'members may share one: somebody consented' : 'members never share one'],
    ['Revision', cluster.revision ?? '-'],
  ]);
  return [
    fields,
    ...cluster.members.map((member) => formatFields([[`Member ${member.vm}`, memberLines(member)]])),
    ...cluster.disks.map((disk) => formatFields([[`Disk ${disk.name}`, diskLines(disk)]])),
  ].join('\n');
}

function stateOf({ deleting, task }: GuestCluster): string {
  if (deleting) return 'being deleted';
  return task === null ? 'as wanted' : `${task.kind}: ${task.message}`;
}

function memberLines({ host, generation, verdict, may, notice }: Member): readonly string[] {
  const answer = ({ allowed, reason }: Member['may']['migrate']): string =>
    `${allowed ? 'yes' : 'no'}${reason === null ? '' : ` (${reason})`}`;
  return [
    `${verdict}  host ${host ?? '-'}  generation ${generation}`,
    ...(notice === null ? [] : [`told of its move  ${noticeText(notice)}`]),
    `live-migrate  ${answer(may.migrate)}`,
    `be drained    ${answer(may.drain)}`,
    `be snapshot   ${answer(may.snapshot)}`,
  ];
}

function noticeText({ state, ended, givenAt, notBefore }: NonNullable<Member['notice']>): string {
  if (ended === null) return `waits for its guest until ${notBefore}`;
  const how = { acknowledged: 'its guest acknowledged', time: 'its time was over', withdrawn: 'it was taken back' };
  return `at ${givenAt}, ${how[ended]}, ${state}`;
}

function diskLines(disk: DiskView): readonly string[] {
  const { node, wwn, sizeBytes, blockBytes, phase, error, vms, registrations, reservation } = disk;
  return [
    `${disk.id}  ${formatBytes(sizeBytes)}  blocks of ${blockBytes}  on ${node}  ${phase}${error === null ? '' : `: ${error}`}`,
    `in guests  /dev/disk/by-id/${wwn}`,
    ...vms.map(({ vm, lun, state }) => `${vm}  number ${lun}  ${state}`),
    ...registrations.map(({ vm, initiator, key, since }) => `key ${key}  ${vm ?? initiator}${age(since)}`),
    reservation === null
      ? 'no reservation'
      : `reserved  ${reservation.type}  by ${reservation.holder ?? 'all that are registered'}${age(reservation.since)}`,
  ];
}

const age = (since: string | null): string =>
  since === null ? '' : `  for ${formatAge(Date.now() - Date.parse(since))}`;

/** Everything about one shared disk. */
export function describeSharedDisk(disk: SharedDisk): string {
  return formatFields([
    ['Name', disk.name],
    ['Guest cluster', disk.guestCluster ?? '-'],
    ['Disk', diskLines(disk)],
    ['Task', disk.task === null ? '-' : `${disk.task.id} ${disk.task.kind}: ${disk.task.message}`],
    ['Revision', disk.revision],
  ]);
}
