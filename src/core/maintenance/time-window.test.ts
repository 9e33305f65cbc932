/** Weekly windows: what is read, and what days with 23 and 25 hours do to them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longestTimeOutside, parseTimeWindow, type RepeatedTime, type TimeWindow, windowState } from './time-window.ts';

const HOUR_MS = 3_600_000;

function windowOf(text: string): TimeWindow {
  const read = parseTimeWindow(text);
  assert.ok('window' in read, 'reason' in read ? read.reason : '');
  return read.window;
}

/** The state as a reader writes it: `inside until ...`, `outside until ...`. */
function told(texts: string | readonly string[], at: string, repeated: RepeatedTime = 'first'): string {
  const windows = [texts].flat().map(windowOf);
  const { isInside, changesAt } = windowState(windows, Date.parse(at), repeated);
  const until = changesAt === null ? 'ever' : new Date(changesAt).toISOString().slice(0, 16);
  return `${isInside ? 'inside' : 'outside'} until ${until}`;
}

/** 2026-11-30 is a Monday. In winter London shows UTC. */
const STATES: readonly (readonly [texts: string | readonly string[], at: string, state: string])[] = [
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-11-30T07:59:59Z', 'outside until 2026-11-30T08:00'],
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-11-30T08:00:00Z', 'inside until 2026-11-30T18:00'],
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-11-30T17:59:59Z', 'inside until 2026-11-30T18:00'],
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-11-30T18:00:00Z', 'outside until 2026-12-01T08:00'],
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-12-04T18:00:00Z', 'outside until 2026-12-07T08:00'],
  // In summer London is an hour ahead of UTC.
  ['Mon-Fri 08:00-18:00 Europe/London', '2026-07-01T07:00:00Z', 'inside until 2026-07-01T17:00'],
  // Over midnight: the day is the one on which it begins.
  ['Sat 22:00-04:00 Europe/Berlin', '2026-12-05T20:59:00Z', 'outside until 2026-12-05T21:00'],
  ['Sat 22:00-04:00 Europe/Berlin', '2026-12-05T21:00:00Z', 'inside until 2026-12-06T03:00'],
  ['Sat 22:00-04:00 Europe/Berlin', '2026-12-06T02:59:00Z', 'inside until 2026-12-06T03:00'],
  ['Sat 22:00-04:00 Europe/Berlin', '2026-12-06T03:00:00Z', 'outside until 2026-12-12T21:00'],
  // A zone where the date is another one than in UTC.
  ['Tue 00:00-01:00 Pacific/Auckland', '2026-11-30T11:00:00Z', 'inside until 2026-11-30T12:00'],
  ['Sun 23:00-24:00 America/Los_Angeles', '2026-11-30T07:30:00Z', 'inside until 2026-11-30T08:00'],
  // Days that touch are one window, around the week's end too.
  ['Sat,Sun 00:00-24:00 UTC', '2026-12-05T12:00:00Z', 'inside until 2026-12-07T00:00'],
  ['Fri-Mon 00:00-24:00 UTC', '2026-12-06T12:00:00Z', 'inside until 2026-12-08T00:00'],
  ['Mon-Sun 00:00-24:00 UTC', '2026-12-06T12:00:00Z', 'inside until ever'],
  ['Mon-Sun 18:00-08:00 UTC', '2026-12-06T20:00:00Z', 'inside until 2026-12-07T08:00'],
  // Windows that overlap are one.
  [['Mon 08:00-12:00 UTC', 'Mon 10:00-16:00 UTC'], '2026-11-30T09:00:00Z', 'inside until 2026-11-30T16:00'],
  [['Mon 08:00-12:00 UTC', 'Mon 14:00-16:00 UTC'], '2026-11-30T09:00:00Z', 'inside until 2026-11-30T12:00'],
  [['Mon 08:00-12:00 UTC', 'Mon 14:00-16:00 UTC'], '2026-11-30T13:00:00Z', 'outside until 2026-11-30T14:00'],
  [[], '2026-11-30T13:00:00Z', 'outside until ever'],
  // Summer time begins on Sunday 2026-03-29, 02:00 in Berlin: the clocks skip to 03:00, at 01:00 UTC.
  ['Sat 22:00-04:00 Europe/Berlin', '2026-03-28T21:00:00Z', 'inside until 2026-03-29T02:00'],
  ['Sun 02:30-05:00 Europe/Berlin', '2026-03-29T00:59:00Z', 'outside until 2026-03-29T01:00'],
  ['Sun 02:30-05:00 Europe/Berlin', '2026-03-29T01:00:00Z', 'inside until 2026-03-29T03:00'],
  ['Sat 22:00-02:30 Europe/Berlin', '2026-03-29T00:30:00Z', 'inside until 2026-03-29T01:00'],
  ['Sun 02:15-02:45 Europe/Berlin', '2026-03-29T00:00:00Z', 'outside until 2026-04-05T00:15'],
  ['Sun 02:15-02:45 Europe/Berlin', '2026-03-23T00:00:00Z', 'outside until 2026-04-05T00:15'],
  // The whole of a day with 23 hours.
  ['Sun 00:00-24:00 Europe/Berlin', '2026-03-29T12:00:00Z', 'inside until 2026-03-29T22:00'],
  // Half an hour, on an island.
  ['Sun 00:00-24:00 Australia/Lord_Howe', '2026-10-03T13:30:00Z', 'inside until 2026-10-04T13:00'],
  // A date that a zone never had: Samoa went from Thursday 29 to Saturday 31 December 2011.
  ['Fri 10:00-12:00 Pacific/Apia', '2011-12-28T00:00:00Z', 'outside until 2012-01-05T20:00'],
  ['Sat 10:00-12:00 Pacific/Apia', '2011-12-30T12:00:00Z', 'outside until 2011-12-30T20:00'],
  // A zone of three quarters of an hour, and one whose date is a day ahead.
  ['Mon 00:00-06:00 Asia/Kathmandu', '2026-11-29T18:15:00Z', 'inside until 2026-11-30T00:15'],
  ['Mon 00:00-06:00 Pacific/Kiritimati', '2026-11-29T10:00:00Z', 'inside until 2026-11-29T16:00'],
];

