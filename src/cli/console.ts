/**
 * A VM's serial console in this terminal. Guarantees: the terminal is in raw mode only while attached, and is restored
 * at whichever end: Ctrl-], the guest's, an error, a signal, the end of the process.
 */
import type { Duplex } from 'node:stream';
import { openConsole } from '../client/console.ts';
import type { Io } from './io.ts';
import type { Session } from './session.ts';

/** Ctrl-], as in telnet and virsh. */
const LEAVE = 0x1d;

/**
 * Attaches to the console until Ctrl-], the end of the console or a signal; moves of the VM do not end it. Without a
 * terminal, input is passed on and output printed. `how`: as `openConsole`.
 */
export async function attachConsole(
  session: Session,
  vm: string,
  how: { readonly takeOver?: boolean; readonly readOnly?: boolean },
): Promise<void> {
  const { io } = session;
  const serial = await openConsole(await session.target(), vm, how);
  const raw = rawMode(io);
  if (raw !== null) io.err(`Connected to ${vm}. Ctrl-] leaves.\r\n`);
  try {
    await attached(io, serial, raw !== null);
  } finally {
    raw?.restore();
    serial.destroy();
  }
  if (raw !== null) io.err('\r\nLeft the console; the VM runs on.\n');
}

function attached(io: Io, serial: Duplex, isTerminal: boolean): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { stdin } = io;
  const leave = (): void => resolve();
  const send = (chunk: Buffer | string): void => {
    const bytes = Buffer.from(chunk);
    const at = isTerminal ? bytes.indexOf(LEAVE) : -1;
    const passed = at < 0 ? bytes : bytes.subarray(0, at);
    if (passed.length > 0 && !serial.write(passed)) stdin.pause();
    if (at >= 0) resolve();
  };
  const resume = (): unknown => stdin.resume();
  serial.on('data', (chunk: Buffer) => io.out(chunk));
  serial.on('drain', resume);
  serial.once('end', leave);
  serial.once('close', leave);
  serial.once('error', reject);
  stdin.on('data', send);
  io.signal.addEventListener('abort', leave, { once: true });
  if (io.signal.aborted) leave();
  return promise.finally(() => {
    stdin.removeListener('data', send);
    stdin.pause();
    serial.removeListener('drain', resume);
    io.signal.removeEventListener('abort', leave);
  });
}

/** Raw mode if standard input is a terminal; null if it is none. */
function rawMode({ stdin }: Io): { restore(): void } | null {
  if (stdin.isTTY !== true || stdin.setRawMode === undefined) return null;
  const restore = (): void => {
    process.removeListener('exit', restore);
    stdin.setRawMode?.(false);
  };
  process.once('exit', restore);
  stdin.setRawMode(true);
  return { restore };
}
