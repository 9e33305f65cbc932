/**
 * Parsers for JSON that somebody else wrote. Guarantees: a parsed value has exactly the declared shape; a missing field
 * or a value out of its range is CodedError 'bad-input' whose message names the place (`disks[0].port`).
 * People's input and files are read with `object`: an unknown field is a mistake and refused. Messages of a process of
 * another version are read with `openObject`, and its orders with `order`:
 * docs/decisions/0011-versions-side-by-side.md.
 */

import { CodedError } from '../base/errors.ts';
import { parseGeneration, type Term } from '../base/ids.ts';
import { excessOf } from '../base/json.ts';

/** Turns an unchecked value into a T or throws CodedError 'bad-input'. `at` is the value's place, for the message. */
export type Parser<T> = (value: unknown, at: string) => T;

/** The type a parser yields. */
export type Parsed<P> = P extends Parser<infer T> ? T : never;

function refuse(at: string, expected: string): never {
  throw new CodedError('bad-input', `${at === '' ? 'The value' : at} must be ${expected}.`, {
    advice: 'Nothing was changed.',
  });
}

/** True or false, and nothing that merely looks like it. */
export const parseBoolean: Parser<boolean> = (value, at) =>
  typeof value === 'boolean' ? value : refuse(at, 'true or false');

/** A safe integer from `min` to `max`, both included. */
export function integer({ min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }): Parser<number> {
  return (value, at) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : refuse(at, `an integer from ${min} to ${max}`);
}

/** A string of at most `charsMax` UTF-16 units that matches `pattern` where one is given. */
export function text({ charsMax, pattern }: { charsMax: number; pattern?: RegExp }): Parser<string> {
  return (value, at) => {
    if (typeof value !== 'string') return refuse(at, 'a string');
    if (value.length > charsMax) return refuse(at, `at most ${charsMax} characters long`);
    return pattern === undefined || pattern.test(value) ? value : refuse(at, `of the form ${pattern.source}`);
  };
}

/** One of the given strings. */
export function oneOf<const T extends string>(...allowed: readonly T[]): Parser<T> {
  return (value, at) => allowed.find((candidate) => candidate === value) ?? refuse(at, `one of ${allowed.join(', ')}`);
}

/** A string that `convert` accepts: for the identifiers of base/ids.ts. */
export function idOf<T>(convert: (text: string) => T): Parser<T> {
  const shape = text({ charsMax: 200 });
  return (value, at) => {
    const checked = shape(value, at);
    try {
      return convert(checked);
    } catch (cause) {
      if (!(cause instanceof CodedError)) throw cause;
      throw new CodedError('bad-input', `${at}: ${cause.message}`, { cause, advice: 'Nothing was changed.' });
    }
  };
}

/** The value of `inner`, or null. */
export function nullable<T>(inner: Parser<T>): Parser<T | null> {
  return (value, at) => (value === null ? null : inner(value, at));
}

/** An array of at most `itemsMax` items, each taken by `inner`. */
export function arrayOf<T>(inner: Parser<T>, { itemsMax }: { itemsMax: number }): Parser<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) return refuse(at, 'an array');
    if (value.length > itemsMax) return refuse(at, `an array of at most ${itemsMax} items`);
    return value.map((item: unknown, index) => inner(item, `${at}[${index}]`));
  };
}

/** An object with these fields and no other; a field whose parser is wrapped in `optional` may be absent. */
export function object<Shape extends Record<string, Parser<unknown>>>(
  shape: Shape,
): Parser<{ readonly [Field in keyof Shape]: Parsed<Shape[Field]> }> {
  const parseKnown = openObject(shape);
  return (value, at) => {
    for (const field of isRecord(value) ? Object.keys(value) : []) {
      if (!Object.hasOwn(shape, field)) refuse(place(at, field.slice(0, 60)), 'absent: there is no such field');
    }
    return parseKnown(value, at);
  };
}

/** An object with at least these fields; others, which a newer version may have added, are left out. */
export function openObject<Shape extends Record<string, Parser<unknown>>>(
  shape: Shape,
): Parser<{ readonly [Field in keyof Shape]: Parsed<Shape[Field]> }> {
  const fields = Object.entries(shape);
  return (value, at) => {
    if (!isRecord(value)) return refuse(at, 'an object');
    const entries = fields.map(([field, parser]) => [
      field,
      parser(Object.hasOwn(value, field) ? value[field] : undefined, place(at, field)),
    ]);
    return Object.fromEntries(entries) as { readonly [Field in keyof Shape]: Parsed<Shape[Field]> };
  };
}

