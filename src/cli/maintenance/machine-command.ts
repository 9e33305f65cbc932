/**
 * A command that people give for work on machines, with a machine filled in. Guarantees: the shell reads the result, so
 * nothing comes into it from an answer of the API but what is the name of a host, or an IP address.
 */
import { isIP } from 'node:net';
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';

/** The words that a command may name in braces. */
export interface MachineWords {
  readonly host: string;
  /** On the control network; null: not known. */
  readonly address: string | null;
  /** As people gave it; undefined: the command knows no package. */
  readonly package?: string | undefined;
}

/**
 * Returns the command for one machine. CodedError 'bad-input' for a machine whose name is none; 'conflict' if the command
 * needs an address, and the machine has none.
 */
export function fillIn(command: string, words: MachineWords): string {
  const host = parseHostName(words.host);
  return command.replaceAll(/\{(host|address|package)\}/g, (named, word: string) => {
    if (word === 'host') return host;
    if (word === 'package') return words.package ?? named;
    if (isIP(words.address ?? '') !== 0) return words.address ?? '';
    throw new CodedError('conflict', `${host} has no address that a command can be given: "${words.address ?? ''}".`, {
      advice: 'Nothing was changed there. Use {host} in the command, or mend the record of the machine.',
    });
  });
}

/** Returns the command with its package, and the other words left for each machine: as a roll records it. */
export function withPackage(command: string, file: string): string {
  return command.replaceAll('{package}', () => file);
}
