/** The graphical console: RFB through a WebSocket, shown by noVNC. */
import RFB from '@novnc/novnc';
import { messageOf } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Frame } from './frame.ts';
import { keysOf } from './keys.ts';
import { socketUrl, untilAgain } from './ticket.ts';

const { console: texts } = TEXTS;

/** Opens the console, and again whenever it ends; never returns. */
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
      const url = await socketUrl(vm, 'vnc');
      await new Promise<void>((resolve) => {
        rfb = new RFB(frame.screen, url, { shared: true });
        rfb.scaleViewport = true;
        rfb.addEventListener('connect', () => frame.say(texts.connected));
        rfb.addEventListener('disconnect', () => resolve());
      });
      frame.say(texts.ended);
    } catch (error) {
      frame.say(messageOf(error));
    }
    rfb = null;
    await untilAgain();
  }
}
