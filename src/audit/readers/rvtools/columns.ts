/**
 * The tabs and columns of RVTools that are read, in all dialects: names as RVTools writes them, names prefixed with the
 * tab (`vInfoVMName`), MB and MiB. Each column says what its absence leaves unproved.
 */
import type { Aspect } from '../../estate/estate.ts';

interface Column {
  /** Normalised names: lower case; letters, digits and # only; without the tab's prefix and the unit's suffix. */
  readonly names: readonly string[];
  /** What cannot be proved without the column; null: nothing about draining. */
  readonly aspect: Aspect | null;
}

const column = (aspect: Aspect | null, ...names: readonly string[]): Column => ({ names, aspect });
const vm = column('vms', 'vm', 'vmname', 'name');
const vmId = column(null, 'vmid');
const host = column('hosts', 'host', 'hostname');

/** Tab -> its displayed name -> column. */
export const COLUMNS = {
  vInfo: {
    VM: vm,
    Powerstate: column('vms', 'powerstate', 'power'),
    Template: column('vms', 'template', 'istemplate'),
    'SRM Placeholder': column(null, 'srmplaceholder'),
    'Connection state': column(null, 'connectionstate'),
    Host: column('vms', 'host', 'hostname'),
    Memory: column('memory', 'memory', 'memorysize', 'mem'),
    CPUs: column(null, 'cpus', 'numcpu', 'cpu'),
    Disks: column(null, 'disks', 'numvirtualdisks'),
    NICs: column(null, 'nics', 'numnics'),
    'Cluster rule(s)': column('rules', 'clusterrules', 'clusterrule'),
    'Cluster rule name(s)': column('rules', 'clusterrulenames', 'clusterrulename'),
    'Latency Sensitivity': column(null, 'latencysensitivity'),
    'FT State': column(null, 'ftstate'),
    'HW version': column(null, 'hwversion', 'hardwareversion'),
    Path: column(null, 'path', 'vmxpath'),
    Annotation: column(null, 'annotation', 'notes'),
    Owner: column(null, 'owner', 'contact', 'applicationowner', 'itowners', 'entowner'),
    OS: column(null, 'osaccordingtotheconfigurationfile', 'os', 'guestos'),
    'VM ID': vmId,
    'VM UUID': column(null, 'vmuuid', 'uuid', 'instanceuuid'),
  },
  vMemory: {
    VM: vm,
    'Size MiB': column(null, 'size', 'memorysize'),
    Reservation: column(null, 'reservation', 'memoryreservation'),
    'Memory Reservation Locked To Max': column(null, 'memoryreservationlockedtomax', 'reservationlockedtomax'),
    'VM ID': vmId,
  },
  vDisk: {
    VM: vm,
    Disk: column(null, 'disk', 'disklabel', 'label'),
    Path: column('storage', 'path', 'filename', 'diskpath'),
    'Capacity MiB': column(null, 'capacity'),
    Raw: column('disks', 'raw', 'israw'),
    'Sharing mode': column('disks', 'sharingmode', 'sharing'),
    'Shared Bus': column('disks', 'sharedbus', 'bussharing'),
    'Raw LUN ID': column(null, 'rawlunid', 'lunuuid'),
    'Raw Comp. Mode': column(null, 'rawcompmode', 'rawcompatibilitymode'),
    'VM ID': vmId,
  },
  vCD: {
    VM: vm,
    'Device Node': column(null, 'devicenode', 'cddevicenode'),
    Connected: column('devices', 'connected'),
    'Device Type': column('devices', 'devicetype'),
    'VM ID': vmId,
  },
  vUSB: {
    VM: vm,
    'Device Node': column(null, 'devicenode'),
    'Device Type': column(null, 'devicetype'),
    Connected: column('devices', 'connected'),
    'VM ID': vmId,
  },
  vNetwork: {
    VM: vm,
    Adapter: column('devices', 'adapter', 'adaptertype'),
    Network: column('networks', 'network', 'networkname', 'portgroup'),
    Switch: column('networks', 'switch', 'switchname'),
    Connected: column('networks', 'connected'),
    'Direct Path IO': column(null, 'directpathio', 'directpath'),
    'IPv4 Address': column(null, 'ipv4address', 'ipaddress'),
    'VM ID': vmId,
  },
  vSnapshot: {
    VM: vm,
    Name: column(null, 'name', 'snapshot', 'snapshotname'),
    'VM ID': vmId,
  },
  vHost: {
    Host: column('hosts', 'host', 'hostname', 'name'),
    Datacenter: column(null, 'datacenter'),
    Cluster: column('hosts', 'cluster'),
    '# Memory': column('memory', '#memory', 'memory', 'memorysize', 'nummemory'),
    'in Maintenance Mode': column('hosts', 'inmaintenancemode', 'maintenancemode'),
    'Current EVC': column('cpu', 'currentevc', 'evcmode', 'evc'),
    'CPU Model': column('cpu', 'cpumodel'),
    '# VMs total': column(null, '#vmstotal'),
    '# VMs': column(null, '#vms'),
  },
  vDatastore: {
    Name: column('storage', 'name', 'datastore', 'datastorename'),
    '# Hosts': column('storage', '#hosts', 'numhosts', 'hostcount'),
    Hosts: column('storage', 'hosts'),
  },
  vMultiPath: {
    Host: host,
    Datastore: column(null, 'datastore'),
    Disk: column(null, 'disk', 'diskname'),
  },
  vCluster: {
    Name: column(null, 'name', 'cluster', 'clustername'),
    'HA enabled': column(null, 'haenabled'),
    AdmissionControlEnabled: column(null, 'admissioncontrolenabled'),
    'Failover Level': column(null, 'failoverlevel'),
  },
  vNIC: {
    Host: host,
    Switch: column('networks', 'switch', 'switchname'),
  },
  vPort: {
    Host: host,
    'Port Group': column('networks', 'portgroup', 'port', 'network'),
    Switch: column(null, 'switch'),
  },
  dvPort: {
    Port: column('networks', 'port', 'portgroup', 'name'),
    Switch: column('networks', 'switch'),
    'Active Uplink': column('networks', 'activeuplink'),
    'Standby Uplink': column('networks', 'standbyuplink'),
    Type: column(null, 'type'),
  },
  dvSwitch: {
    Name: column(null, 'switch', 'name', 'dvswitch'),
    'Host members': column(null, 'hostmembers', 'hosts'),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Column>>>>;

export type Tab = keyof typeof COLUMNS;
export type ColumnOf<T extends Tab> = keyof (typeof COLUMNS)[T] & string;

/** What cannot be proved without the tab. */
export const TAB_ASPECTS: Readonly<Record<Tab, Aspect | null>> = {
  vInfo: 'vms',
  vMemory: null,
  vDisk: 'disks',
  vCD: 'devices',
  vUSB: 'devices',
  vNetwork: 'networks',
  vSnapshot: null,
  vHost: 'hosts',
  vDatastore: 'storage',
  vMultiPath: null,
  vCluster: null,
  vNIC: 'networks',
  vPort: 'networks',
  dvPort: 'networks',
  dvSwitch: null,
};

const TABS = Object.keys(COLUMNS) as Tab[];
const TAB_PATTERN = new RegExp(`(?:^|[^a-z])(?:tab)?(${TABS.join('|')})(?:[^a-z]|$)`, 'i');

/** Returns the tab of a sheet or CSV file by its name; null if the tab is not read. */
export function tabOf(name: string): Tab | null {
  const found = TAB_PATTERN.exec(name)?.[1]?.toLowerCase();
  return TABS.find((tab) => tab.toLowerCase() === found) ?? null;
}

/** Removes from a column's name the parts in which dialects differ. */
export function normalised(tab: string, name: string): string {
  const plain = name.toLowerCase().replace(/[^a-z0-9#]/g, '');
  const prefix = tab.toLowerCase();
  const own = plain.startsWith(prefix) && plain.length > prefix.length ? plain.slice(prefix.length) : plain;
  return own.length > 5 ? own.replace(/(?:mib|mb|kib|kb)$/, '') : own;
}

/** Returns all names under which a tab's columns occur. */
export function namesOf(tab: Tab): ReadonlySet<string> {
  return new Set(Object.values(COLUMNS[tab]).flatMap(({ names }: Column) => names));
}
