/** Text as key strokes for the guest. Pure. X11 keysyms: RFC 6143, section 7.5.4. */

/** One key, pressed and released. */
export interface Key {
  readonly keysym: number;
  /** The position of the key on the keyboard; null: the guest finds it by the keysym. */
  readonly code: string | null;
}

const RETURN = 0xff0d;
const TAB = 0xff09;
/** Keysyms of characters beyond Latin-1 are their code point with this bit. */
const UNICODE = 0x1000000;
const CHARACTERS_MAX = 4_096;

/** The keys that write the text; characters that no key writes are left out. */
export function keysOf(text: string): readonly Key[] {
  return Array.from(text.replaceAll('\r\n', '\n'))
    .slice(0, CHARACTERS_MAX)
    .flatMap((character) => {
      const point = character.codePointAt(0) ?? 0;
      if (character === '\n' || character === '\r') return { keysym: RETURN, code: 'Enter' };
      if (character === '\t') return { keysym: TAB, code: 'Tab' };
      if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return [];
      return { keysym: point < 0x100 ? point : UNICODE + point, code: null };
    });
}
