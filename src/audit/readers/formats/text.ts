/** Bytes to text: UTF-8, or UTF-16 as Windows PowerShell writes it. */
import { Unreadable } from '../document.ts';

const FIX = 'Export it again, in PowerShell with `| Out-File -Encoding utf8`.';

/** Decodes the text and removes its byte order mark. Throws `Unreadable` for bytes that are not text. */
export function textOf(bytes: Uint8Array, file: string): string {
  const encoding = encodingOf(bytes);
  if (encoding !== 'utf-8' && bytes.length % 2 !== 0)
    throw new Unreadable(file, 'the UTF-16 text ends in the middle of a character', FIX);
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    if (encoding !== 'utf-8') throw new Unreadable(file, 'the UTF-16 text is damaged', FIX);
    // Spreadsheet programs in Western Europe save CSV in Windows-1252.
    if (bytes.includes(0)) throw new Unreadable(file, 'the file is binary, not text', FIX);
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

function encodingOf(bytes: Uint8Array): 'utf-8' | 'utf-16le' | 'utf-16be' {
  const [first, second, third, fourth] = bytes;
  if (first === 0xff && second === 0xfe) return 'utf-16le';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  if (first !== 0 && second === 0 && third !== 0 && fourth === 0) return 'utf-16le';
  if (first === 0 && second !== 0 && third === 0 && fourth !== 0) return 'utf-16be';
  return 'utf-8';
}
