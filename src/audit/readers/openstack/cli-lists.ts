/**
 * The lists that `openstack … list -f json` prints, in the form of the API: rows with column titles for names. Lists of
 * servers, flavors, hypervisors, compute services, aggregates, server groups and volumes are known.
 */
import { basename } from 'node:path/posix';
import { type Fields, fieldsOf, listOf, objectsAt, textAtPath } from '../formats/values.ts';
import type { List } from './lists.ts';

interface CliList {
  readonly list: List;
  /** Column titles that only this list has. */
  readonly columns: readonly string[];
  /** The name of a file with an empty list. */
  readonly file: RegExp;
  readonly row: (row: Fields) => Fields;
}

const LISTS: readonly CliList[] = [
  { list: 'servers', columns: ['ID', 'Status', 'Networks'], file: /^servers?\b(?!.?groups?)/i, row: serverOf },
  { list: 'flavors', columns: ['RAM', 'VCPUs', 'Name'], file: /^flavors?\b/i, row: flavorOf },
  { list: 'hypervisors', columns: ['Hypervisor Hostname'], file: /^hypervisors?\b/i, row: hypervisorOf },
  { list: 'services', columns: ['Binary', 'Host', 'Zone'], file: /^(?:compute.)?services?\b/i, row: serviceOf },
  { list: 'aggregates', columns: ['Name', 'Availability Zone', 'Hosts'], file: /^aggregates?\b/i, row: aggregateOf },
  { list: 'aggregates', columns: ['Name', 'Availability Zone', 'Properties'], file: /^$/, row: aggregateOf },
  { list: 'server_groups', columns: ['ID', 'Members'], file: /^server.?groups?\b/i, row: groupOf },
  { list: 'server_groups', columns: ['ID', 'Name', 'Policies'], file: /^$/, row: groupOf },
  { list: 'volumes', columns: ['ID', 'Size', 'Attached to'], file: /^volumes?\b/i, row: volumeOf },
];

/** Returns the list and its rows in the form of the API; null: the value is no such list. */
export function cliList(
  file: string,
  value: unknown,
): { readonly list: List; readonly items: readonly Fields[] } | null {
  // `openstack hypervisor show` prints one object with the API's own names.
  if ('hypervisor_hostname' in fieldsOf(value))
    return {
      list: 'hypervisors',
      items: [{ ...fieldsOf(value), service: { host: textAtPath(value, 'service_host') } }],
    };
  if (!Array.isArray(value)) return null;
  const [first] = value;
  const known = LISTS.find(({ columns, file: name }) =>
    value.length === 0 ? name.test(basename(file)) : columns.every((column) => column in fieldsOf(first)),
  );
  return known === undefined ? null : { list: known.list, items: value.map((row) => known.row(fieldsOf(row))) };
}

/** The words of the `Power State` column; newer versions print the number. */
const POWER_STATES = ['NOSTATE', 'Running', '', 'Paused', 'Shutdown', '', 'Crashed', 'Suspended'];

function serverOf(row: Fields): Fields {
  const power = row['Power State'];
  return {
    id: row['ID'],
    name: row['Name'],
    status: row['Status'],
    'OS-EXT-STS:power_state': typeof power === 'string' ? POWER_STATES.indexOf(power) : power,
    'OS-EXT-SRV-ATTR:host': row['Host'],
    flavor: { id: row['Flavor ID'], original_name: row['Flavor Name'] ?? row['Flavor'] },
    metadata: row['Properties'],
    // The list of volumes tells which server has which.
    'os-extended-volumes:volumes_attached': [],
    addresses: Object.fromEntries(
      Object.entries(fieldsOf(row['Networks'])).map(([network, all]) => [
        network,
        (Array.isArray(all) ? all : []).map((addr) => ({ addr })),
      ]),
    ),
  };
}

function flavorOf(row: Fields): Fields {
  return {
    id: row['ID'],
    name: row['Name'],
    ram: row['RAM'],
    vcpus: row['VCPUs'],
    ...('Properties' in row ? { extra_specs: row['Properties'] } : {}),
  };
}

function hypervisorOf(row: Fields): Fields {
  return { hypervisor_hostname: row['Hypervisor Hostname'], state: row['State'], memory_mb: row['Memory MB'] };
}

function serviceOf(row: Fields): Fields {
  return {
    binary: row['Binary'],
    host: row['Host'],
    zone: row['Zone'],
    status: textAtPath(row, 'Status').toLowerCase(),
    state: textAtPath(row, 'State').toLowerCase(),
  };
}

function aggregateOf(row: Fields): Fields {
  return { name: row['Name'], availability_zone: row['Availability Zone'], hosts: textsOf(row['Hosts']) };
}

function groupOf(row: Fields): Fields {
  const policy = textAtPath(row, 'Policy') || textsOf(row['Policies'])[0];
  return { id: row['ID'], name: row['Name'], policy, members: textsOf(row['Members']), rules: row['Rules'] };
}

function volumeOf(row: Fields): Fields {
  const attachments = objectsAt(row, 'Attached to');
  // Only a volume with multiple attachment can have two.
  const servers = new Set(attachments.map((one) => textAtPath(one, 'server_id')));
  return { id: row['ID'], name: row['Name'], size: row['Size'], attachments, multiattach: servers.size > 1 };
}

/** Returns the texts of a list, which some versions print as one text with commas. */
function textsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return value.split(/,\s*/).filter((one) => one !== '');
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : listOf(value).map(String);
}
