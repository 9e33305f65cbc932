/**
 * Recognises the objects of Hyper-V's and SCVMM's cmdlets by their fields: a file may hold the output of one cmdlet, or
 * of several under names that a person chose. An object that PowerShell truncated at its depth is a text where fields
 * are needed, and is refused.
 */
import { type Document, Unreadable } from '../document.ts';
import { type Fields, fieldsOf } from '../formats/values.ts';

export const KINDS = [
  'scvmm vm',
  'scvmm host',
  'scvmm network',
  'scvmm cluster',
  'vm',
  'host',
  'switch',
  'disk',
  'dvd',
  'adapter',
  'group',
  'node',
  'volume',
  'device',
  'gpu',
  'hba',
  'cpu',
] as const;
export type Kind = (typeof KINDS)[number];

export interface HyperVRecord {
  readonly file: string;
  readonly fields: Fields;
}

const DEPTH_MAX = 4;

/** Fields that only objects of the kind have; the first kind of which all fields are present is taken. */
const SIGNS: readonly (readonly [Kind, readonly string[]])[] = [
  ['scvmm vm', ['VMCPath', 'VirtualHardDisks']],
  ['scvmm vm', ['VirtualMachineState', 'VMHost']],
  ['scvmm host', ['DiskVolumes', 'TotalMemory']],
  ['scvmm host', ['VMPaths', 'VMHostGroup']],
  ['scvmm network', ['VMHostNetworkAdapters', 'LogicalNetworks']],
  ['scvmm cluster', ['ClusterName', 'Nodes']],
  ['disk', ['SupportPersistentReservations', 'Path']],
  ['disk', ['VMName', 'ControllerType', 'Path', 'DiskNumber']],
  ['dvd', ['DvdMediaType', 'VMName']],
  ['gpu', ['VMName', 'MinPartitionVRAM']],
  ['device', ['VMName', 'LocationPath']],
  ['hba', ['VMName', 'WorldWidePortNameSetA']],
  ['adapter', ['VMName', 'SwitchName', 'MacAddress']],
  ['vm', ['VMId', 'State', 'ProcessorCount']],
  ['vm', ['VMId', 'State', 'Generation']],
  ['host', ['MemoryCapacity', 'VirtualHardDiskPath']],
  ['host', ['MemoryCapacity', 'LogicalProcessorCount']],
  ['switch', ['SwitchType', 'Name']],
  ['group', ['OwnerNode', 'GroupType']],
  ['volume', ['SharedVolumeInfo']],
  ['node', ['NodeWeight', 'State']],
  ['node', ['DynamicWeight', 'State']],
  ['cpu', ['NumberOfLogicalProcessors', 'Manufacturer', 'Name']],
];

/** Returns all records of the documents. */
export function recordsOf(documents: readonly Document[]): ReadonlyMap<Kind, readonly HyperVRecord[]> {
  const records = new Map<Kind, HyperVRecord[]>();
  const visit = (value: unknown, file: string, depth: number): void => {
    if (Array.isArray(value)) {
      for (const one of value) visit(one, file, depth);
      return;
    }
    const fields = fieldsOf(value);
    const kind = SIGNS.find(([, names]) => names.every((name) => name in fields))?.[0];
    if (kind !== undefined) {
      const all = records.get(kind) ?? [];
      records.set(kind, all);
      all.push({ file, fields });
    } else if (depth < DEPTH_MAX)
      for (const one of Object.values(fields)) if (typeof one === 'object' && one !== null) visit(one, file, depth + 1);
  };
  for (const document of documents)
    if (document.kind === 'data') for (const value of document.values) visit(value, document.file, 0);
  return records;
}

/**
 * Returns the objects of a field. A text instead of objects is what PowerShell writes below its depth. Throws
 * `Unreadable`.
 */
export function objectsIn({ file, fields }: HyperVRecord, name: string): readonly Fields[] {
  const value = fields[name];
  if (value === null || value === undefined || value === '') return [];
  const list = Array.isArray(value) ? value : [value];
  if (list.some((one) => typeof one === 'string'))
    throw new Unreadable(
      file,
      `"${name}" holds a text instead of objects, so PowerShell cut it off at its depth`,
      'Export it again with `ConvertTo-Json -Depth 6`, or with `Export-Clixml -Depth 6`.',
    );
  return list.map(fieldsOf).filter((one) => Object.keys(one).length > 0);
}

/** Returns the text of a field; for an object, its name. */
export function textIn(fields: Fields, ...names: readonly string[]): string {
  for (const name of names) {
    const value = fields[name];
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'number') return String(value);
    const inner = fieldsOf(value)['Name'] ?? fieldsOf(value)['name'] ?? fieldsOf(value)['Value'];
    if (typeof inner === 'string' && inner !== '') return inner;
  }
  return '';
}
