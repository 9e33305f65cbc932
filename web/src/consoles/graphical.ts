/** The graphical console: RFB through a WebSocket, shown by noVNC. */
import RFB from '@novnc/novnc';
import { messageOf } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Frame } from './frame.ts';
import { keysOf } from './keys.ts';
import { type Ended, openSocket, untilAgain } from './ticket.ts';

const { console: texts } = TEXTS;
/** The close code that says that the VM goes on as another incarnation. */
const MOVED = 4_001;

/** Opens the console, and again whenever it ends, at once where the VM moved; never returns. */
export async function openGraphical(vm: string, frame: Frame): Promise<never> {
  let rfb: RFB | null = null;
  frame.button(texts.ctrlAltDel, () => rfb?.sendCtrlAltDel());
  frame.button(texts.paste, () => void paste());
  const paste = async (): Promise<void> => {
    const text = await navigator.clipboard.readText();
    for (const { keysym, code } of keysOf(text)) rfb?.sendKey(keysym, code);
  };
  for (;;) {
    frame.say(texts.connecting);
    try {
      const socket = await openSocket(vm, 'vnc');
      const ended = await session(socket, frame, (opened) => {
        rfb = opened;
      });
      frame.say(ended.reason === '' || ended.code === MOVED ? texts.ended : ended.reason);
      rfb = null;
      // The VM is there already: the next picture takes the place of the last one.
      if (ended.code === MOVED) continue;
    } catch (error) {
      frame.say(messageOf(error));
    }
    await untilAgain();
  }
}

/** One connection, until it ends. The last picture stays until there is another one. */
function session(socket: WebSocket, frame: Frame, onOpened: (rfb: RFB) => void): Promise<Ended> {
  const { screen, say } = frame;
  const place = document.createElement('div');
  place.className = 'display';
  // Below the last picture.
  screen.prepend(place);
  let ended: Ended = { code: 0, reason: '' };
  socket.addEventListener('close', ({ code, reason }) => {
    ended = { code, reason };
  });
  const rfb = new RFB(place, socket, { shared: true });
  rfb.scaleViewport = true;
  onOpened(rfb);
  let canvas: HTMLCanvasElement | null = null;
  rfb.addEventListener('connect', () => {
    canvas = place.querySelector('canvas');
    for (const other of [...screen.children]) if (other !== place) other.remove();
    rfb.focus();
    say(texts.connected);
  });
  return new Promise((resolve) => {
    rfb.addEventListener('disconnect', () => {
      // The library takes the canvas away.
      if (canvas === null) place.remove();
      else place.replaceChildren(canvas);
      resolve(ended);
    });
  });
}
