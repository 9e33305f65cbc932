/** The configuration file of a control node, checked. */
import { CodedError } from '../base/errors.ts';
import { parseControlName } from '../base/ids.ts';
import { BACKUPS_KEPT_MAX } from '../core/model/backup.ts';
import { readJsonFile } from '../os/files.ts';
import { arrayOf, idOf, integer, nullable, object, optional, type Parsed, parseBoolean, text } from '../rpc/parse.ts';

const path = text({ charsMax: 4_096 });
const address = text({ charsMax: 100 });

const parseConfig = object({
  name: idOf(parseControlName),
  /** The address for people's tools, hosts and other control nodes. */
  address,
  stateDir: path,
  runDir: path,
  /** ca-cert.pem, server-cert.pem, server-key.pem of this control node. */
  credentialsDir: path,
  /** ca-cert.pem and ca-key.pem of the cluster. */
  authorityDir: path,
  /** Unix socket that serves the API too: a one-machine cluster is reached from outside its namespaces by it. */
  apiSocket: optional(path),
  etcd: object({
    endpoints: arrayOf(text({ charsMax: 200, pattern: /^https:\/\/[^/]+:\d+$/ }), { itemsMax: 16 }),
    /** Quota with which etcd's members are started (`--quota-backend-bytes`); ETCD_QUOTA_BYTES by default. */
    quotaBytes: optional(integer({ min: 1024 * 1024 })),
  }),
  /** Every control node, this one included, in an order that all of them share. */
  peers: arrayOf(object({ name: idOf(parseControlName), address }), { itemsMax: 16 }),
  /**
   * Maintains an nftables packet filter for the ports of etcd and of the control peers (docs/operating/production.md).
   * Needs root.
   */
  filterPorts: optional(parseBoolean),
  /** The web interface: where its files are, and a certificate that browsers know, for the names that they ask for. */
  web: optional(
    object({
      dir: optional(path),
      certificate: optional(
        object({ certFile: path, keyFile: path, names: arrayOf(text({ charsMax: 253 }), { itemsMax: 16 }) }),
      ),
    }),
  ),
  /** The backups that this server makes by itself (core/model/backup.ts has what holds where nothing is said). */
  backup: optional(
    object({
      everyMs: optional(integer({ min: 1_000, max: 86_400_000 })),
      /** At each place, by this control node. */
      keep: optional(integer({ min: 1, max: BACKUPS_KEPT_MAX })),
      bytesMax: optional(integer({ min: 1024 * 1024 })),
      /** Copies go to this directory too; it is never made. */
      directory: optional(path),
      /** And to this bucket. */
      s3: optional(
        object({
          endpoint: text({ charsMax: 300, pattern: /^https:\/\/[^/?#@]+$/ }),
          region: text({ charsMax: 60, pattern: /^[a-z0-9-]+$/ }),
          bucket: text({ charsMax: 63, pattern: /^[a-z0-9][a-z0-9.-]+$/ }),
          prefix: text({ charsMax: 200, pattern: /^((?!\.{1,2}\/)[A-Za-z0-9._-]+\/)*$/ }),
          credentialsFile: path,
          caFile: nullable(path),
        }),
      ),
    }),
  ),
  adminTokenSha256: text({ charsMax: 64, pattern: /^[0-9a-f]{64}$/ }),
  /** The socket of the lab, which injects faults: for one-machine clusters only. */
  labSocket: optional(path),
  /** Allows crash points: for one-machine clusters only. */
  lab: optional(parseBoolean),
  /** The process kills itself at the crash point that this file names. Only with `lab`. */
  failpointFile: optional(path),
});

export type ControlConfig = Parsed<typeof parseConfig>;

/** Reads the file named by `--config`; CodedError 'bad-input' with the fault in it. */
export async function readConfig(argv: readonly string[]): Promise<ControlConfig> {
  const index = argv.indexOf('--config');
  const file = index === -1 ? undefined : argv[index + 1];
  if (file === undefined) throw new CodedError('bad-input', 'The control server needs --config FILE.');
  return parseConfig(await readJsonFile(file), file);
}
