import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../base/errors.ts';
import { parseDisk, parseMigrationPolicy, parseNic } from './commands/vm.ts';
import { formatFields, formatTable } from './table.ts';
import { formatAge, formatBytes, parseCount, parseDeadline, parseDuration, parseSince, parseSize } from './units.ts';

const isBadInput = (error: unknown): boolean => error instanceof CodedError && error.code === 'bad-input';

test('sizes are powers of 1024', () => {
  const sizes = {
    '1': 1,
    '4096': 4096,
    '512M': 512 * 1024 ** 2,
    '1G': 1024 ** 3,
    '1GiB': 1024 ** 3,
    '1.5g': 1.5 * 1024 ** 3,
    '2TB': 2 * 1024 ** 4,
  };
  for (const [text, bytes] of Object.entries(sizes)) assert.equal(parseSize(text), bytes, text);
  for (const text of [
    '',
    '0',
    '-1',
    '1X',
    '1 G',
    'G',
    '1e3',
    '0x10',
    '1.2.3G',
    '1G ',
    '1.0001K',
    '99999999999999T',
    'Infinity',
  ]) {
    assert.throws(() => parseSize(text), isBadInput, text);
  }
});

test('durations need a unit', () => {
  for (const [text, ms] of Object.entries({ '500ms': 500, '30s': 30_000, '5m': 300_000, '1h': 3_600_000, '0s': 0 })) {
    assert.equal(parseDuration(text), ms, text);
  }
  for (const text of ['', '30', 's', '1.5s', '-1s', '1 s', '1d', '9999999999h'])
    assert.throws(() => parseDuration(text), isBadInput, text);
});

test('a time is RFC 3339, or how long ago', () => {
  const now = Date.parse('2026-05-01T12:00:00Z');
  assert.equal(parseSince('10m', now), '2026-05-01T11:50:00.000Z');
  assert.equal(parseSince('2026-05-01T12:00:00Z'), '2026-05-01T12:00:00.000Z');
  assert.equal(parseSince('2026-05-01T14:00:00.5+02:00'), '2026-05-01T12:00:00.500Z');
  for (const text of ['', 'yesterday', '2026-05-01', '2026-05-01T12:00', '2026-13-01T12:00:00Z', '10', '10d'])
    assert.throws(() => parseSince(text), isBadInput, text);
});

test('counts are whole', () => {
  assert.equal(parseCount('3'), 3);
  for (const text of ['', '0', '-1', '1.5', 'x', '1e2', '9999999999'])
    assert.throws(() => parseCount(text), isBadInput, text);
});

test('disks and networks of vm create', () => {
  assert.deepEqual(parseDisk('1G'), { sizeBytes: 1024 ** 3 });
  assert.deepEqual(parseDisk('image=debian,size=4G'), { image: 'debian', sizeBytes: 4 * 1024 ** 3 });
  assert.deepEqual(parseDisk('image=debian'), { image: 'debian' });
  assert.deepEqual(parseDisk('size=1K'), { sizeBytes: 1024 });
  for (const text of ['', 'x', 'image=', 'image=A', 'pool=x', 'image=a,image=b', 'image=a,size'])
    assert.throws(() => parseDisk(text), isBadInput, text);
  assert.equal(parseNic('lan'), 'lan');
  assert.deepEqual(parseNic('lan,address=10.20.0.5,mac=52:54:00:AA:00:01'), {
    network: 'lan',
    address: '10.20.0.5',
    mac: '52:54:00:aa:00:01',
  });
  for (const text of ['', 'LAN', 'lan,ip=1', 'lan,address', 'lan,address=1,address=2'])
    assert.throws(() => parseNic(text), isBadInput, text);
});

test('a table’s columns line up by width on the screen, and nothing steers the terminal', () => {
  assert.equal(
    formatTable(
      ['A', 'B'],
      [
        ['日本', 'x'],
        ['a', 'y'],
      ],
    ),
    'A     B\n日本  x\na     y\n',
  );
  assert.equal(formatTable(['A', 'B'], [['\u001b[32mok\u001b[39m', 'x']]), 'A   B\n\u001b[32mok\u001b[39m  x\n');
  assert.equal(formatTable(['A'], [['a\u001b]0;evil\u0007b\nc']]), 'A\na·]0;evil·b·c\n');
  assert.equal(
    formatFields([
      ['Key', 'v'],
      ['Long key', ['a', 'b']],
      ['None', []],
    ]),
    'Key:      v\nLong key: a\n          b\nNone:     -\n',
  );
});

const COLOUR = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');

test('no control character of any text passes a table', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const printed = formatTable(['A'], [[text]])
        .slice(2, -1)
        .replaceAll(COLOUR, '');
      return Array.from(printed).every((char) => (char.codePointAt(0) ?? 0) >= 32 && char !== '\u007f');
    }),
    { seed: 7, numRuns: 500 },
  );
});

test('short forms', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 1024 ** 3, 2 ** 40].map(formatBytes), [
    '0 B',
    '1023 B',
    '1 KiB',
    '1.5 KiB',
    '1 GiB',
    '1 TiB',
  ]);
  assert.deepEqual([-5, 1_500, 61_000, 7_200_000, 200_000_000].map(formatAge), ['0s', '1s', '1m', '2h', '2d']);
});

test('a migration policy names what may be done, each once', () => {
  const nothing = { slowDown: false, pauseMsMax: null, stop: false };
  assert.deepEqual(parseMigrationPolicy('none'), nothing);
  assert.deepEqual(parseMigrationPolicy('stop,longer-pause=2s'), { slowDown: false, pauseMsMax: 2_000, stop: true });
  assert.deepEqual(parseMigrationPolicy('slow-down'), { ...nothing, slowDown: true });
  for (const text of [
    '',
    'slow',
    'stop,stop',
    'none,stop',
    'longer-pause',
    'longer-pause=',
    'longer-pause=1s,longer-pause=2s',
  ])
    assert.throws(() => parseMigrationPolicy(text), { code: 'bad-input' }, text);
});

test('a deadline is the next time that a clock shows it, or a time', () => {
  const noon = new Date(2026, 4, 1, 12, 0, 0).getTime();
  const at = (text: string): Date => new Date(parseDeadline(text, noon));
  assert.deepEqual([at('18:00').getDate(), at('18:00').getHours()], [1, 18]);
  assert.deepEqual([at('09:30').getDate(), at('09:30').getMinutes()], [2, 30]);
  assert.equal(at('12:00').getDate(), 2, 'now is over');
  assert.equal(parseDeadline('2026-05-01T18:00:00+02:00', noon), '2026-05-01T16:00:00.000Z');
  for (const text of ['', '24:00', '6pm', '18:60', '2026-13-01T00:00:00Z', 'tomorrow'])
    assert.throws(() => parseDeadline(text, noon), { code: 'bad-input' }, text);
});
