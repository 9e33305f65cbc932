import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeMessage, encodeCommand, QmpDecoder, type QmpMessage } from './codec.ts';

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}';
const EVENT = '{"timestamp": {"seconds": 1763683200, "microseconds": 250000}, "event": "STOP"}';

test('each kind of message', () => {
  assert.deepEqual(decodeMessage(GREETING), {
    kind: 'greeting',
    version: { major: 7, minor: 2, micro: 22 },
    package: 'Debian 1:7.2',
    capabilities: ['oob'],
  });
  assert.deepEqual(decodeMessage('{"return": {"running": true}, "id": 3}'), {
    kind: 'return',
    id: 3,
    value: { running: true },
  });
  assert.deepEqual(decodeMessage('{"return": null}'), { kind: 'return', id: undefined, value: null });
  assert.deepEqual(decodeMessage('{"id": 4, "error": {"class": "DeviceNotFound", "desc": "Device \'x\' not found"}}'), {
    kind: 'error',
    id: 4,
    errorClass: 'DeviceNotFound',
    description: "Device 'x' not found",
  });
  assert.deepEqual(decodeMessage(EVENT), { kind: 'event', name: 'STOP', data: {}, timestampMs: 1763683200250 });
});

test('what is no QMP message is malformed, never an exception', () => {
  for (const line of [
    '{',
    '[]',
    '3',
    'null',
    '{}',
    '{"QMP": {}}',
    '{"QMP": 1}',
    '{"error": "x"}',
    '{"error": {"class": 1}}',
    '{"event": "STOP"}',
    'HTTP/1.1 400 Bad Request',
  ]) {
    assert.equal(decodeMessage(line).kind, 'malformed', line);
  }
  fc.assert(
    fc.property(fc.string(), (line) => decodeMessage(line).kind !== undefined),
    { seed: 4 },
  );
  fc.assert(
    fc.property(fc.json(), (line) => decodeMessage(line).kind !== undefined),
    { seed: 5 },
  );
});

test('any chunking gives the same messages', () => {
  const text = `${GREETING}\r\n{"return": {}, "id": 1}\r\n\r\n${EVENT}\r\n{"return": "ü😀", "id": 2}\n{"partial`;
  const whole = new QmpDecoder().push(text);
  assert.deepEqual(
    whole.map(({ kind }) => kind),
    ['greeting', 'return', 'event', 'return'],
  );
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 40 }), (cuts) => {
      const decoder = new QmpDecoder();
      const messages: QmpMessage[] = [];
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), text.length]) {
        messages.push(...decoder.push(text.slice(from, to)));
        from = to;
      }
      assert.deepEqual(messages, whole);
    }),
    { seed: 6 },
  );
});

test('a line has a bound, and after something malformed nothing is decoded', () => {
  const decoder = new QmpDecoder({ lineLengthMax: 30 });
  assert.deepEqual(decoder.push('{"return": {}, "id": 1}\n{"return": "'), [{ kind: 'return', id: 1, value: {} }]);
  assert.deepEqual(decoder.push('x'.repeat(18)), []);
  assert.equal(decoder.push('x')[0]?.kind, 'malformed');
  assert.deepEqual(decoder.push('"}\n{"return": {}, "id": 2}\n'), []);
  const kinds = new QmpDecoder()
    .push('{"return": {}, "id": 1}\nrubbish\n{"return": {}, "id": 2}\n')
    .map(({ kind }) => kind);
  assert.deepEqual(kinds, ['return', 'malformed']);
});

test('commands', () => {
  assert.equal(encodeCommand({ command: 'stop', id: 1 }), '{"execute":"stop","id":1}\n');
  assert.equal(
    encodeCommand({ command: 'yank', arguments: { instances: [], dropped: undefined }, id: 2, outOfBand: true }),
    '{"exec-oob":"yank","arguments":{"instances":[]},"id":2}\n',
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const line = encodeCommand({ command: 'x', arguments: { text }, id: 1 });
      assert.equal(line.indexOf('\n'), line.length - 1);
    }),
    { seed: 7 },
  );
});