for (const [texts, at, state] of STATES)
  test(`${[texts].flat().join('; ') || 'no window'} at ${at}: ${state}`, () => {
    assert.equal(told(texts, at), state);
  });

/** Summer time ends on Sunday 2026-10-25, 03:00 in Berlin: the clocks go back to 02:00, at 01:00 UTC. */
const REPEATED: readonly (readonly [text: string, at: string, first: string, second: string])[] = [
  [
    'Sat 22:00-02:30 Europe/Berlin',
    '2026-10-24T23:00:00Z',
    'inside until 2026-10-25T00:30',
    'inside until 2026-10-25T01:30',
  ],
  [
    'Sun 02:30-05:00 Europe/Berlin',
    '2026-10-25T00:29:00Z',
    'outside until 2026-10-25T00:30',
    'outside until 2026-10-25T00:30',
  ],
  [
    'Sun 02:15-02:45 Europe/Berlin',
    '2026-10-25T00:15:00Z',
    'inside until 2026-10-25T00:45',
    'inside until 2026-10-25T01:45',
  ],
  // Neither end lies in the hour that occurs twice: the window is an hour longer.
  [
    'Sat 22:00-04:00 Europe/Berlin',
    '2026-10-24T20:00:00Z',
    'inside until 2026-10-25T03:00',
    'inside until 2026-10-25T03:00',
  ],
];

for (const [text, at, first, second] of REPEATED)
  test(`${text} at ${at}, where an hour comes twice: it ends as the caller wants`, () => {
    assert.equal(told(text, at, 'first'), first);
    assert.equal(told(text, at, 'second'), second);
  });

