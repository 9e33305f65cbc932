/** One line there and one answer back over a Unix socket, a connection for each. */
import { connect } from 'node:net';
import { CodedError } from '../base/errors.ts';

interface ExchangeOptions {
  readonly signal: AbortSignal;
  /** More than this is no answer: CodedError 'too-large'. */
  readonly bytesMax: number;
}

/**
 * Resolves with all that came until the other side ended, whole or not. Rejects with the socket's error, or with the
 * signal's reason.
 */
export function exchangeLine(path: string, line: string, { signal, bytesMax }: ExchangeOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    let text = '';
    const end = (finish: () => void): void => {
      socket.destroy();
      finish();
    };
    signal.addEventListener('abort', () => end(() => reject(signal.reason)), { once: true });
    socket.setEncoding('utf8');
    socket.once('connect', () => socket.write(`${line}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.length > bytesMax) end(() => reject(new CodedError('too-large', 'The answer is too long.')));
    });
    socket.once('error', (error) => end(() => reject(error)));
    socket.once('end', () => end(() => resolve(text)));
  });
}
