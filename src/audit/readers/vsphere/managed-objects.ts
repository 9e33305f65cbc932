/**
 * Managed objects of vSphere in every JSON form: `govc … -json` of any version, `govc collect -json`, PowerCLI's
 * Get-View. Field names begin with a small letter in some and with a capital in others; types are named only in some.
 */
import { type Document, Unreadable } from '../document.ts';
import { type Fields, fieldsOf, listOf } from '../formats/values.ts';

export type ManagedType =
  | 'VirtualMachine'
  | 'HostSystem'
  | 'Datastore'
  | 'Network'
  | 'DistributedVirtualPortgroup'
  | 'ClusterComputeResource'
  | 'ComputeResource';

const TYPES: ReadonlySet<string> = new Set<ManagedType>([
  'VirtualMachine',
  'HostSystem',
  'Datastore',
  'Network',
  'DistributedVirtualPortgroup',
  'ClusterComputeResource',
  'ComputeResource',
]);
const DEPTH_MAX = 6;

export interface ManagedObject {
  readonly type: ManagedType;
  readonly id: string;
  readonly file: string;
  readonly fields: Fields;
}

/** Returns a field by its path; names may begin with a small or a capital letter. */
export function pick(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((here, name) => {
    const fields = fieldsOf(here);
    return fields[name] ?? fields[name.charAt(0).toUpperCase() + name.slice(1)];
  }, value);
}

/** Returns the text of a field; empty if the field is not a text. */
export function pickText(value: unknown, ...path: readonly string[]): string {
  const found = pick(value, ...path);
  if (typeof found === 'string') return found;
  return typeof found === 'number' || typeof found === 'boolean' ? String(found) : '';
}

/** Returns the list in a field. Old versions of govc put arrays of references into an object. */
export function pickList(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = pick(value, ...path);
  if (Array.isArray(found)) return found;
  const inner = Object.values(fieldsOf(found)).find(Array.isArray);
  return inner ?? listOf(found);
}

/** Returns the ID in a reference: an object of type and value, or `HostSystem-host-12`. */
export function refOf(value: unknown): string {
  if (typeof value === 'string') return value.replace(/^[A-Za-z]+[-:](?=[a-z]+-)/, '');
  return pickText(value, 'value');
}

/** Returns the type in a reference. */
export function refType(value: unknown): string {
  if (typeof value === 'string') return /^([A-Za-z]+)[-:]/.exec(value)?.[1] ?? '';
  return pickText(value, 'type');
}

/**
 * Returns all managed objects of the documents; parts of one object are merged. Throws `Unreadable` if one ID stands
 * for two objects, which happens between two vCenters.
 */
export function managedObjects(documents: readonly Document[]): ReadonlyMap<string, ManagedObject> {
  const objects = new Map<string, ManagedObject>();
  for (const object of partsOf(documents)) {
    const before = objects.get(object.id);
    if (before !== undefined && areDifferent(before, object))
      throw new Unreadable(
        object.file,
        `the ID ${object.id} stands for "${nameOf(before.fields)}" in ${before.file} and for "${nameOf(object.fields)}" here`,
        'Put the export of each vCenter into a directory of its own; of two exports of one vCenter give the newer.',
      );
    objects.set(object.id, { ...object, fields: { ...before?.fields, ...object.fields } });
  }
  return objects;
}

/** Returns true if the documents hold objects of several vCenters, which give the same IDs to different objects. */
export function haveConflicts(documents: readonly Document[]): boolean {
  const names = new Map<string, ManagedObject>();
  return partsOf(documents).some((object) => {
    const before = names.get(object.id);
    if (before === undefined || nameOf(before.fields) === '') names.set(object.id, object);
    return before !== undefined && areDifferent(before, object);
  });
}

function nameOf(fields: Fields): string {
  return (
    pickText(fields, 'name') || pickText(fields, 'config', 'name') || pickText(fields, 'summary', 'config', 'name')
  );
}

function areDifferent(one: ManagedObject, other: ManagedObject): boolean {
  const [name, otherName] = [nameOf(one.fields), nameOf(other.fields)];
  return one.type !== other.type || (name !== '' && otherName !== '' && name !== otherName);
}

/** Returns every object, also several times, as the documents have it. */
function partsOf(documents: readonly Document[]): readonly ManagedObject[] {
  const found: ManagedObject[] = [];
  const add = (file: string, reference: unknown, fields: Fields): void => {
    const type = refType(reference);
    const id = refOf(reference);
    if (TYPES.has(type) && id !== '') found.push({ type: type as ManagedType, id, file, fields });
  };
  const visit = (value: unknown, file: string, depth: number): void => {
    if (depth > DEPTH_MAX) return;
    if (Array.isArray(value)) {
      for (const one of value) visit(one, file, depth + 1);
      return;
    }
    const fields = fieldsOf(value);
    const self = pick(fields, 'self') ?? pick(fields, 'moRef');
    const collected = pick(fields, 'obj');
    if (self !== undefined) add(file, self, fields);
    else if (collected !== undefined)
      add(file, collected, nested([...pickList(fields, 'propSet'), ...pickList(fields, 'changeSet')]));
    else for (const one of Object.values(fields)) if (typeof one === 'object') visit(one, file, depth + 1);
  };
  for (const document of documents)
    if (document.kind === 'data') for (const value of document.values) visit(value, document.file, 0);
  return found;
}

/** Converts properties with dotted names to an object. */
function nested(properties: readonly unknown[]): Fields {
  const root: Record<string, unknown> = {};
  for (const property of properties) {
    const path = pickText(property, 'name').split('.');
    if (path.includes('__proto__')) continue;
    let here = root;
    for (const name of path.slice(0, -1)) {
      const next = { ...fieldsOf(here[name]) };
      here[name] = next;
      here = next;
    }
    const last = path.at(-1);
    if (last !== undefined && last !== '') here[last] = unwrapped(pick(property, 'val'));
  }
  return root;
}

/** Unwraps values that have their type beside them. */
function unwrapped(value: unknown): unknown {
  return fieldsOf(value)['_value'] ?? value;
}

/** Returns true if a document has managed objects. */
export function hasManagedObjects(document: Document): boolean {
  return document.kind === 'data' && partsOf([document]).length > 0;
}
