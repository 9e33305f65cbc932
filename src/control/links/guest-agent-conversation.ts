/**
 * A conversation with the agent inside a guest, over a stream to its port.
 * Guarantees, whatever the guest sends: it is no answer until the guest has repeated a number that was never sent
 * before, behind a delimiter; then each command gets the message that follows it; a guest that sends BYTES_MAX in one
 * conversation, or closes, ends it. The caller sets deadlines: destroying the stream ends every wait.
 */
import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import {
  encodeGuestAgentCommand,
  encodeGuestAgentSync,
  GuestAgentReader,
  type GuestAgentToken,
} from '../../wire/guest-agent/codec.ts';

const BYTES_MAX = 512 * 1024;
const WORDS_CHARS_MAX = 200;
const SYNC_ID_MAX = 2 ** 47;

/** The agent is there and does not do what it was asked. */
export class GuestRefusal extends CodedError {
  constructor(message: string) {
    super('failed', message);
  }
}

/** See the module's comment. */
export class GuestAgentConversation {
  readonly #stream: Duplex;
  readonly #reader = new GuestAgentReader();
  readonly #tokens: GuestAgentToken[] = [];
  #bytes = 0;
  #failure: CodedError | null = null;
  #wake: () => void = () => undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('error', () => this.#fail('The connection to the guest agent failed.'));
    stream.once('close', () => this.#fail('The connection to the guest agent was closed.'));
  }

  /** Makes sure that an agent listens and that the following answers are for us. CodedError 'unavailable'. */
  async begin(): Promise<void> {
    const id = randomInt(1, SYNC_ID_MAX);
    this.#stream.write(encodeGuestAgentSync(id), 'latin1');
    for (let isBehindDelimiter = false; ; ) {
      const token = await this.#next();
      if (isBehindDelimiter && token.kind === 'return' && token.value === id) return;
      isBehindDelimiter = token.kind === 'delimiter';
    }
  }

  /** The agent's result. GuestRefusal; CodedError 'unavailable'. */
  async execute(command: string, args?: object): Promise<unknown> {
    this.#stream.write(encodeGuestAgentCommand(command, args), 'latin1');
    const token = await this.#next();
    if (token.kind === 'return') return token.value;
    if (token.kind === 'delimiter') throw new GuestRefusal(`The guest agent gave no valid answer to ${command}.`);
    const words = printable(token.description.slice(0, WORDS_CHARS_MAX));
    throw new GuestRefusal(`The guest agent refuses ${command}: ${words}`);
  }

  async #next(): Promise<GuestAgentToken> {
    for (;;) {
      const token = this.#tokens.shift();
      if (token !== undefined) return token;
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > BYTES_MAX) {
      this.#fail('The guest sends more than an agent says.');
      this.#stream.destroy();
      return;
    }
    this.#tokens.push(...this.#reader.push(chunk.toString('latin1')));
    this.#wake();
  }

  #fail(message: string): void {
    this.#failure ??= new CodedError('unavailable', message);
    this.#wake();
  }
}
