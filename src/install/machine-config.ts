/**
 * The configuration of a machine, /etc/groundplane/machine.yaml: the one file that people edit. Guarantees: an unknown
 * field, a missing one and a wrong value are refused with the name of the field and what is wanted; the schema is the
 * reference (docs/operating/install.md shows each field, and a test compares them).
 */
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { parse, stringify } from 'yaml';
import { CodedError, messageOf } from '../base/errors.ts';
import { isName } from '../base/ids.ts';
import { BACKUPS_KEPT_MAX } from '../core/model/backup.ts';

const strict = { additionalProperties: false } as const;
const IPV4 = /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$/;
const SIZE = /^([1-9]\d{0,6})(MiB|GiB|TiB)$/;
const UNITS: ReadonlyMap<string, number> = new Map([
  ['MiB', 1024 ** 2],
  ['GiB', 1024 ** 3],
  ['TiB', 1024 ** 4],
]);

const Network = Type.String({
  pattern: '^[A-Za-z0-9_.-]{1,15}$',
  description: 'an IPv4 address of this machine, or one of its interfaces, which then has exactly one',
});
const Size = Type.String({ pattern: SIZE.source, description: 'a size in whole MiB, GiB or TiB, such as 60GiB' });
const Path = Type.String({ pattern: '^/[^\\n\\0]{0,199}$', description: 'an absolute path' });

const Backup = Type.Object(
  {
    keep: Type.Optional(Type.Integer({ minimum: 1, maximum: BACKUPS_KEPT_MAX })),
    space: Type.Optional(Size),
    directory: Type.Optional(Path),
    s3: Type.Optional(
      Type.Object(
        {
          endpoint: Type.String({ pattern: '^https://[^/?#@]{1,280}$', description: 'https://ADDRESS[:PORT]' }),
          bucket: Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,62}$', description: 'the name of a bucket' }),
          region: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,60}$' })),
          prefix: Type.Optional(
            Type.String({
              pattern: '^((?!\\.{1,2}/)[A-Za-z0-9._-]{1,60}/){1,3}$',
              description: 'folders, each with a / after it',
            }),
          ),
          credentials: Path,
          ca: Type.Optional(Path),
        },
        strict,
      ),
    ),
  },
  { ...strict, description: 'the backups that this control node makes every hour' },
);

/** The schema of the file. */
export const MachineSchema = Type.Object(
  {
    name: Type.String({ description: 'the name of this machine in the cluster, the same for all its roles' }),
    networks: Type.Object(
      {
        control: Network,
        storage: Type.Optional(Network),
        overlay: Type.Optional(Network),
      },
      { ...strict, description: 'storage is control where nothing is said, and overlay is storage' },
    ),
    control: Type.Optional(
      Type.Object(
        { etcdQuota: Type.Optional(Size), backup: Type.Optional(Backup) },
        { ...strict, description: 'this machine is a control node: a server and a member of etcd' },
      ),
    ),
    storage: Type.Optional(
      Type.Object(
        { pool: Type.Optional(Path), reserve: Type.Optional(Size) },
        { ...strict, description: 'this machine is a storage node' },
      ),
    ),
    host: Type.Optional(
      Type.Object(
        {
          memory: Type.Optional(Size),
          vcpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
          accelerator: Type.Optional(Type.Union([Type.Literal('auto'), Type.Literal('kvm'), Type.Literal('tcg')])),
        },
        { ...strict, description: 'this machine is a host: virtual machines run on it' },
      ),
    ),
  },
  strict,
);

/** The file as it is written. */
export type MachineConfig = Static<typeof MachineSchema>;

/** The addresses and the overlay's interface of a machine, looked up. */
export interface MachineNetworks {
  readonly control: string;
  readonly storage: string;
  readonly overlay: string;
  readonly overlayDevice: string;
}

/** The interfaces of a machine, with the IPv4 addresses of each. */
export type Interfaces = Readonly<Record<string, readonly string[]>>;

/** Parses the file. CodedError 'bad-input' that names the field. */
export function parseMachineConfig(text: string, file: string): MachineConfig {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch (error) {
    throw refusal(file, messageOf(error).split('\n')[0] ?? '');
  }
  const [error] = Value.Errors(MachineSchema, value).filter(({ keyword }) => keyword !== 'boolean');
  if (error !== undefined) {
    const at = error.instancePath.slice(1).replaceAll('/', '.');
    const unknown = error.keyword === 'additionalProperties' ? error.params.additionalProperties : undefined;
    throw refusal(
      file,
      unknown === undefined
        ? `${at === '' ? 'the file' : at} ${error.message}`
        : `${[...(at === '' ? [] : [at]), unknown[0]].join('.')} is not a field of this file`,
    );
  }
  const config = value as MachineConfig;
  if (!isName(config.name)) throw refusal(file, `name ${JSON.stringify(config.name)} is not a name`);
  if (config.control === undefined && config.storage === undefined && config.host === undefined)
    throw refusal(file, 'the machine has no role (control, storage or host)');
  return config;
}

/** Formats the file, with a line that says where it is explained. */
export function formatMachineConfig(config: MachineConfig): string {
  return `# Groundplane: this machine. Explained in /usr/share/doc/groundplane/operating/install.md.\n${stringify(config)}`;
}

/** Returns the size in bytes. */
export function sizeBytesOf(text: string): number {
  const [, count = '0', unit = ''] = SIZE.exec(text) ?? [];
  return Number(count) * (UNITS.get(unit) ?? 0);
}

/**
 * Looks the networks up. CodedError 'not-found' for an address that no interface has, an interface that is not there,
 * and one that has no address or several.
 */
export function networksOf({ networks }: Pick<MachineConfig, 'networks'>, interfaces: Interfaces): MachineNetworks {
  const control = addressOf('control', networks.control, interfaces);
  const storage = networks.storage === undefined ? control : addressOf('storage', networks.storage, interfaces);
  const overlay = networks.overlay === undefined ? storage : addressOf('overlay', networks.overlay, interfaces);
  return {
    control: control.address,
    storage: storage.address,
    overlay: overlay.address,
    overlayDevice: overlay.device,
  };
}

function addressOf(network: string, where: string, interfaces: Interfaces): { address: string; device: string } {
  const advice = `Correct networks.${network} in the configuration, or bring the interface up.`;
  if (IPV4.test(where)) {
    const device = Object.entries(interfaces).find(([, addresses]) => addresses.includes(where))?.[0];
    if (device !== undefined) return { address: where, device };
    const have = Object.values(interfaces).flat().join(', ');
    throw new CodedError(
      'not-found',
      `No interface of this machine has the ${network} address ${where}; they have ${have}.`,
      {
        advice,
      },
    );
  }
  const addresses = Object.hasOwn(interfaces, where) ? (interfaces[where] ?? []) : [];
  const [address] = addresses;
  if (address !== undefined && addresses.length === 1) return { address, device: where };
  const found = addresses.length === 0 ? 'has no IPv4 address' : `has several addresses (${addresses.join(', ')})`;
  throw new CodedError('not-found', `The interface ${where} of the ${network} network ${found}.`, { advice });
}

function refusal(file: string, what: string): CodedError {
  return new CodedError('bad-input', `${file}: ${what}.`, {
    advice: 'Nothing was changed. Every field is explained in docs/operating/install.md.',
  });
}