const NONE: readonly (readonly [text: string, reason: RegExp])[] = [
  ['', /not of the form/],
  ['Mon-Fri 08:00-18:00', /not of the form/],
  ['Mon - Fri 08:00-18:00 UTC', /not of the form/],
  ['Mon-Fri 08:00-18:00 UTC UTC', /not of the form/],
  ['Montag 08:00-18:00 UTC', /are not days/],
  ['Mon- 08:00-18:00 UTC', /are not days/],
  ['Mon-Wed-Fri 08:00-18:00 UTC', /are not days/],
  ['Mon,,Fri 08:00-18:00 UTC', /are not days/],
  ['Mon 8:00-18:00 UTC', /is not a span/],
  ['Mon 08:00-18:60 UTC', /is not a span/],
  ['Mon 24:00-25:00 UTC', /is not a span/],
  ['Mon 08:00-24:01 UTC', /is not a span/],
  ['Mon 08:00-08:00 UTC', /is not a span/],
  ['Mon 08:00 UTC', /not a span/],
  ['Mon 08:00-18:00 Europe/Londinium', /not a time zone/],
  ['Mon 08:00-18:00 +01:00', /not a time zone/],
  ['Mon 08:00-18:00 __proto__', /not a time zone/],
  [`Mon 08:00-18:00 ${'A'.repeat(200)}`, /more than 100 characters/],
];

for (const [text, reason] of NONE)
  test(`"${text.slice(0, 40)}" is no window`, () => {
    const read = parseTimeWindow(text);
    assert.ok('reason' in read);
    assert.match(read.reason, reason);
  });

test('names of days are read whatever their case, spaces around them too', () => {
  assert.deepEqual(parseTimeWindow('  mon-FRI  08:00-18:00 Europe/London '), {
    window: {
      days: [false, true, true, true, true, true, false],
      startMinute: 480,
      endMinute: 1080,
      zone: 'Europe/London',
    },
  });
});

/** The local time in a zone: the day of the week and the minute of the day. */
function wallClock(zone: string): (at: number) => { readonly day: number; readonly minute: number } {
  const names = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
  return (at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
    return {
      day: names.indexOf(parts.get('weekday') ?? ''),
      minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')),
    };
  };
}

for (const zone of ['Europe/London', 'America/New_York', 'Australia/Lord_Howe', 'Africa/Casablanca', 'Asia/Tehran'])
  test(`${zone}: through a whole year the wall clock says the same of windows that no setting of clocks cuts`, () => {
    const clock = wallClock(zone);
    const day = [windowOf(`Mon-Fri 08:00-18:00 ${zone}`)];
    const night = [windowOf(`Sat 22:00-04:00 ${zone}`)];
    const start = Date.parse('2026-01-01T00:00:00Z');
    for (let at = start; at < start + 365 * 24 * HOUR_MS; at += 2.5 * HOUR_MS) {
      const wall = clock(at);
      const isDay = wall.day >= 1 && wall.day <= 5 && wall.minute >= 480 && wall.minute < 1080;
      const isNight = (wall.day === 6 && wall.minute >= 1320) || (wall.day === 0 && wall.minute < 240);
      const when = new Date(at).toISOString();
      assert.equal(windowState(day, at, 'first').isInside, isDay, when);
      assert.equal(windowState(night, at, 'second').isInside, isNight, when);
    }
  });

test('the time of the next change is where the state changes, not before and not later', () => {
  const windows = ['Mon-Fri 08:00-18:00 Europe/London', 'Sat 22:00-04:00 America/New_York'].map(windowOf);
  let at = Date.parse('2026-03-01T00:00:00Z');
  for (let changes = 0; changes < 100; changes += 1) {
    const { isInside, changesAt } = windowState(windows, at, 'first');
    assert.ok(changesAt !== null && changesAt > at);
    assert.equal(windowState(windows, changesAt - 1, 'first').isInside, isInside);
    assert.equal(windowState(windows, changesAt, 'first').isInside, !isInside);
    at = changesAt;
  }
});

test('the longest time outside: between days, over a week-end, never', () => {
  const from = Date.parse('2026-11-30T12:00:00Z');
  const hours = (...texts: readonly string[]): number =>
    longestTimeOutside(texts.map(windowOf), from, 'second') / HOUR_MS;
  assert.equal(hours('Mon-Fri 08:00-18:00 UTC'), 62);
  assert.equal(hours('Mon-Sun 08:00-18:00 UTC'), 14);
  assert.equal(hours('Mon-Sun 00:00-24:00 UTC'), 0);
  assert.equal(hours('Mon-Sun 04:00-24:00 UTC', 'Mon-Sat 00:00-04:00 UTC'), 4);
  assert.equal(hours(), 168);
});
