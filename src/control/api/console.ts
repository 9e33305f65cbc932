/**
 * Serial consoles over HTTP Upgrade: after `101 Switching Protocols` the connection is the serial port, raw both ways.
 * Guarantees: same authentication and problem details as every route; back-pressure both ways; either end closing
 * closes the other; a bounded number of consoles; all end when the server closes. Moves of the VM are the backend's
 * matter.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CodedError } from '../../base/errors.ts';
import { isName } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { deadlineError } from '../../os/deadline.ts';
import type { Backend } from '../backend/backend.ts';
import type { ConsoleWish } from '../backend/consoles.ts';
import type { Authenticator } from './auth.ts';
import { demandOwnOrigin, hostOf } from './browser.ts';
import type { Principal } from './call.ts';
import type { OpenRequests } from './open-requests.ts';
import { refuseSocket } from './refusals.ts';
import { serveWebConsole } from './web-console.ts';

const CONSOLE_PROTOCOL = 'groundplane-console';
const CONSOLES_MAX = LIMITS.consoles.max;
const OPEN_MS = 10_000;
const PATH = /^\/v1\/vms\/([^/?]+)\/(console|display)(?:\?(.*))?$/;

/** Takes over a socket that asked for a protocol (`Upgrade:`) other than the console's. */
export type UpgradeHandler = (
  request: { readonly url: string; readonly headers: NodeJS.Dict<string | string[]> },
  socket: Duplex,
  head: Buffer,
) => void;

export interface ConsoleOptions {
  readonly backend: Backend;
  readonly authenticator: Authenticator;
  /** Whether clients use TLS. */
  readonly isSecure: boolean;
  /** Called for each connection whose token is valid, with the token's principal. */
  readonly onAuthenticated: (socket: Socket, principal: Principal) => void;
  readonly open: OpenRequests;
  readonly signal: AbortSignal;
}

/** Serves consoles on `server`; other protocols go to the handler of the returned map, unknown ones are refused. */
export function acceptConsoles(server: Pick<Server, 'on'>, options: ConsoleOptions): Map<string, UpgradeHandler> {
  const others = new Map<string, UpgradeHandler>();
  let consoles = 0;
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // Without a listener, an error of a socket that nobody reads would end the process.
    socket.on('error', () => socket.destroy());
    const protocol = (request.headers.upgrade ?? '').toLowerCase();
    const other = others.get(protocol);
    if (other !== undefined) {
      other({ url: request.url ?? '/', headers: request.headers }, socket, head);
      return;
    }
    consoles += 1;
    if (protocol === 'websocket') {
      const full = consoles > CONSOLES_MAX ? Promise.reject(tooMany()) : Promise.resolve();
      const onAuthenticated = (principal: Principal): void => options.onAuthenticated(request.socket, principal);
      full
        .then(() => serveWebConsole(request, socket, head, { ...options, onAuthenticated }))
        .catch((error: unknown) => refuse(socket, error))
        .finally(() => {
          consoles -= 1;
        });
      return;
    }
    serve(request, socket, head, { ...options, full: consoles > CONSOLES_MAX, known: protocol === CONSOLE_PROTOCOL })
      .catch((error: unknown) => refuse(socket, error))
      .finally(() => {
        consoles -= 1;
      });
  });
  return others;
}

const tooMany = (): CodedError =>
  new CodedError('unavailable', `${CONSOLES_MAX} consoles are open already.`, { advice: 'Close one of them.' });

async function serve(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  options: ConsoleOptions & { readonly full: boolean; readonly known: boolean },
): Promise<void> {
  const address = request.socket.remoteAddress ?? '';
  const sender = { address, host: hostOf(request.headers), isForwarded: false };
  const from = { method: 'GET', headers: request.headers, host: sender.host, isSecure: options.isSecure };
  demandOwnOrigin(from);
  const principal = await options.authenticator.principal({ from, sender });
  options.onAuthenticated(request.socket, principal);
  const [, vm, kind, query = ''] = PATH.exec(request.url ?? '') ?? [];
  if (!options.known || vm === undefined || !isName(vm)) {
    throw new CodedError('bad-input', 'There is nothing of this protocol at this path.', {
      advice: 'A console is GET /v1/vms/NAME/console with Upgrade: groundplane-console.',
    });
  }
  if (options.full) throw tooMany();
  const gone = new AbortController();
  const forget = options.open.add(principal, gone);
  socket.once('close', () => {
    forget();
    gone.abort(new CodedError('failed', 'The client went away.'));
  });
  const signal = AbortSignal.any([options.signal, gone.signal]);
  const opening = new AbortController();
  // Cleared once it is open: the signal that the backend got may end the stream as well.
  const timer = setTimeout(() => opening.abort(deadlineError(`opening the console of ${vm}`, OPEN_MS)), OPEN_MS);
  const call = { principal, signal: AbortSignal.any([signal, opening.signal]) };
  const how = wishOf(query);
  const { vms, consoles } = options.backend;
  const opened = kind === 'display' ? consoles.openDisplay(vms.find(vm), call) : consoles.open(vms.find(vm), call, how);
  const serial = await opened.finally(() => clearTimeout(timer));
  if (signal.aborted) {
    serial.destroy();
    return;
  }
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${CONSOLE_PROTOCOL}\r\n\r\n`);
  if (head.length > 0) socket.unshift(head);
  // The HTTP server's own listeners are still on it, and the pipes add theirs.
  socket.setMaxListeners(32);
  // From here on there is no answer to give: if either end fails, both are closed.
  await pipeline(socket, serial, socket, { signal }).catch(() => undefined);
  socket.destroy();
  serial.destroy();
}

/** What may be asked of a console: each parameter with its values. */
const WISHES: Readonly<Record<string, ConsoleWish>> = {
  '': {},
  'takeOver=false': {},
  'takeOver=true': { takeOver: true },
  'readOnly=always': { readOnly: 'always' },
  'readOnly=if-held': { readOnly: 'if-held' },
};

function wishOf(query: string): ConsoleWish {
  const wish = own(WISHES, query);
  if (wish !== undefined) return wish;
  throw new CodedError(
    'bad-input',
    'The query of a console is takeOver=true, readOnly=always, readOnly=if-held or nothing.',
    {
      advice: 'Nothing was changed.',
    },
  );
}

function refuse(socket: Duplex, error: unknown): void {
  const coded =
    error instanceof CodedError
      ? error
      : new CodedError('failed', 'The console could not be opened.', { cause: error, advice: 'Try again.' });
  refuseSocket(socket, coded);
}
