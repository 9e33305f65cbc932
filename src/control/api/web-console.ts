/**
 * Consoles in a browser, over WebSocket (RFC 6455): bytes of the serial port, or of the display (RFB, RFC 6143), as
 * binary messages both ways.
 *
 * Guarantees: a ticket, which is good once, is the only permission, and a page of another origin cannot use it either:
 * without it the answer has problem details, and the connection becomes no WebSocket. A console that cannot be opened is
 * a WebSocket that is closed at once, with the reason, because browsers show no page what a refusal says; back-pressure
 * both ways; a browser that is gone without a word is noticed within a minute.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { CodedError } from '../../base/errors.ts';
import { isName } from '../../base/ids.ts';
import { deadlineError } from '../../os/deadline.ts';
import type { Backend } from '../backend/backend.ts';
import type { ConsoleWish } from '../backend/consoles.ts';
import { demandOwnOrigin, hostOf } from './browser.ts';
import type { Principal } from './call.ts';
import type { OpenRequests } from './open-requests.ts';

const PATH = /^\/v1\/vms\/([^/?]+)\/(serial|vnc)\?ticket=([A-Za-z0-9_-]{1,128})$/;
const OPEN_MS = 10_000;
/** Larger messages than people and clipboards make end the connection. */
const MESSAGE_BYTES_MAX = 64 * 1024;
const PING_MS = 20_000;
/** How long a browser may take to read the last output of a console that ended, in ms. */
const LAST_WORDS_MS = 2_000;
const noop = (): void => undefined;
/** Close codes of RFC 6455: an orderly end; and ours: the display continues on another host, the console is refused. */
const ENDED = 1_000;
const MOVED = 4_001;
const REFUSED = 4_002;
/** The longest text beside a close code, in bytes (RFC 6455, 5.5). */
const REASON_BYTES_MAX = 123;

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: MESSAGE_BYTES_MAX,
  perMessageDeflate: false,
  clientTracking: false,
});

export interface WebConsoleOptions {
  readonly backend: Backend;
  readonly isSecure: boolean;
  /** Called once the ticket is found to be valid. */
  readonly onAuthenticated: (principal: Principal) => void;
  readonly open: OpenRequests;
  readonly signal: AbortSignal;
}

/** Serves one console until either end closes. Throws a CodedError to refuse, before anything was answered. */
export async function serveWebConsole(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  options: WebConsoleOptions,
): Promise<void> {
  const { backend, isSecure, open } = options;
  demandOwnOrigin({ method: 'GET', headers: request.headers, host: hostOf(request.headers), isSecure });
  const [, vm = '', kind = 'serial', ticket = ''] = PATH.exec(request.url ?? '') ?? [];
  if (ticket === '' || !isName(vm))
    throw new CodedError('bad-input', 'There is no WebSocket at this path.', {
      advice: 'POST /v1/vms/NAME/console-tickets returns the path of a console.',
    });
  const gone = new AbortController();
  socket.once('close', () => gone.abort(new CodedError('failed', 'The browser went away.')));
  const opening = new AbortController();
  const timer = setTimeout(() => opening.abort(deadlineError(`opening the console of ${vm}`, OPEN_MS)), OPEN_MS);
  const signal = AbortSignal.any([options.signal, gone.signal]);
  const wanted = { vm, console: kind === 'vnc' ? 'vnc' : 'serial' } as const;
  let forget = (): void => undefined;
  try {
    const call = { signal: AbortSignal.any([signal, opening.signal]) };
    const { principal, wish } = await backend.sessions.useConsoleTicket(ticket, wanted, call);
    options.onAuthenticated(principal);
    forget = open.add(principal, gone);
    const opened = await openConsole(backend, wanted, { ...call, principal, wish }).catch((error: unknown) => {
      if (error instanceof CodedError && !signal.aborted) return error;
      throw error;
    });
    clearTimeout(timer);
    if (opened instanceof CodedError) await refuseOpened(request, socket, head, opened);
    else await attach(request, socket, head, { guest: opened, signal });
  } finally {
    clearTimeout(timer);
    forget();
  }
}

function openConsole(
  { vms, consoles }: Backend,
  { vm, console }: { readonly vm: string; readonly console: 'serial' | 'vnc' },
  { wish, ...call }: { readonly principal: Principal; readonly signal: AbortSignal; readonly wish: ConsoleWish },
): Promise<Duplex> {
  const record = vms.find(vm);
  return console === 'vnc' ? consoles.openDisplay(record, call) : consoles.open(record, call, wish);
}

/** Makes the connection a WebSocket; null: the handshake was not valid. */
function upgraded(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<WebSocket | null> {
  return new Promise((resolve) => {
    // The library answers an invalid handshake, and no callback runs.
    socket.once('close', () => resolve(null));
    sockets.handleUpgrade(request, socket, head, (opened) => resolve(opened));
  });
}

/** Makes the connection a WebSocket that says why there is no console, and nothing else. */
async function refuseOpened(request: IncomingMessage, socket: Duplex, head: Buffer, error: CodedError): Promise<void> {
  const webSocket = await upgraded(request, socket, head);
  if (webSocket === null) return;
  webSocket.on('error', noop);
  let reason = error.message;
  while (Buffer.byteLength(reason) > REASON_BYTES_MAX) reason = reason.slice(0, -1);
  webSocket.close(REFUSED, reason);
}

/** Makes the connection a WebSocket and passes bytes on until either end closes. */
async function attach(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  { guest, signal }: { readonly guest: Duplex; readonly signal: AbortSignal },
): Promise<void> {
  if (signal.aborted) {
    guest.destroy();
    return;
  }
  const webSocket = await upgraded(request, socket, head);
  if (webSocket === null) {
    guest.destroy();
    return;
  }
  const stopPings = keepAlive(webSocket);
  const stream = createWebSocketStream(webSocket);
  const moved = once(guest, 'moved').then(() => true);
  const ends = [once(stream, 'close'), once(guest, 'end'), once(guest, 'close'), once(signal, 'abort')];
  for (const each of [stream, guest]) each.on('error', () => each.destroy());
  stream.pipe(guest, { end: false });
  guest.pipe(stream, { end: false });
  // The close code gives the reason: the viewer reopens a display that moved at once.
  const isMoved = await Promise.race([moved, ...ends.map((end) => end.then(() => false))]).catch(() => false);
  if (stream.writableLength > 0)
    await once(stream, 'drain', { signal: AbortSignal.timeout(LAST_WORDS_MS) }).catch(noop);
  stopPings();
  webSocket.close(isMoved ? MOVED : ENDED, isMoved ? 'moved' : '');
  guest.destroy();
}

/** Asks the browser whether it is still there, and ends the connection where it does not answer. */
function keepAlive(webSocket: WebSocket): () => void {
  let isThere = true;
  webSocket.on('pong', () => {
    isThere = true;
  });
  const timer = setInterval(() => {
    if (!isThere) webSocket.terminate();
    isThere = false;
    webSocket.ping();
  }, PING_MS);
  webSocket.once('close', () => clearInterval(timer));
  return () => clearInterval(timer);
}
