/**
 * Bodies of HTTP requests that may be refused before they have ended. A server that closes a connection over something unread resets it, and
 * the client, which still sends, sees the failure of its write instead of the answer (RFC 9112, 9.6). Guarantees: who reads a body and stops
 * does not close the connection; a refusal is answered at once, and the rest of the body is read and forgotten until the client, who has the
 * answer, ends it, or its time is over.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';

/** The body as a stream of its own: destroying it leaves the request and its connection as they are. */
export function bodyOf(request: Readable): Readable {
  return Readable.from(request.iterator({ destroyOnReturn: false }), { objectMode: false });
}

/** Call it before the answer is written to a request whose body is not wanted any more. The connection ends `deadlineMs` later at the latest. */
export function forgetBody(request: IncomingMessage, response: ServerResponse, deadlineMs: number): void {
  // A request injected by a test has no connection, and one without a body is complete.
  if (request.complete !== false || request.destroyed) return;
  const { socket } = request;
  // Node would close the connection with the answer's end, over what is unread.
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
  // Whoever waited for the next part does so no more.
  request
    .removeAllListeners('readable')
    .on('data', () => undefined)
    .resume();
}
