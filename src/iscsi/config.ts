/** The target's configuration file, written by the storage service. */
import { parseStorageName } from '../base/ids.ts';
import { arrayOf, idOf, integer, object, optional, type Parsed, text } from '../rpc/parse.ts';

const path = text({ charsMax: 500, pattern: /^\/[^\0]*$/ });

export const parseTargetConfig = object({
  name: idOf(parseStorageName),
  /** The IPv4 address on which it listens. */
  host: text({ charsMax: 15, pattern: /^\d+\.\d+\.\d+\.\d+$/ }),
  /** 0: any that is free, for tests. */
  port: integer({ min: 0, max: 65_535 }),
  /** The path of its control socket. */
  socket: path,
  /** A directory for each disk, with `disk.raw`. */
  disksDir: path,
  /** The storage node's credentials; absent: etcd without TLS, for tests. */
  identityDir: optional(path),
  etcdEndpoints: arrayOf(text({ charsMax: 200 }), { itemsMax: 16 }),
  etcdServerName: optional(text({ charsMax: 253 })),
  /** The id of the node's present boot. It is passed in, because the target's own user need not be able to read it. */
  bootId: text({ charsMax: 100 }),
});

export type TargetConfig = Parsed<typeof parseTargetConfig>;
