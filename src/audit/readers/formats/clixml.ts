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
  const seen = new Seen(file);
  const values = root.children.map((element) => plainValue(element, seen));
  return values.flatMap((value) => (Array.isArray(value) ? value : [value]));
}

/** The most objects that references may stand for, counted with everything below them. */
const REFERRED_MAX = 4_000_000;

/** Objects by reference ID. References to objects that hold references could stand for more than any memory holds. */
class Seen {
  readonly file: string;
  readonly #values = new Map<string, { readonly value: unknown; readonly weight: number }>();
  /** How many objects were made so far, with those that references stand for. */
  weight = 0;

  constructor(file: string) {
    this.file = file;
  }

  keep(id: string, value: unknown, weight: number): void {
    this.#values.set(id, { value, weight });
  }

  get(id: string): unknown {
    const { value, weight } = this.#values.get(id) ?? { value: null, weight: 0 };
    this.weight += weight;
    if (this.weight > REFERRED_MAX)
      throw new Unreadable(this.file, 'its references stand for more objects than it can hold', 'Export it again.');
    return value;
  }
}

function plainValue(element: Xml, seen: Seen): unknown {
  if (element.name === 'Nil') return null;
  if (element.name === 'B') return element.text === 'true';
  if (NUMBERS.has(element.name)) {
    const number = Number(element.text);
    return Math.abs(number) < EXACT_MAX ? number : element.text;
  }
  if (element.name === 'Ref') return seen.get(element.attributes['RefId'] ?? '');
  if (element.name !== 'Obj') return unescaped(element.text);
  const before = seen.weight;
  seen.weight += 1;
  const value = objectOf(element, seen);
  const id = element.attributes['RefId'];
  if (id !== undefined) seen.keep(id, value, seen.weight - before);
  return value;
}

function objectOf(element: Xml, seen: Seen): unknown {
  const list = element.children.find((one) => LISTS.has(one.name));
  if (list !== undefined) return list.children.map((one) => plainValue(one, seen));
  const dictionary = element.children.find((one) => one.name === 'DCT');
  if (dictionary !== undefined) {
    const entries = dictionary.children.map((entry) => {
      const part = (name: string): unknown => {
        const found = entry.children.find((one) => one.attributes['N'] === name);
        return found === undefined ? null : plainValue(found, seen);
      };
      return [String(part('Key')), part('Value')] as const;
    });
    return Object.fromEntries(entries);
  }
  const members = element.children.filter((one) => one.name === 'Props' || one.name === 'MS');
  if (members.length === 0) return plainOf(element, seen);
  const fields = members.flatMap((one) => one.children);
  return Object.fromEntries(
    fields.map((field) => {
      const name = field.attributes['N'];
      if (name === undefined)
        throw new Unreadable(seen.file, 'a property has no name', 'Export it again with Export-Clixml.');
      return [unescaped(name), plainValue(field, seen)];
    }),
  );
}

/** Converts an enumeration, or an object that Export-Clixml truncated at its depth, to its text. */
function plainOf(element: Xml, seen: Seen): unknown {
  const text = element.children.find((one) => one.name === 'ToString');
  if (text !== undefined) return unescaped(text.text);
  const value = element.children.find((one) => one.name !== 'TN' && one.name !== 'TNRef');
  return value === undefined ? null : plainValue(value, seen);
}

/** Decodes `_x000A_` and the like, which stand for characters that XML cannot contain. */
function unescaped(text: string): string {
  return text.includes('_x')
    ? text.replace(/_x([0-9A-Fa-f]{4})_/g, (_all, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    : text;
}
