/** VMs for people: a row of the table, and why the cluster believes what it believes. */
import type { Observations, Verdict, Vm, VmDetail, VmGuest } from '../api/views.ts';
import type { Colours } from './io.ts';
import type { Presentation } from './session.ts';
import { formatFields } from './table.ts';
import { formatAge, formatBytes } from './units.ts';

const GOOD: readonly Verdict[] = ['running'];
const BAD: readonly Verdict[] = ['crashed', 'lost', 'fenced', 'storage-trouble', 'unresponsive'];
const QUIET: readonly Verdict[] = ['stopped', 'guest-shutdown'];

/** The verdict in its colour. */
function colouredVerdict(verdict: Verdict, colours: Colours): string {
  if (GOOD.includes(verdict)) return colours.green(verdict);
  if (BAD.includes(verdict)) return colours.red(verdict);
  return QUIET.includes(verdict) ? colours.dim(verdict) : colours.yellow(verdict);
}

export const VM_TABLE: Presentation<Vm> = {
  header: ['NAME', 'VERDICT', 'HOST', 'GENERATION', 'VCPUS', 'MEMORY', 'ADDRESSES', 'AGE'],
  row: (vm, colours) => [
    vm.name,
    colouredVerdict(vm.verdict, colours),
    vm.host ?? '-',
    String(vm.generation),
    String(vm.spec.vcpus),
    formatBytes(vm.spec.memoryBytes),
    vm.nics.map((nic) => nic.address ?? '-').join(', ') || '-',
    formatAge(Date.now() - Date.parse(vm.createdAt)),
  ],
  name: (vm) => vm.name,
};

const WHEN: Readonly<Record<Vm['nics'][number]['state'], string>> = {
  attached: '',
  attaching: '  from the next start on',
  detaching: '  until the next start',
};

/** Formats one line about a network card. */
export function describeNic({ network, mac, address, state }: Vm['nics'][number]): string {
  return `${network}  ${mac}  ${address ?? '-'}${WHEN[state]}`;
}

/** Everything about one VM, with the observations behind its verdict. */
export function describeVm(vm: VmDetail & { readonly guest?: VmGuest | null }, colours: Colours): string {
  return formatFields([
    ['Name', vm.name],
    ['Id', vm.id],
    ['Verdict', colouredVerdict(vm.verdict, colours)],
    ['Because', vm.because],
    ['Host', vm.destination === null ? (vm.host ?? '-') : `${vm.host ?? '-'} (to ${vm.destination})`],
    ['Generation', String(vm.generation)],
    ['Intent', vm.intent],
    ['Phase', `${vm.phase} for ${formatAge(Date.now() - Date.parse(vm.phaseSince))}`],
    ['Task', vm.task === null ? '-' : `${vm.task.id} ${vm.task.kind}: ${vm.task.message}`],
    ['Failures', vm.failure === null ? '-' : `${vm.failure.count} in a row, last: ${vm.failure.message}`],
    ['CPU', `${vm.spec.vcpus} vCPU, ${vm.spec.cpuModel}`],
    ...(vm.spec.display === 'none' ? [] : [['Display', vm.spec.display] as const]),
    ['Memory', formatBytes(vm.spec.memoryBytes)],
    ['Firmware', vm.spec.append === null ? vm.spec.firmware : `${vm.spec.firmware}, append "${vm.spec.append}"`],
    ['Image', vm.spec.image ?? '-'],
    [
      'Disks',
      vm.disks.map((disk) => `${disk.id}  ${disk.role}  ${formatBytes(disk.sizeBytes)}  on ${disk.node ?? '-'}`),
    ],
    ['Networks', vm.nics.map(describeNic)],
    ...(vm.guest == null ? [] : [['Guest', guestLines(vm.guest)] as const]),
    [
      'Shared disks',
      vm.sharedDisks.map(
        ({ name, id, wwn, lun, node, state }) => `${name}  ${id}  ${wwn}  number ${lun}  on ${node ?? '-'}  ${state}`,
      ),
    ],
    ['Guest cluster', vm.guestCluster ?? '-'],
    ...(vm.undeclared.length > 0 ? [['Undeclared', vm.undeclared] as const] : []),
    ['Restart policy', vm.spec.restartPolicy],
    ['Anti-affinity', vm.spec.antiAffinity ?? '-'],
    ['Migration policy', policyText(vm.spec.migrationPolicy)],
    ['Storage patience', `${Math.round(vm.spec.storagePatienceMs / 1_000)} s`],
    ['Labels', Object.entries(vm.labels).map(([key, value]) => `${key}=${value}`)],
    ['Revision', vm.revision],
    ['Observed', observed(vm.observations)],
  ]);
}

/** Everything that a guest says of itself. */
export function describeGuest(guest: VmGuest): string {
  return formatFields([['Guest', guestLines(guest)]]);
}

function guestLines({ agent, because, os, kernel, hostname, interfaces }: VmGuest): readonly string[] {
  if (agent !== 'answers') return [`agent ${agent.replace('-', ' ')}${because === null ? '' : `: ${because}`}`];
  const system = [os ?? 'an unnamed system', ...(kernel === null ? [] : [`kernel ${kernel}`])].join(', ');
  return [
    `agent answers: ${hostname ?? '-'}, ${system}`,
    ...interfaces.map(({ name, mac, addresses }) => `${name}  ${mac ?? '-'}  ${addresses.join(', ') || '-'}`),
  ];
}

/** A policy as `--migration-policy` takes it. */
function policyText({ slowDown, pauseMsMax, stop }: Vm['spec']['migrationPolicy']): string {
  const words = [
    slowDown ? 'slow-down' : '',
    pauseMsMax === null ? '' : `longer-pause=${pauseMsMax}ms`,
    stop ? 'stop' : '',
  ];
  return words.filter((word) => word !== '').join(',') || 'none';
}

function observed({ agent, qmp, storage }: Observations): readonly string[] {
  return [
    `agent    ${agent.host === null ? '' : `of ${agent.host} `}${agent.state}, QEMU process ${agent.process}${age(agent.ageMs)}`,
    `QMP      ${qmp.state}${qmp.status === null ? '' : ` "${qmp.status}"`}${age(qmp.ageMs)}${until(qmp)}`,
    ...storage.map(
      (disk) =>
        `storage  ${disk.node} ${disk.disk}: admits ${generations(disk.admitted)}, connected ${generations(disk.connected)}${age(disk.ageMs)}`,
    ),
  ];
}

const until = ({ certificateEndsAt }: Observations['qmp']): string =>
  certificateEndsAt === null ? '' : `, certificate until ${certificateEndsAt.slice(0, 10)}`;

const generations = (of: readonly number[]): string => (of.length === 0 ? 'none' : `generation ${of.join(', ')}`);

const age = (ageMs: number | null): string =>
  ageMs === null ? ', never seen' : `, ${(ageMs / 1_000).toFixed(1)} s ago`;
