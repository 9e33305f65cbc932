/**
 * The QEMU Machine Protocol's messages (QEMU's qmp-spec): one JSON object per line. Pure: text in, values out.
 * Guarantees: any chunking of the same text gives the same messages; a line has a bound; the first line that is no QMP
 * message becomes one final 'malformed', after which nothing is decoded any more, because it is unknown what was
 * missed.
 */

export interface QmpGreeting {
  readonly kind: 'greeting';
  readonly version: { readonly major: number; readonly minor: number; readonly micro: number };
  /** The distribution's own version text; may be empty. */
  readonly package: string;
  /** Capabilities that may be enabled: 'oob'. */
  readonly capabilities: readonly string[];
}

export interface QmpReturn {
  readonly kind: 'return';
  readonly id: number | undefined;
  readonly value: unknown;
}

export interface QmpErrorReply {
  readonly kind: 'error';
  /** Absent when QEMU could not parse what it got. */
  readonly id: number | undefined;
  /** GenericError, CommandNotFound, DeviceNotFound, DeviceNotActive, KVMMissingCap. */
  readonly errorClass: string;
  readonly description: string;
}

export interface QmpEvent {
  readonly kind: 'event';
  /** SHUTDOWN, STOP, RESUME, MIGRATION, BLOCK_IO_ERROR, … */
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** The host's wall clock at the event, in milliseconds since 1970; -1000 when QEMU could not tell. */
  readonly timestampMs: number;
}

export interface QmpMalformed {
  readonly kind: 'malformed';
  readonly reason: string;
}

export type QmpMessage = QmpGreeting | QmpReturn | QmpErrorReply | QmpEvent | QmpMalformed;

/** Characters of one line: far above query-qmp-schema's 300,000 and any list of block nodes that was seen. */
const QMP_LINE_LENGTH_MAX = 16 * 1024 * 1024;

/** Cuts text into lines and lines into messages. */
export class QmpDecoder {
  readonly #lineLengthMax: number;
  #parts: string[] = [];
  #length = 0;
  #broken = false;

  constructor(options: { readonly lineLengthMax?: number | undefined } = {}) {
    this.#lineLengthMax = options.lineLengthMax ?? QMP_LINE_LENGTH_MAX;
  }

  /** The messages that `text` completes, in order. */
  push(text: string): readonly QmpMessage[] {
    const messages: QmpMessage[] = [];
    let start = 0;
    while (!this.#broken) {
      const end = text.indexOf('\n', start);
      const part = text.slice(start, end === -1 ? text.length : end);
      this.#length += part.length;
      if (this.#length > this.#lineLengthMax) {
        this.#broken = true;
        messages.push({ kind: 'malformed', reason: `a line of more than ${this.#lineLengthMax} characters` });
        break;
      }
      this.#parts.push(part);
      if (end === -1) break;
      start = end + 1;
      const line = this.#parts.join('').trim();
      this.#parts = [];
      this.#length = 0;
      if (line === '') continue;
      const message = decodeMessage(line);
      this.#broken = message.kind === 'malformed';
      messages.push(message);
    }
    if (this.#broken) this.#parts = [];
    return messages;
  }
}

/** One line, without its end, as a message. */
export function decodeMessage(line: string): QmpMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return malformed('not JSON', line);
  }
  if (!isRecord(value)) return malformed('not an object', line);
  if ('event' in value) return decodeEvent(value, line);
  if ('return' in value) return { kind: 'return', id: idOf(value), value: value['return'] };
  if ('error' in value) return decodeError(value, line);
  if ('QMP' in value) return decodeGreeting(value['QMP'], line);
  return malformed('no greeting, return, error or event', line);
}

export interface QmpCommandText {
  readonly command: string;
  readonly arguments?: object | undefined;
  readonly id: number;
  /** Out of band: handled at once, before commands that wait; only few commands allow it. */
  readonly outOfBand?: boolean | undefined;
}

/** A command as the line to send. Arguments that are undefined are left out, as JSON does. */
export function encodeCommand({ command, arguments: args, id, outOfBand }: QmpCommandText): string {
  const verb = outOfBand === true ? 'exec-oob' : 'execute';
  return `${JSON.stringify({ [verb]: command, ...(args === undefined ? {} : { arguments: args }), id })}\n`;
}

function decodeGreeting(greeting: unknown, line: string): QmpMessage {
  const version = isRecord(greeting) ? greeting['version'] : undefined;
  const qemu = isRecord(version) ? version['qemu'] : undefined;
  const capabilities = isRecord(greeting) ? greeting['capabilities'] : undefined;
  if (!isRecord(version) || !isRecord(qemu) || !Array.isArray(capabilities))
    return malformed('an incomplete greeting', line);
  const { major, minor, micro } = qemu;
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number') {
    return malformed('a greeting without version', line);
  }
  return {
    kind: 'greeting',
    version: { major, minor, micro },
    package: typeof version['package'] === 'string' ? version['package'] : '',
    capabilities: capabilities.filter((name) => typeof name === 'string'),
  };
}

function decodeError(message: Record<string, unknown>, line: string): QmpMessage {
  const error = message['error'];
  if (!isRecord(error) || typeof error['class'] !== 'string' || typeof error['desc'] !== 'string') {
    return malformed('an error without class and description', line);
  }
  return { kind: 'error', id: idOf(message), errorClass: error['class'], description: error['desc'] };
}

function decodeEvent(message: Record<string, unknown>, line: string): QmpMessage {
  const { event, data, timestamp } = message;
  const seconds = isRecord(timestamp) ? timestamp['seconds'] : undefined;
  const microseconds = isRecord(timestamp) ? timestamp['microseconds'] : undefined;
  if (typeof event !== 'string' || typeof seconds !== 'number' || typeof microseconds !== 'number') {
    return malformed('an event without name or time', line);
  }
  const timestampMs = seconds * 1000 + Math.max(0, microseconds) / 1000;
  return { kind: 'event', name: event, data: isRecord(data) ? data : {}, timestampMs };
}

function idOf(message: Record<string, unknown>): number | undefined {
  return typeof message['id'] === 'number' ? message['id'] : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(what: string, line: string): QmpMalformed {
  return { kind: 'malformed', reason: `${what}: ${line.slice(0, 80)}` };
}
