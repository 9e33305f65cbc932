/** Writes a seeded estate as RVTools' tabs, as a workbook or as CSV files. */
import type { Files } from '../run-audit.ts';
import { type Seed, type SeedVm, uuidOf } from './seed.ts';
import { groups, hasSigns, isShared } from './write.ts';

export type Rows = readonly (readonly string[])[];
export type Tabs = Readonly<Record<string, Rows>>;

/** The tabs that the reader uses, with their headers. */
export function rvtoolsTabs(seed: Seed): Tabs {
  return { ...vmTabs(seed), ...deviceTabs(seed), ...hostTabs(seed), ...networkTabs(seed) };
}

const HEAD = ['VM', 'Powerstate', 'Template'];
const idOf = ({ number }: SeedVm): string => `vm-${number + 100}`;
const head = ({ name }: SeedVm): readonly string[] => [name, 'poweredOn', 'False'];

function vmTabs(seed: Seed): Tabs {
  const columns =
    'CPUs|Memory|NICs|Disks|Latency Sensitivity|HW version|Cluster rule(s)|Cluster rule name(s)|Host|VM ID|VM UUID';
  const row = (vm: SeedVm): readonly string[] => [
    ...head(vm),
    String(vm.cpus),
    String(vm.memoryMib),
    hasSigns(seed, vm) ? '2' : '1',
    isShared(seed, vm) ? '2' : '1',
    'normal',
    '19',
    ...(hasSigns(seed, vm) ? ['ClusterAntiAffinityRuleSpec', `apart-${vm.cluster}`] : ['', '']),
    seed.hosts[vm.host] ?? '',
    idOf(vm),
    uuidOf(1, vm.number),
  ];
  const memory = seed.vms.map((vm) => [vm.name, String(vm.memoryMib), '0', 'False', idOf(vm)]);
  return {
    vInfo: [[...HEAD, ...columns.split('|')], ...seed.vms.map(row)],
    vMemory: [['VM', 'Size MiB', 'Reservation', 'Memory Reservation Locked To Max', 'VM ID'], ...memory],
    vSnapshot: [['VM', 'Name', 'VM ID']],
  };
}

function diskRows(seed: Seed, vm: SeedVm): Rows {
  const path = `[san1] ${vm.name}/${vm.name}.vmdk`;
  const plain = ['False', 'sharingNone', 'noSharing', '', ''];
  const own = [...head(vm), 'Hard disk 1', path, String(vm.diskGib * 1024), ...plain, idOf(vm)];
  // Each member has its own mapping file for the LUN.
  const lun = `naa.6005076801810${String(vm.cluster).padStart(5, '0')}`;
  const raw = ['True', 'sharingNone', 'physicalSharing', lun, 'physicalMode'];
  const shared = [...head(vm), 'Hard disk 2', `[san1] ${vm.name}/rdm.vmdk`, '51200', ...raw, idOf(vm)];
  return isShared(seed, vm) ? [own, shared] : [own];
}

function deviceTabs(seed: Seed): Tabs {
  const disk = 'Disk|Path|Capacity MiB|Raw|Sharing mode|Shared Bus|Raw LUN ID|Raw Comp. Mode|VM ID';
  const drive = (vm: SeedVm): readonly string[] => {
    const isIn = vm.tie === 'media';
    const type = isIn ? `ISO [${seed.hosts[vm.host]}-local] iso/tools.iso` : 'Client device';
    return [...head(vm), 'CD/DVD drive 1', isIn ? 'True' : 'False', type, idOf(vm)];
  };
  const usb = seed.vms
    .filter(({ tie }) => tie === 'device')
    .map((vm) => [...head(vm), 'USB 1', 'usb device', 'True', idOf(vm)]);
  return {
    vDisk: [[...HEAD, ...disk.split('|')], ...seed.vms.flatMap((vm) => diskRows(seed, vm))],
    vCD: [[...HEAD, 'Device Node', 'Connected', 'Device Type', 'VM ID'], ...seed.vms.map(drive)],
    vUSB: [[...HEAD, 'Device Node', 'Device Type', 'Connected', 'VM ID'], ...usb],
  };
}

function hostTabs(seed: Seed): Tabs {
  const { hosts } = seed;
  const columns = 'Host|Datacenter|Cluster|CPU Model|Current EVC|# Memory|in Maintenance Mode';
  const memory = String(seed.hostMemoryMib);
  return {
    vHost: [
      columns.split('|'),
      ...hosts.map((host) => [host, 'DC', 'Prod', 'Xeon Gold 6338', 'intel-icelake', memory, 'False']),
    ],
    vDatastore: [
      ['Name', '# Hosts', 'Hosts'],
      ['san1', String(hosts.length), hosts.join(', ')],
      ...hosts.map((host) => [`${host}-local`, '1', host]),
    ],
    vMultiPath: [['Host', 'Datastore'], ...hosts.map((host) => [host, 'san1'])],
  };
}

function networkTabs(seed: Seed): Tabs {
  const { hosts } = seed;
  const nics = (vm: SeedVm): Rows => {
    const lan = [...head(vm), 'Vmxnet3', 'LAN', 'vSwitch0', 'True', '10.0.0.9', idOf(vm)];
    const beat = [...head(vm), 'Vmxnet3', `beat-${vm.cluster}`, 'dvBeat', 'True', '169.254.1.9', idOf(vm)];
    return hasSigns(seed, vm) ? [lan, beat] : [lan];
  };
  const columns = 'Adapter|Network|Switch|Connected|IPv4 Address|VM ID';
  const beats = groups(seed).map(([number]) => [`beat-${number}`, 'dvBeat', 'earlyBinding', '', '']);
  return {
    vNetwork: [[...HEAD, ...columns.split('|')], ...seed.vms.flatMap(nics)],
    vNIC: [
      ['Host', 'Switch', 'Network Device'],
      ...hosts.flatMap((host) => [
        [host, 'vSwitch0', 'vmnic0'],
        [host, 'dvBeat', 'vmnic1'],
      ]),
    ],
    vPort: [['Host', 'Port Group', 'Switch'], ...hosts.map((host) => [host, 'LAN', 'vSwitch0'])],
    dvPort: [['Port', 'Switch', 'Type', 'Active Uplink', 'Standby Uplink'], ...beats],
    dvSwitch: [
      ['Switch', 'Host members'],
      ['dvBeat', hosts.join(', ')],
    ],
  };
}

/** Returns one CSV file per tab, with RVTools' file names. */
export function csvFiles(tabs: Tabs, separator = ','): Files {
  const quoted = (cell: string): string =>
    cell.includes(separator) || cell.includes('"') ? `"${cell.replaceAll('"', '""')}"` : cell;
  return Object.fromEntries(
    Object.entries(tabs).map(([tab, rows]) => [
      `RVTools_tab${tab}.csv`,
      `${rows.map((row) => row.map(quoted).join(separator)).join('\r\n')}\r\n`,
    ]),
  );
}
