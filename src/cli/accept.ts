/** `--accept --owner WHO --reason WHY --until DATE`: a person signs for a change that would otherwise be refused. */
import type { Command } from 'commander';
import type { Accept } from '../api/ties.ts';
import { CodedError } from '../base/errors.ts';
import { present } from './session.ts';
import { parseUntil } from './units.ts';

/** The options of commands that can be signed for. */
export interface AcceptOptions {
  readonly accept?: true;
  readonly owner?: string;
  readonly reason?: string;
  /** RFC 3339. */
  readonly until?: string;
}

/** Adds the options. */
export function withAccept(command: Command): Command {
  return withSignature(
    command.option('--accept', 'sign for hosts that cannot be drained or lost after this, and for ties'),
  );
}

/** Adds the options for a signature. */
export function withSignature(command: Command): Command {
  return command
    .option('--owner <who>', 'who answers for it')
    .option('--reason <why>', 'why it is accepted')
    .option('--until <date>', 'until when: 2026-12-31, or a time such as 2026-12-31T18:00:00Z', (text: string) =>
      parseUntil(text),
    );
}

/** The signature that options give; undefined if they give none. CodedError 'bad-input' if a part of it is missing. */
export function acceptOf({ accept, owner, reason, until }: AcceptOptions): Accept | undefined {
  const signature = present({ owner, reason, until });
  if (accept === true) return signatureOf(signature);
  if (Object.keys(signature).length === 0) return undefined;
  throw new CodedError('bad-input', '--owner, --reason and --until belong to --accept.', {
    advice: 'Nothing was changed. Add --accept, or leave them out.',
  });
}

/** The signature that options give. CodedError 'bad-input' if a part of it is missing. */
export function signatureOf({ owner, reason, until }: Omit<AcceptOptions, 'accept'>): Accept {
  if (owner !== undefined && reason !== undefined && until !== undefined) return { owner, reason, until };
  throw new CodedError('bad-input', 'To sign for something, --owner, --reason and --until are needed.', {
    advice: 'Nothing was changed. Say who answers for it, why, and until when.',
  });
}