const parseNeeds = arrayOf(text({ charsMax: 60, pattern: /^[a-z0-9-]+$/ }), { itemsMax: 100 });

/**
 * An order: an open object that may say in `needs` which features its receiver must have to carry it out. CodedError
 * 'unsupported' for one that is not in `features`, before anything else of the order is looked at: a newer version may
 * have changed all the rest.
 */
export function order<Shape extends Record<string, Parser<unknown>>>(
  shape: Shape,
  { features }: { readonly features: readonly string[] },
): Parser<{ readonly [Field in keyof Shape]: Parsed<Shape[Field]> }> {
  const parseKnown = openObject(shape);
  return (value, at) => {
    const needs =
      isRecord(value) && Object.hasOwn(value, 'needs') ? parseNeeds(value['needs'], place(at, 'needs')) : [];
    const lacking = needs.filter((feature) => !features.includes(feature));
    if (lacking.length > 0)
      throw new CodedError('unsupported', `The order needs ${lacking.join(', ')}, which this version does not have.`, {
        advice: 'Nothing was changed. Update this host or node, or use one that has it.',
      });
    return parseKnown(value, at);
  };
}

/** A field that may be absent and is then undefined. */
export function optional<T>(inner: Parser<T>): Parser<T | undefined> {
  return (value, at) => (value === undefined ? undefined : inner(value, at));
}

/**
 * A field that an older version does not send; `absent` is the value that the older version means. Never for evidence
 * or intent.
 */
export function added<T>(inner: Parser<T>, absent: T): Parser<T> {
  return (value, at) => (value === undefined ? absent : inner(value, at));
}

/**
 * An open object told apart by its field `kind`: `byKind({ blank: {}, content: { base64: … } })`. The result is typed
 * by the caller's parser annotation, as a union of the members.
 */
export function byKind<Members extends Record<string, Record<string, Parser<unknown>>>>(
  members: Members,
): Parser<
  {
    [Kind in keyof Members & string]: { readonly kind: Kind } & {
      readonly [Field in keyof Members[Kind]]: Parsed<Members[Kind][Field]>;
    };
  }[keyof Members & string]
> {
  const kindOf = oneOf(...Object.keys(members));
  return (value, at) => {
    if (!isRecord(value)) return refuse(at, 'an object');
    const kind = kindOf(value['kind'], place(at, 'kind'));
    const parser = openObject({ kind: kindOf, ...members[kind] });
    return parser(value, at) as ReturnType<ReturnType<typeof byKind<Members>>>;
  };
}

/** Any JSON object, unchecked inside. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A VM's generation: a positive safe integer. */
export const parseGenerationField: Parser<ReturnType<typeof parseGeneration>> = (value, at) =>
  parseGeneration(integer({ min: 1 })(value, at));

/** A leader's term: a positive safe integer. */
export const parseTermField: Parser<Term> = (value, at) => integer({ min: 1 })(value, at) as Term;

export const parsePort = integer({ min: 1, max: 65_535 });

/** Parses an answer without content (`{}`). */
export const parseNothing: Parser<undefined> = () => undefined;

/**
 * Bounds of a JSON text: several times a storage node's report with all its disks; parsing a larger text would block
 * the event loop for too long.
 */
const JSON_LIMITS = { valuesMax: 300_000, depthMax: 32 } as const;

/**
 * Parses JSON text to an unchecked value; CodedError 'bad-input' if the text is not JSON or exceeds the bounds. Empty
 * text is undefined.
 */
export function parseJson(json: string, what: string): unknown {
  if (json === '') return undefined;
  const excess = excessOf(json, JSON_LIMITS);
  if (excess !== null)
    throw new CodedError(
      'bad-input',
      `${what} has more than ${excess === 'values' ? `${JSON_LIMITS.valuesMax} values` : `${JSON_LIMITS.depthMax} levels`}.`,
      { advice: 'Nothing was changed.' },
    );
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new CodedError('bad-input', `${what} is not valid JSON.`, { cause, advice: 'Nothing was changed.' });
  }
}

/** The value of a query parameter as a positive integer. */
export function integerParameter(query: URLSearchParams, name: string): number {
  const raw = query.get(name) ?? '';
  return integer({ min: 0 })(/^\d{1,16}$/.test(raw) ? Number(raw) : undefined, `query parameter ${name}`);
}

function place(at: string, field: string): string {
  return at === '' ? field : `${at}.${field}`;
}
