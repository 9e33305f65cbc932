/**
 * The document of one console, in a window of its own: `?vm=NAME&console=serial|vnc`. Its policy allows styles that
 * xterm.js makes; it contains only the guest's output and a line of buttons. A connection that ends is made again while
 * the VM is there: a console survives moves of the VM and changes of the leader.
 */
import { TEXTS } from '../texts/texts.ts';
import './console.css';
import { frameOf } from './frame.ts';

const { console: texts } = TEXTS;
const query = new URLSearchParams(location.search);
const vm = query.get('vm') ?? '';
const isGraphical = query.get('console') === 'vnc';

document.title = `${vm} – ${isGraphical ? texts.graphical : texts.serial}`;
const frame = frameOf(document.getElementById('console') ?? document.body, { vm, isGraphical });
if (isGraphical) {
  const { openGraphical } = await import('./graphical.ts');
  await openGraphical(vm, frame);
} else {
  const { openSerial } = await import('./serial.ts');
  await openSerial(vm, frame);
}
