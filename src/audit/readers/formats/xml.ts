/** Parses XML to a tree. A document type is refused, because its entities can expand without bound or read files. */
import { SaxesParser } from 'saxes';
import { Unreadable, type Xml } from '../document.ts';
import type { MemoryBudget } from './memory-budget.ts';

const DEPTH_MAX = 100;
const ELEMENTS_MAX = 4_000_000;
/** Memory of an element without its text. */
const ELEMENT_BYTES = 320;
const PIECE = 65_536;

interface Growing {
  readonly name: string;
  readonly attributes: Record<string, string>;
  readonly children: Growing[];
  text: string;
}

/** Returns the root element. Throws `Unreadable`. */
export function xmlOf(text: string, file: string, budget: MemoryBudget): Xml {
  const parser = new SaxesParser({ xmlns: false });
  const open: Growing[] = [];
  const roots: Growing[] = [];
  let elements = 0;
  const refuse = (problem: string, fix: string): never => {
    throw new Unreadable(file, problem, fix);
  };
  parser.on('doctype', () =>
    refuse('it has a DOCTYPE, which an inventory never has', 'Export it again; do not edit it.'),
  );
  parser.on('error', (error) => refuse(`it is not well-formed XML: ${lineOf(error)}`, 'Export it again in full.'));
  parser.on('opentag', (tag) => {
    elements += 1;
    if (elements > ELEMENTS_MAX) refuse(`it has more than ${ELEMENTS_MAX} elements`, 'Export it in parts.');
    if (open.length >= DEPTH_MAX) refuse(`its elements are nested deeper than ${DEPTH_MAX}`, 'Export it again.');
    budget.take(file, ELEMENT_BYTES);
    const element: Growing = { name: localName(tag.name), attributes: {}, children: [], text: '' };
    for (const [name, value] of Object.entries(tag.attributes)) element.attributes[localName(name)] = String(value);
    (open.at(-1)?.children ?? roots).push(element);
    open.push(element);
  });
  const addText = (piece: string): void => {
    const element = open.at(-1);
    if (element !== undefined) element.text += piece;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    const element = open.pop();
    if (element !== undefined) element.text = element.text.trim();
  });
  budget.take(file, text.length);
  for (let at = 0; at < text.length; at += PIECE) parser.write(text.slice(at, at + PIECE));
  parser.close();
  return roots[0] ?? refuse('it is empty', 'Export it again.');
}

function lineOf(error: Error): string {
  return error.message.split('\n')[0]?.slice(0, 120) ?? '';
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

/** Returns the first child with that name. */
export function child(element: Xml | undefined, name: string): Xml | undefined {
  return element?.children.find((one) => one.name === name);
}

/** Returns all children with that name. */
export function children(element: Xml | undefined, name: string): readonly Xml[] {
  return element?.children.filter((one) => one.name === name) ?? [];
}

/** Returns the element at a path of first children. */
export function at(element: Xml | undefined, ...path: readonly string[]): Xml | undefined {
  return path.reduce<Xml | undefined>((here, name) => child(here, name), element);
}

/** Returns the text at a path; empty if there is none. */
export function textAt(element: Xml | undefined, ...path: readonly string[]): string {
  return at(element, ...path)?.text ?? '';
}

/** Returns every element with that name, at any depth, in document order. */
export function* descendants(element: Xml, name: string): Iterable<Xml> {
  for (const one of element.children) {
    if (one.name === name) yield one;
    yield* descendants(one, name);
  }
}
