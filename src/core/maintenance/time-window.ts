/**
 * Weekly windows of time as people write them: `Mon-Fri 08:00-18:00 Europe/London`. Pure: the rules of time zones come
 * with JavaScript's own `Intl`, no clock is read.
 *
 * - Days are those on which a window begins, one by one or as ranges: `Sat`, `Mon,Wed`, `Fri-Mon`, `Mon-Thu,Sat`.
 * - A window that ends no later than it begins ends on the next day: `Sat 22:00-04:00` ends on Sunday. `24:00` is the
 *   end of a day.
 * - A time that the clocks skip (summer time begins) is the instant of the skip: a window that lies inside the skip
 *   does not take place that day.
 * - A time that comes twice (summer time ends): a window begins at its first coming. When it ends is the caller's
 *   choice: at the first for what may be done only inside a window, at the second for what must not be done inside one.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const MINUTES_OF_DAY = 24 * 60;
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
/**
 * How many days ahead the next opening or closing of a window is looked for. A weekly window takes place at least once
 * in 15 days, even if the clocks skip it once.
 */
const HORIZON_DAYS = 15;
/** Characters of a window's text. The longest name of a zone has 32. */
const TEXT_LENGTH_MAX = 100;

/** A weekly window. Made by `parseTimeWindow` only. */
export interface TimeWindow {
  /** Whether it begins on each day, Sunday first. */
  readonly days: readonly boolean[];
  /** Minutes after midnight, 0 to 1439. */
  readonly startMinute: number;
  /** Minutes after the midnight before its beginning: more than `startMinute`, at most a day more. */
  readonly endMinute: number;
  /** Name in the IANA time zone database, as it was written. */
  readonly zone: string;
}

/** Which of two instants with the same wall time ends a window. */
export type RepeatedTime = 'first' | 'second';

/** Whether an instant is inside a window. */
export interface WindowState {
  readonly isInside: boolean;
  /** Unix ms of the next change; null: there is none within 15 days. */
  readonly changesAt: number | null;
}

/** Reads a window; `reason` says why the text is no window. */
export function parseTimeWindow(text: string): { readonly window: TimeWindow } | { readonly reason: string } {
  if (text.length > TEXT_LENGTH_MAX) return { reason: `It has more than ${TEXT_LENGTH_MAX} characters.` };
  const parts = text.trim().split(/ +/);
  const [dayText, timeText, zone] = parts;
  if (parts.length !== 3 || dayText === undefined || timeText === undefined || zone === undefined)
    return { reason: 'It is not of the form "Mon-Fri 08:00-18:00 Europe/London".' };
  const days = parseDays(dayText);
  if (days === null) return { reason: `"${dayText}" are not days, as in "Mon-Fri" or "Sat,Sun".` };
  const times = parseTimes(timeText);
  if (times === null) return { reason: `"${timeText}" is not a span of time, as in "08:00-18:00" or "22:00-04:00".` };
  if (formatOf(zone) === null) return { reason: `"${zone}" is not a time zone such as "Europe/London" or "UTC".` };
  return { window: { days, ...times, zone } };
}

/** Whether an instant (Unix ms) is inside any of some windows, and when that changes. */
export function windowState(windows: readonly TimeWindow[], at: number, repeated: RepeatedTime): WindowState {
  let end = at;
  // Windows that touch are one: each round looks on from the end of what is known.
  for (;;) {
    const next = latestEnd(windows, end, repeated);
    if (next === null) break;
    if (next > at + HORIZON_DAYS * DAY_MS) return { isInside: true, changesAt: null };
    end = next;
  }
  if (end > at) return { isInside: true, changesAt: end };
  const starts = windows.map((window) => nextStart(window, at, repeated)).filter((start) => start !== null);
  return { isInside: false, changesAt: starts.length === 0 ? null : Math.min(...starts) };
}

/** The longest time in ms outside all windows within the week that follows an instant (Unix ms). */
export function longestTimeOutside(windows: readonly TimeWindow[], from: number, repeated: RepeatedTime): number {
  const end = from + 7 * DAY_MS;
  let longest = 0;
  for (let at = from; at < end; ) {
    const { isInside, changesAt } = windowState(windows, at, repeated);
    const until = Math.min(changesAt ?? end, end);
    if (!isInside) longest = Math.max(longest, until - at);
    at = until;
  }
  return longest;
}

function parseDays(text: string): readonly boolean[] | null {
  const days = DAYS.map(() => false);
  for (const range of text.split(',')) {
    const [first, last, more] = range.split('-').map(dayOf);
    if (first === undefined || first === -1 || last === -1 || more !== undefined) return null;
    for (let day = first; ; day = (day + 1) % 7) {
      days[day] = true;
      if (day === (last ?? first)) break;
    }
  }
  return days;
}

function dayOf(name: string): number {
  return DAYS.findIndex((day) => day.toLowerCase() === name.toLowerCase());
}

