/** Answers, on the raw socket, bytes that are not, or no longer, an HTTP request. */
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { CodedError } from '../base/errors.ts';

/** How long a peer may take to read its answer, in ms. */
const GOODBYE_MS = 2_000;
const NOTHING = 'Nothing was changed.';

/** Converts an error of Node's HTTP parser or its timeouts (`clientError`); `status` if HTTP has a specific one. */
export function unreadable(code: string | undefined): { readonly error: CodedError; readonly status?: number } {
  const refusal = (kind: 'bad-input' | 'deadline' | 'too-large', message: string): CodedError =>
    new CodedError(kind, message, { advice: NOTHING });
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, error: refusal('too-large', 'The request’s headers are too large.') };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, error: refusal('deadline', 'The request did not come in time.') };
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { error: refusal('too-large', 'The request’s chunk extensions are too large.') };
    default:
      return { error: refusal('bad-input', 'This is no request that HTTP/1.1 has.') };
  }
}

/** Returns the error for a request with an Expect header other than "100-continue". */
export function unexpected(): CodedError {
  return new CodedError('bad-input', 'The header Expect can only be "100-continue".', { advice: NOTHING });
}

/** Writes an answer, then closes the socket; the peer's further bytes are read until it has read the answer. */
export function answerSocket(
  socket: Duplex,
  answer: { readonly status: number; readonly title: string; readonly body: string },
  headers: Readonly<Record<string, string>>,
): void {
  // No answer is possible on a failed connection, or after an answer has begun.
  const begun = (socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage?.headersSent === true;
  if (!socket.writable || begun) {
    socket.destroy();
    return;
  }
  const { status, title, body } = answer;
  const all = { ...headers, 'content-length': String(Buffer.byteLength(body)), connection: 'close' };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${title}\r\n${lines.join('')}\r\n${body}`);
  const timer = setTimeout(() => socket.destroy(), GOODBYE_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.resume();
}
