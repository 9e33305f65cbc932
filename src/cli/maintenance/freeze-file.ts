/**
 * The file of an organisation's change freezes: one a line, `FROM UNTIL REASON`, times in RFC 3339 or days
 * (`2026-12-18`, which begin at midnight UTC). `#` begins a comment. Pure.
 */
import { CodedError } from '../../base/errors.ts';

const DAY = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2})$/;
const FREEZES_MAX = 64;

/** A time in which nothing begins. */
interface Freeze {
  readonly from: string;
  readonly until: string;
  readonly reason: string;
}

/** The freezes of a file. CodedError 'bad-input' names the line that is no freeze. */
export function parseFreezes(text: string): Freeze[] {
  const freezes = text.split('\n').flatMap((line, index) => {
    const [from, until, ...words] = line.replace(/#.*$/, '').trim().split(/\s+/);
    if (from === undefined || from === '') return [];
    if (until === undefined || words.length === 0) throw wrong(index, 'it is not of the form FROM UNTIL REASON');
    const freeze = { from: timeOf(index, from), until: timeOf(index, until), reason: words.join(' ').slice(0, 200) };
    if (Date.parse(freeze.from) >= Date.parse(freeze.until)) throw wrong(index, 'it ends before it begins');
    return [freeze];
  });
  if (freezes.length <= FREEZES_MAX) return freezes;
  throw new CodedError(
    'bad-input',
    `The freeze file has ${freezes.length} freezes, at most ${FREEZES_MAX} are taken.`,
    {
      advice: 'Nothing was changed. Take those out that are over.',
    },
  );
}

function timeOf(index: number, text: string): string {
  const time = DAY.test(text) ? `${text}T00:00:00Z` : text;
  if (TIME.test(time) && Number.isFinite(Date.parse(time))) return time;
  throw wrong(index, `"${text.slice(0, 40)}" is not a time such as 2026-12-18 or 2026-12-18T18:00:00+01:00`);
}

function wrong(index: number, why: string): CodedError {
  return new CodedError('bad-input', `Line ${index + 1} of the freeze file is no freeze: ${why}.`, {
    advice: 'Nothing was changed.',
  });
}
