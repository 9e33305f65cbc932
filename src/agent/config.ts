/** The agent's configuration file. Guarantees: every field was checked; an unknown field is refused. */

import { CodedError } from '../base/errors.ts';
import { type HostName, parseHostName } from '../base/ids.ts';
import { readJsonFile } from '../os/files.ts';
import { arrayOf, idOf, integer, object, oneOf, optional, type Parser, text } from '../rpc/parse.ts';

export interface AgentConfig {
  readonly name: HostName;
  readonly controlAddress: string;
  readonly storageAddress: string;
  readonly overlayAddress: string;
  /** The interface that carries the tunnels. */
  readonly overlayDevice: string;
  /** Holds the host's identity and nothing else. */
  readonly stateDir: string;
  /** On a tmpfs; every user must be able to pass through it (mode 0711 or 0755 up to the root). */
  readonly runDir: string;
  /** Memory that the host offers to VMs, in bytes. */
  readonly memoryBytes: number;
  /** Processors that the host offers to VMs: all of the machine's by default. */
  readonly vcpus?: number | undefined;
  /** `per-slot`: QEMU number n runs as user 600000 + n (needs root); `self`: as the agent's own user. */
  readonly qemuUsers: 'per-slot' | 'self';
  readonly join?: { readonly controlAddresses: readonly string[]; readonly tokenFile: string } | undefined;
  /** `auto` (the default): KVM if a probe guest really runs under it. */
  readonly accelerator?: 'auto' | 'tcg' | 'kvm' | undefined;
}

/** An IPv4 address in dotted form. */
export const parseIpv4: Parser<string> = text({
  charsMax: 15,
  pattern: /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$/,
});
const path = text({ charsMax: 200, pattern: /^\/[^\n\0]*$/ });

const parseConfig: Parser<AgentConfig> = object({
  name: idOf(parseHostName),
  controlAddress: parseIpv4,
  storageAddress: parseIpv4,
  overlayAddress: parseIpv4,
  overlayDevice: text({ charsMax: 15, pattern: /^[A-Za-z0-9_.-]+$/ }),
  stateDir: path,
  runDir: path,
  memoryBytes: integer({ min: 0 }),
  vcpus: optional(integer({ min: 1, max: 4096 })),
  qemuUsers: oneOf('per-slot', 'self'),
  join: optional(object({ controlAddresses: arrayOf(parseIpv4, { itemsMax: 16 }), tokenFile: path })),
  accelerator: optional(oneOf('auto', 'tcg', 'kvm')),
});

/** Reads the file; CodedError 'bad-input' naming the field, or 'not-found'. */
export async function readAgentConfig(file: string): Promise<AgentConfig> {
  const value = await readJsonFile(file);
  if (value === undefined) throw new CodedError('not-found', `There is no configuration file ${file}.`);
  return parseConfig(value, '');
}
