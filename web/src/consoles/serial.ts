/** The serial console: what the guest writes, and keys to it, as bytes. */
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { messageOf } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Frame } from './frame.ts';
import { socketUrl, untilAgain } from './ticket.ts';

const { console: texts } = TEXTS;
const LINES_KEPT = 10_000;

/** Opens the console, and again whenever it ends; never returns. */
export async function openSerial(vm: string, frame: Frame): Promise<never> {
  const terminal = new Terminal({ scrollback: LINES_KEPT, fontSize: 14, convertEol: false });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(frame.screen);
  fit.fit();
  new ResizeObserver(() => fit.fit()).observe(frame.screen);
  terminal.focus();
  let takeOver = false;
  let wake: () => void = () => undefined;
  frame.button(texts.takeOver, () => {
    takeOver = true;
    wake();
  });
  for (;;) {
    frame.say(texts.connecting);
    try {
      await session(await socketUrl(vm, 'serial', takeOver), terminal, frame);
      frame.say(texts.ended);
    } catch (error) {
      frame.say(messageOf(error));
    }
    takeOver = false;
    await Promise.race([untilAgain(), new Promise<void>((resolve) => (wake = resolve))]);
  }
}

/** One connection, until it ends. */
function session(url: string, terminal: Terminal, frame: Frame): Promise<void> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    const keys = terminal.onData((text) => socket.send(new TextEncoder().encode(text)));
    socket.onopen = () => frame.say(texts.connected);
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) =>
      terminal.write(typeof data === 'string' ? data : new Uint8Array(data));
    socket.onclose = ({ reason }) => {
      keys.dispose();
      if (reason !== '') terminal.writeln(`\r\n[${reason}]`);
      resolve();
    };
  });
}
