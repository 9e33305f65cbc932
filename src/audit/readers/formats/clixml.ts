/**
 * Converts PowerShell's Export-Clixml to plain data: objects by their properties, lists as arrays, everything else as
 * text.
 */
import { Unreadable, type Xml } from '../document.ts';

const NUMBERS = new Set(['I16', 'I32', 'I64', 'U16', 'U32', 'U64', 'By', 'SB', 'Db', 'Sg', 'D']);
const LISTS = new Set(['LST', 'IE', 'STK', 'QUE']);
const EXACT_MAX = 2 ** 53;

/** Returns true for the root element of such a file. */
export function isClixml(root: Xml): boolean {
  return root.name === 'Objs';
}

/** Returns the objects of the file. Throws `Unreadable`. */
export function clixmlValues(root: Xml, file: string): readonly unknown[] {
  const seen = new Map<string, unknown>();
  const values = root.children.map((element) => plainValue(element, seen, file));
  return values.flatMap((value) => (Array.isArray(value) ? value : [value]));
}

function plainValue(element: Xml, seen: Map<string, unknown>, file: string): unknown {
  if (element.name === 'Nil') return null;
  if (element.name === 'B') return element.text === 'true';
  if (NUMBERS.has(element.name)) {
    const number = Number(element.text);
    return Math.abs(number) < EXACT_MAX ? number : element.text;
  }
  if (element.name === 'Ref') return seen.get(element.attributes['RefId'] ?? '') ?? null;
  if (element.name !== 'Obj') return unescaped(element.text);
  const value = objectOf(element, seen, file);
  const id = element.attributes['RefId'];
  if (id !== undefined) seen.set(id, value);
  return value;
}

function objectOf(element: Xml, seen: Map<string, unknown>, file: string): unknown {
  const list = element.children.find((one) => LISTS.has(one.name));
  if (list !== undefined) return list.children.map((one) => plainValue(one, seen, file));
  const dictionary = element.children.find((one) => one.name === 'DCT');
  if (dictionary !== undefined) {
    const entries = dictionary.children.map((entry) => {
      const part = (name: string): unknown => {
        const found = entry.children.find((one) => one.attributes['N'] === name);
        return found === undefined ? null : plainValue(found, seen, file);
      };
      return [String(part('Key')), part('Value')] as const;
    });
    return Object.fromEntries(entries);
  }
  const members = element.children.filter((one) => one.name === 'Props' || one.name === 'MS');
  if (members.length === 0) return plainOf(element, seen, file);
  const fields = members.flatMap((one) => one.children);
  return Object.fromEntries(
    fields.map((field) => {
      const name = field.attributes['N'];
      if (name === undefined)
        throw new Unreadable(file, 'a property has no name', 'Export it again with Export-Clixml.');
      return [unescaped(name), plainValue(field, seen, file)];
    }),
  );
}

/** Converts an enumeration, or an object that Export-Clixml truncated at its depth, to its text. */
function plainOf(element: Xml, seen: Map<string, unknown>, file: string): unknown {
  const text = element.children.find((one) => one.name === 'ToString');
  if (text !== undefined) return unescaped(text.text);
  const value = element.children.find((one) => one.name !== 'TN' && one.name !== 'TNRef');
  return value === undefined ? null : plainValue(value, seen, file);
}

/** Decodes `_x000A_` and the like, which stand for characters that XML cannot contain. */
function unescaped(text: string): string {
  return text.includes('_x')
    ? text.replace(/_x([0-9A-Fa-f]{4})_/g, (_all, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    : text;
}
