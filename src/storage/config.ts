/** The storage service's configuration file. */

import { parseStorageName } from '../base/ids.ts';
import { arrayOf, idOf, integer, object, optional, type Parsed, parseBoolean, text } from '../rpc/parse.ts';

const address = text({ charsMax: 45, pattern: /^[0-9a-fA-F.:]+$/ });
const path = text({ charsMax: 500, pattern: /^\/[^\0]*$/ });
const endpoint = text({ charsMax: 200, pattern: /^(https:\/\/)?[^/\s]+:\d+$/ });

export const parseStorageConfig = object({
  name: idOf(parseStorageName),
  /** The address at which orders arrive. */
  controlAddress: address,
  /** The IPv4 address at which disks are served. */
  storageAddress: text({ charsMax: 15, pattern: /^\d+\.\d+\.\d+\.\d+$/ }),
  /** Identity. */
  stateDir: path,
  poolDir: path,
  /** Sockets and credentials of daemons; lost at a reboot. */
  runDir: path,
  etcdEndpoints: arrayOf(endpoint, { itemsMax: 16 }),
  /** The name in the etcd members' certificates; by default each member's address is verified. */
  etcdServerName: optional(text({ charsMax: 253 })),
  /** How to get an identity if there is none yet. */
  join: optional(object({ controlAddresses: arrayOf(address, { itemsMax: 16 }), tokenFile: path })),
  /** Free space that creations leave alone; 1 GiB, or a tenth of a smaller pool. */
  poolReserveBytes: optional(integer({ min: 0 })),
  nvramTemplate: optional(path),
  /** Maintains an nftables packet filter for this node's ports (docs/operating/production.md). Needs root. */
  filterPorts: optional(parseBoolean),
});

export type StorageConfig = Parsed<typeof parseStorageConfig>;