function parseTimes(text: string): Pick<TimeWindow, 'startMinute' | 'endMinute'> | null {
  const match = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(text);
  if (match === null) return null;
  const [startHour = 0, startMin = 0, endHour = 0, endMin = 0] = match.slice(1).map(Number);
  const [startMinute, endMinute] = [startHour * 60 + startMin, endHour * 60 + endMin];
  if (startMin > 59 || endMin > 59 || startMinute >= MINUTES_OF_DAY || endMinute > MINUTES_OF_DAY) return null;
  if (startMinute === endMinute) return null;
  return { startMinute, endMinute: endMinute > startMinute ? endMinute : endMinute + MINUTES_OF_DAY };
}

/** The latest end of the windows that contain an instant; null: no window contains it. */
function latestEnd(windows: readonly TimeWindow[], at: number, repeated: RepeatedTime): number | null {
  let latest: number | null = null;
  for (const window of windows) {
    // A window is longer than a day by the hour that comes twice at most: it began on this day or one of the two
    // before.
    for (const day of daysFrom(window.zone, at, -2, 0)) {
      const span = spanOn(window, day, repeated);
      if (span !== null && span.start <= at && at < span.end) latest = Math.max(latest ?? span.end, span.end);
    }
  }
  return latest;
}

/** The next start of a window after an instant outside of it. */
function nextStart(window: TimeWindow, at: number, repeated: RepeatedTime): number | null {
  for (const day of daysFrom(window.zone, at, -1, HORIZON_DAYS)) {
    const span = spanOn(window, day, repeated);
    if (span !== null && span.start > at) return span.start;
  }
  return null;
}

/** Days as seen in a zone, each as the UTC ms of its date's midnight, from `first` to `last` days after an instant. */
function* daysFrom(zone: string, at: number, first: number, last: number): Generator<number> {
  const today = Math.floor((at + offsetAt(zone, at)) / DAY_MS) * DAY_MS;
  for (let day = first; day <= last; day += 1) yield today + day * DAY_MS;
}

/** The span of a window that begins on a day; null: it does not take place. */
function spanOn(
  { days, zone, startMinute, endMinute }: TimeWindow,
  day: number,
  repeated: RepeatedTime,
): { readonly start: number; readonly end: number } | null {
  if (days[new Date(day).getUTCDay()] !== true) return null;
  const start = instantOf(zone, day + startMinute * MINUTE_MS, 'first');
  const end = instantOf(zone, day + endMinute * MINUTE_MS, repeated);
  return start < end ? { start, end } : null;
}

/** The instant (Unix ms) at which clocks in a zone show a time, which is given as if it were UTC. */
function instantOf(zone: string, wall: number, repeated: RepeatedTime): number {
  const [before, after] = [offsetAt(zone, wall - DAY_MS), offsetAt(zone, wall + DAY_MS)];
  if (before === after) return wall - before;
  const isBefore = offsetAt(zone, wall - before) === before;
  const isAfter = offsetAt(zone, wall - after) === after;
  if (isBefore && isAfter) return wall - (repeated === 'first' ? before : after);
  if (isBefore) return wall - before;
  if (isAfter) return wall - after;
  return skipIn(zone, wall - DAY_MS, wall + DAY_MS);
}

/** The instant between two at which a zone's clocks are set. */
function skipIn(zone: string, from: number, to: number): number {
  const before = offsetAt(zone, from);
  let [low, high] = [from, to];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(zone, middle) === before) low = middle;
    else high = middle;
  }
  return high;
}

/** How far a zone's local time is ahead of UTC at an instant, in ms. */
function offsetAt(zone: string, at: number): number {
  const match = /GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(formatOf(zone)?.format(at) ?? '');
  if (match === null) return 0;
  const [, sign, hours = '0', minutes = '0', seconds = '0'] = match;
  const offset = Number(hours) * HOUR_MS + Number(minutes) * MINUTE_MS + Number(seconds) * 1000;
  return sign === '-' ? -offset : offset;
}

/** Formats by zone, because one costs a hundred times what its use costs. Names that are no zone are not kept. */
const formats = new Map<string, Intl.DateTimeFormat>();
/** More than there are zones: upper and lower case are the same to `Intl`, so that one zone has many spellings. */
const FORMATS_MAX = 1000;

/** The formatter that gives a zone's offset; null: there is no such zone. */
function formatOf(zone: string): Intl.DateTimeFormat | null {
  const known = formats.get(zone);
  if (known !== undefined) return known;
  // `Intl` accepts an offset such as +01:00 as well. An offset has no summer time, which its writer may overlook.
  if (!/^[A-Za-z][\w+/-]*$/.test(zone)) return null;
  try {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
    if (formats.size >= FORMATS_MAX) formats.clear();
    formats.set(zone, format);
    return format;
  } catch {
    return null;
  }
}
