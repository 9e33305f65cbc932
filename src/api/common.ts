/**
 * Building blocks of every schema of the API: names, revisions, sizes, times. A schema here validates requests,
 * describes the OpenAPI document and gives the TypeScript type: the three cannot differ.
 */
import { type Static, type TSchema, Type } from 'typebox';
import { LIMITS, type Limit } from '../core/model/limits.ts';

/** A schema's type, read-only all the way down. */
export type View<T extends TSchema> = Frozen<Static<T>>;

/** Read-only at all levels: records of the core are assignable to the API's views. */
export type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

/** RFC 1123 label of at most 40 characters: the same rule as base/ids.ts (a test compares them). */
export const NAME_PATTERN = '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$';
const SHA256_PATTERN = '^[0-9a-f]{64}$';
const MAC_PATTERN = '^[0-9a-f][26ae](:[0-9a-f]{2}){5}$';
const IPV4_OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const IPV4_PATTERN = `^(${IPV4_OCTET}\\.){3}${IPV4_OCTET}$`;
const CIDR_PATTERN = `^(${IPV4_OCTET}\\.){3}${IPV4_OCTET}/([89]|[12][0-9])$`;

/** Largest size in bytes of a JSON body that carries files of a guest (cloud-init). */
export const BODY_BYTES_MAX = LIMITS.requestBytes.max;
/** Largest number of bytes of every other JSON body: more than the largest that fits its schema has in UTF-8. */
export const SMALL_BODY_BYTES_MAX = LIMITS.smallRequestBytes.max;

/** An object that rejects unknown properties. */
export const strict = { additionalProperties: false } as const;

/** The schema, or null. */
export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
/** Exactly one of the given texts; the type is their union. */
export const oneOf = <Values extends string[]>(values: readonly [...Values], options: { description?: string } = {}) =>
  Type.Enum<Values>(values, options);

/** Schema of an integer within a limit of the table. */
export const integerWithin = ({ min, max, step }: Limit, options: { description?: string } = {}) =>
  Type.Integer({ minimum: min, maximum: max, ...(step === undefined ? {} : { multipleOf: step }), ...options });

export const Name = Type.String({
  pattern: NAME_PATTERN,
  description: '1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit',
});
export const Rack = Type.String({
  pattern: NAME_PATTERN,
  description: 'name of a rack; its hosts may fail together. A host without a rack is a rack of its own',
});
export const Sha256Hex = Type.String({ pattern: SHA256_PATTERN, description: 'SHA-256 in lower-case hexadecimal' });
export const MacAddress = Type.String({
  pattern: MAC_PATTERN,
  description: 'locally administered unicast MAC address, lower case',
});
export const Ipv4 = Type.String({ pattern: IPV4_PATTERN, description: 'IPv4 address' });
export const Cidr = Type.String({ pattern: CIDR_PATTERN, description: 'IPv4 range, prefix length 8 to 29' });
export const Labels = Type.Record(
  Type.String({ pattern: `^[a-z0-9]([a-z0-9./-]{0,${LIMITS.labelKeyChars.max - 2}}[a-z0-9])?$` }),
  Type.String({ maxLength: LIMITS.labelValueChars.max }),
  {
    maxProperties: LIMITS.vmLabels.max,
    additionalProperties: false,
    description: 'free key-value pairs to select by',
  },
);

/** A remark about a change, written by one person for others: a single line. */
export const Remark = (charsMax: number, description: string) =>
  Type.String({ minLength: 1, maxLength: charsMax, pattern: '^[^\\u0000-\\u001f\\u007f]*$', description });

export const Vcpus = integerWithin(LIMITS.vmVcpus);
export const MemoryBytes = integerWithin(LIMITS.vmMemoryBytes, { description: 'memory in bytes, whole MiB' });
export const DiskBytes = integerWithin(LIMITS.diskBytes, { description: 'size in bytes, a multiple of 512' });
/** Milliseconds from now; at most a day. */
export const PatienceMs = integerWithin(LIMITS.patienceMs);
export const RestartPolicySchema = oneOf(['always', 'on-failure', 'never']);
export const FirmwareSchema = oneOf(['bios', 'uefi', 'direct']);
/** How the cluster finds out that a member of a guest cluster is ready after its move. */
export const ReadyCheck = Type.Object(
  {
    command: Type.String({
      minLength: LIMITS.readyCheckChars.min,
      maxLength: LIMITS.readyCheckChars.max,
      pattern: '^[^\\u0000-\\u001f]*$',
      description: 'for /bin/sh in the guest, as the user of its agent: exits with 0 once the member is ready',
    }),
    withinMs: integerWithin(LIMITS.readyCheckMs, {
      description: 'how long the next member waits for it at the longest, in ms',
    }),
  },
  strict,
);
