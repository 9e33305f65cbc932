/**
 * Bodies of HTTP requests that may be refused before they have ended. A server that closes a connection with unread
 * bytes resets it, and the client, which is still sending, sees a failed write instead of the answer (RFC 9112, 9.6).
 * Guarantees: a reader that stops does not close the connection; a refusal is answered at once, and the rest of the
 * body is read and discarded until the client ends it or the deadline passes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';

/** Returns the body as a separate stream: destroying that stream leaves the request and its connection open. */
export function bodyOf(request: Readable): Readable {
  return Readable.from(request.iterator({ destroyOnReturn: false }), { objectMode: false });
}

/**
 * Discards the rest of a request's body; call it before writing the answer. The connection ends at most `deadlineMs`
 * later.
 */
export function forgetBody(request: IncomingMessage, response: ServerResponse, deadlineMs: number): void {
  // A request that a test injects has no connection; a request without a body is complete.
  if (request.complete !== false || request.destroyed) return;
  const { socket } = request;
  // Node would close the connection at the end of the answer, because of the unread body.
  const isLast = !response.shouldKeepAlive;
  response.shouldKeepAlive = true;
  const timer = setTimeout(() => socket.destroy(), deadlineMs);
  const isOver = (): void => {
    clearTimeout(timer);
    socket.off('close', isOver);
  };
  socket.once('close', isOver);
  request.once('end', () => {
    isOver();
    if (isLast && response.writableFinished) socket.end();
    else if (isLast) response.once('finish', () => socket.end());
  });
  // A reader that waits for the next chunk stops waiting.
  request
    .removeAllListeners('readable')
    .on('data', () => undefined)
    .resume();
}
