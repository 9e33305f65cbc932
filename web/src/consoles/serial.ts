/** The serial console: what the guest writes, and keys to it, as bytes. */
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { messageOf } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Frame } from './frame.ts';
import { type Ended, openSocket, untilAgain, type Wish } from './ticket.ts';

const { console: texts } = TEXTS;
const LINES_KEPT = 10_000;
const READ_IF_HELD: Wish = { readOnly: 'if-held' };

/** Opens the console, and again whenever it ends; never returns. */
export async function openSerial(vm: string, frame: Frame): Promise<never> {
  const terminal = new Terminal({ scrollback: LINES_KEPT, fontSize: 14, convertEol: false });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(frame.screen);
  fit.fit();
  new ResizeObserver(() => fit.fit()).observe(frame.screen);
  terminal.focus();
  const next = { wish: READ_IF_HELD as Wish };
  let socket: WebSocket | null = null;
  let wake: () => void = () => undefined;
  frame.button(texts.takeOver, () => {
    next.wish = { takeOver: true };
    socket?.close();
    terminal.focus();
    wake();
  });
  for (;;) {
    frame.say(texts.connecting);
    try {
      const { wish } = next;
      next.wish = READ_IF_HELD;
      socket = await openSocket(vm, 'serial', wish);
      // Somebody asked for it in another way meanwhile: that is not left for the end of this connection.
      if (next.wish !== READ_IF_HELD) socket.close();
      const { reason } = await session(socket, terminal, frame);
      frame.say(reason === '' ? texts.ended : reason);
    } catch (error) {
      frame.say(messageOf(error));
    }
    if (next.wish !== READ_IF_HELD) continue;
    await Promise.race([untilAgain(), new Promise<void>((resolve) => (wake = resolve))]);
  }
}

/** One connection, until it ends. */
function session(socket: WebSocket, terminal: Terminal, frame: Frame): Promise<Ended> {
  return new Promise((resolve) => {
    const keys = terminal.onData((text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(new TextEncoder().encode(text));
    });
    socket.onopen = () => frame.say(texts.connected);
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) =>
      terminal.write(typeof data === 'string' ? data : new Uint8Array(data));
    socket.onclose = ({ code, reason }) => {
      keys.dispose();
      resolve({ code, reason });
    };
  });
}
