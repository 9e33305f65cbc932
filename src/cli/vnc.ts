/**
 * `gp vm vnc`: a VM's display for a VNC viewer on this machine. Guarantees: by default only this user's programs can
 * look, through a Unix socket in a directory of mode 0700, which is removed when the command ends; with a port, every
 * user of this machine can.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { openDisplay } from '../client/console.ts';
import type { Session } from './session.ts';

const VIEWERS_MAX = 8;

/** Serves viewers until Ctrl-C. A viewer whose VM moves is disconnected, and sees it again when it connects anew. */
export async function serveDisplay(session: Session, vm: string, port: number | undefined): Promise<void> {
  const { io } = session;
  const target = await session.target();
  // Asks once before anybody is told to connect: a VM without a display is refused here.
  (await openDisplay(target, vm)).destroy();
  const dir = port === undefined ? await mkdtemp(join(tmpdir(), 'gp-vnc-')) : null;
  const open = new Set<Socket>();
  const server = createServer((viewer) => {
    open.add(viewer);
    viewer.once('close', () => open.delete(viewer));
    viewer.on('error', () => viewer.destroy());
    if (open.size > VIEWERS_MAX) viewer.destroy();
    else
      void openDisplay(target, vm)
        .then((display) => pipeline(viewer, display, viewer))
        .catch((error: unknown) => {
          if (!viewer.destroyed) io.err(`gp: ${printable(messageOf(error))}\n`);
          viewer.destroy();
        });
  });
  try {
    const where = dir === null ? { host: '127.0.0.1', port } : { path: join(dir, 'display.sock') };
    await listening(server, where);
    const address = server.address();
    const shown = typeof address === 'string' ? address : `127.0.0.1::${address?.port ?? 0}`;
    io.out(`vncviewer ${shown}\n`);
    if (io.errIsTty) io.err('The display is there until Ctrl-C.\n');
    await untilAborted(io.signal);
  } finally {
    server.close();
    for (const viewer of open) viewer.destroy();
    if (dir !== null) await rm(dir, { recursive: true, force: true });
  }
}

function listening(
  server: Server,
  where: { readonly host?: string; readonly port?: number | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => resolve());
  });
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
