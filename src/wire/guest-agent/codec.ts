/**
 * The QEMU guest agent's messages (QEMU Guest Agent Protocol Reference): one JSON object per line, in latin1 text so
 * that a character is a byte. Pure: text in, values out.
 * Guarantees: whatever a guest sends, a reader keeps at most LINE_CHARS_MAX characters and returns only well-formed
 * messages; other lines are skipped, because a guest's channel may carry the rest of earlier conversations.
 */

import { excessOf, jsonOf } from '../../base/json.ts';

/** A guest agent's answer to a command. */
export type GuestAgentMessage =
  | { readonly kind: 'return'; readonly value: unknown }
  /** The agent refuses the command: CommandNotFound, CommandDisabled, GenericError. Both texts are the guest's. */
  | { readonly kind: 'error'; readonly errorClass: string; readonly description: string };

/** A reader's finding. `delimiter`: everything before it belongs to earlier conversations. */
export type GuestAgentToken = GuestAgentMessage | { readonly kind: 'delimiter' };

/** Characters of one line: a guest with a thousand addresses and the output of a command fit. */
const LINE_CHARS_MAX = 256 * 1024;
const JSON_LIMITS = { valuesMax: 20_000, depthMax: 16 };
/** More lines of anything else than a guest's earlier conversations leave behind. */
const RUBBISH_MAX = 1_000;
/** The byte that JSON text never has: it ends what was begun before (guest-sync-delimited). */
const DELIMITER = '\xff';

/** Cuts what a guest sends into messages. */
export class GuestAgentReader {
  #line = '';
  /** The rest of a line that is too long is left out. */
  #isTooLong = false;
  /** Several delimiters with nothing between them are one. */
  #isBehindDelimiter = false;
  #rubbish = 0;

  /**
   * Returns the messages that `text` completes, in order; nothing any more after RUBBISH_MAX lines that are no message.
   */
  push(text: string): readonly GuestAgentToken[] {
    const tokens: GuestAgentToken[] = [];
    for (const part of text.split(/(?<=\n)|(?=\xff)|(?<=\xff)/)) {
      if (this.#rubbish > RUBBISH_MAX) return tokens;
      const token = part === DELIMITER ? this.#delimit() : this.#append(part);
      if (token !== null) tokens.push(token);
    }
    return tokens;
  }

  #delimit(): GuestAgentToken | null {
    const isAnother = !this.#isBehindDelimiter;
    this.#forget();
    this.#isBehindDelimiter = true;
    return isAnother ? { kind: 'delimiter' } : null;
  }

  #append(part: string): GuestAgentToken | null {
    if (this.#line.length + part.length > LINE_CHARS_MAX) this.#isTooLong = true;
    this.#line = this.#isTooLong ? '' : this.#line + part;
    if (!part.endsWith('\n')) return null;
    const isBlank = !this.#isTooLong && this.#line.trim() === '';
    const message = this.#isTooLong || isBlank ? null : decodeGuestAgentMessage(this.#line);
    this.#forget();
    if (isBlank) return null;
    this.#isBehindDelimiter = false;
    if (message === null) this.#rubbish++;
    return message;
  }

  #forget(): void {
    this.#line = '';
    this.#isTooLong = false;
  }
}

/** One line as a message; null if it is none. */
export function decodeGuestAgentMessage(line: string): GuestAgentMessage | null {
  const value = excessOf(line, JSON_LIMITS) === null ? jsonOf(line) : undefined;
  if (!isRecord(value)) return null;
  if (Object.hasOwn(value, 'return')) return { kind: 'return', value: value['return'] };
  const error = Object.hasOwn(value, 'error') ? value['error'] : undefined;
  if (!isRecord(error)) return null;
  const { class: errorClass, desc } = error;
  return typeof errorClass === 'string' && typeof desc === 'string'
    ? { kind: 'error', errorClass, description: desc }
    : null;
}

/** A command as the line to send, in ASCII: other characters are escaped, as JSON allows. */
export function encodeGuestAgentCommand(command: string, args?: object): string {
  const text = JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) });
  const ascii = text.replaceAll(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return `${ascii}\n`;
}

/** The bytes that begin a conversation: they end an unfinished earlier one, and ask for `id` behind a delimiter. */
export function encodeGuestAgentSync(id: number): string {
  return `${DELIMITER}${encodeGuestAgentCommand('guest-sync-delimited', { id })}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
