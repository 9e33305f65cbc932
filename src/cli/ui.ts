/** `gp ui`: a one-time link that logs a browser in, printed or opened. */
import { join } from 'node:path';
import { connect } from 'node:tls';
import { type ApiClient, clientTls, type Target, unreachable } from '../client/client.ts';
import { spawnDaemon } from '../os/child-process.ts';
import { withDeadline } from '../os/deadline.ts';
import { writeFileAtomic } from '../os/files.ts';
import { findContext } from './cluster-location.ts';
import type { Session } from './session.ts';

const PAGE = 'ui.html';
const CONNECT_MS = 5_000;

/** Options of `gp ui`. */
export interface UiFlags {
  readonly open?: true;
  readonly fingerprint?: true;
}

/** Makes a link to the web interface that logs its first user in, once. */
export async function logInLink(client: ApiClient, { apiUrl }: Pick<Target, 'apiUrl'>): Promise<string> {
  const { path } = await client.call(client.http.POST('/v1/session/links'));
  return `${apiUrl.replace(/\/+$/, '')}${path}`;
}

/**
 * Prints a link, or opens it in the desktop's browser; or prints the certificate's fingerprint that the browser should
 * show.
 */
export async function runUi(session: Session, { open, fingerprint }: UiFlags): Promise<void> {
  const [client, target] = [await session.client(), await session.target()];
  if (fingerprint === true) {
    session.io.out(`${await fingerprintOf(target, session.io.signal)}\n`);
    return;
  }
  const url = await logInLink(client, target);
  if (open !== true) {
    if (!(await session.printedAsData({ url }))) session.io.out(`${url}\n`);
    return;
  }
  // The link is a secret: in the arguments of a program every user of this machine would see it.
  const { dir } = await findContext(session.io, session.options.dir);
  const file = join(dir, PAGE);
  await writeFileAtomic(file, `<!doctype html><meta http-equiv="refresh" content="0; url=${url}">\n`);
  await spawnDaemon(['xdg-open', file], { env: session.io.env, cwd: dir });
  session.say('The web interface opens in your browser.');
}

/** SHA-256 of the certificate that the control node shows to browsers, as they print it. */
function fingerprintOf({ apiUrl, caPem }: Target, signal: AbortSignal): Promise<string> {
  const { hostname, port } = new URL(apiUrl);
  const asked = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port || '443'), ...clientTls(caPem) });
      socket.once('secureConnect', () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.destroy();
      });
      socket.once('error', (error) => reject(unreachable(apiUrl, error)));
    });
  return withDeadline(asked, { deadlineMs: CONNECT_MS, signal, what: `the certificate of ${apiUrl}` });
}
