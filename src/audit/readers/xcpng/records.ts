/** Converts records of XAPI, as `xe …-list params=all` prints them or in JSON, to one form with the names of `xe`. */
import { own } from '../../../base/own.ts';
import type { Document } from '../document.ts';
import { type Fields, fieldsOf } from '../formats/values.ts';
import type { RecordClass } from './classes.ts';
import { isXoObject, xoRecord } from './xo-objects.ts';

export interface XapiRecord {
  readonly file: string;
  /** Converts values to text; lists and maps in the form of xe. */
  readonly values: ReadonlyMap<string, string>;
}

/** Field names that only records of the class have. */
const SIGNS: readonly (readonly [RecordClass, readonly string[]])[] = [
  ['vm', ['power-state', 'resident-on']],
  ['vbd', ['vm-uuid', 'vdi-uuid']],
  ['vif', ['vm-uuid', 'network-uuid']],
  ['pbd', ['host-uuid', 'sr-uuid', 'currently-attached']],
  ['pif', ['host-uuid', 'network-uuid', 'device']],
  ['vdi', ['sr-uuid', 'virtual-size']],
  ['sr', ['name-label', 'shared', 'content-type']],
  ['host', ['name-label', 'enabled', 'memory-total']],
  ['host', ['name-label', 'enabled', 'hostname']],
  ['network', ['name-label', 'bridge']],
  ['pool', ['master', 'ha-enabled']],
  ['vm-group', ['name-label', 'placement']],
];

const JSON_CLASSES: readonly (readonly [RecordClass, readonly string[]])[] = [
  ['vm', ['power_state', 'resident_on']],
  ['vbd', ['VM', 'VDI', 'device']],
  ['vif', ['VM', 'network', 'MAC']],
  ['pbd', ['host', 'SR', 'currently_attached']],
  ['pif', ['host', 'network', 'device']],
  ['vdi', ['SR', 'virtual_size']],
  ['sr', ['name_label', 'shared', 'content_type']],
  ['host', ['name_label', 'enabled', 'hostname']],
  ['network', ['name_label', 'bridge']],
  ['pool', ['master', 'ha_enabled']],
  ['vm-group', ['name_label', 'placement', 'VMs']],
];

/** Names of JSON's references, translated to those of xe. */
const REFERENCES: Readonly<Record<string, string>> = {
  VM: 'vm-uuid',
  VDI: 'vdi-uuid',
  SR: 'sr-uuid',
  host: 'host-uuid',
  network: 'network-uuid',
};

/** Returns all records of the documents, by class. */
export function recordsOf(documents: readonly Document[]): ReadonlyMap<RecordClass, readonly XapiRecord[]> {
  const records = new Map<RecordClass, XapiRecord[]>();
  const add = (kind: RecordClass, record: XapiRecord): void => {
    const all = records.get(kind) ?? [];
    records.set(kind, all);
    all.push(record);
  };
  for (const document of documents) {
    if (document.kind === 'text') textRecords(document.file, document.text, add);
    if (document.kind === 'data') for (const value of document.values) jsonRecords(document.file, value, add);
  }
  return records;
}

type Add = (kind: RecordClass, record: XapiRecord) => void;

function textRecords(file: string, text: string, add: Add): void {
  // `xe host-get-vms-which-prevent-evacuation` prints the VM's UUID and the reason.
  for (const [, uuid, reason] of text.matchAll(/^([0-9a-f]{8}-[0-9a-f-]{27})\s*:\s*(\S.*)$/gm))
    add('evacuation', {
      file,
      values: new Map([
        ['uuid', uuid ?? ''],
        ['reason', reason ?? ''],
      ]),
    });
  for (const block of text.split(/\r?\n\s*\r?\n/)) {
    const values = new Map<string, string>();
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] =
        /^\s*([\w-]+) \( ?(?:RO|RW|MRO|MRW|SRW|SRO)\)(?: \[DEPRECATED\])?\s*:\s?(.*)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) values.set(name, value.trim());
    }
    const kind = SIGNS.find(([, names]) => names.every((name) => values.has(name)))?.[0];
    if (kind !== undefined) add(kind, { file, values });
  }
}

function jsonRecords(file: string, value: unknown, add: Add): void {
  if (Array.isArray(value) && value.some(isXoObject)) {
    for (const object of value) {
      const record = xoRecord(fieldsOf(object));
      if (record !== null) add(record.kind, { file, values: record.values });
    }
    return;
  }
  for (const [reference, inner] of Object.entries(fieldsOf(value))) {
    const fields = fieldsOf(inner);
    const kind = JSON_CLASSES.find(([, names]) => names.every((name) => name in fields))?.[0];
    // XAPI's JSON uses references, which are replaced by UUIDs.
    if (kind !== undefined) add(kind, { file, values: fromJson(reference, fields) });
    else if (!reference.startsWith('OpaqueRef:') && Object.keys(fields).some((name) => name.startsWith('OpaqueRef:')))
      jsonRecords(file, inner, add);
  }
}

function fromJson(reference: string, fields: Fields): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(fields)) {
    const plain = own(REFERENCES, name) ?? name.toLowerCase().replaceAll('_', '-');
    values.set(
      plain,
      Array.isArray(value) ? value.map(String).join('; ') : typeof value === 'string' ? value : JSON.stringify(value),
    );
  }
  values.set('uuid', reference);
  return values;
}
