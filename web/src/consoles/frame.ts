/** The frame of a console: its state, and buttons. */
import { TEXTS } from '../texts/texts.ts';

const { console: texts } = TEXTS;

/** The parts of the document. */
export interface Frame {
  /** The element for the console. */
  readonly screen: HTMLElement;
  /** Shows the state of the connection. */
  readonly say: (text: string) => void;
  /** Adds a button. */
  readonly button: (title: string, act: () => void) => void;
}

/** Makes the document's parts. */
export function frameOf(
  root: HTMLElement,
  { vm, isGraphical }: { readonly vm: string; readonly isGraphical: boolean },
): Frame {
  const bar = document.createElement('header');
  const title = document.createElement('h1');
  title.textContent = `${vm}, ${isGraphical ? texts.graphical : texts.serial}`;
  const state = document.createElement('span');
  state.setAttribute('role', 'status');
  bar.append(title, state);
  const screen = document.createElement('main');
  root.append(bar, screen);
  const button = (text: string, act: () => void): void => {
    const element = document.createElement('button');
    element.type = 'button';
    element.textContent = text;
    element.addEventListener('click', act);
    bar.append(element);
  };
  button(texts.fullScreen, () => void document.documentElement.requestFullscreen());
  const say = (text: string): void => {
    state.textContent = text;
  };
  return { screen, button, say };
}
