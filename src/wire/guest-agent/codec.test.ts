import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeGuestAgentMessage,
  encodeGuestAgentCommand,
  encodeGuestAgentSync,
  GuestAgentReader,
  type GuestAgentToken,
} from './codec.ts';

test('each kind of message, and what is none', () => {
  assert.deepEqual(decodeGuestAgentMessage('{"return": {"pid": 7}}'), { kind: 'return', value: { pid: 7 } });
  assert.deepEqual(decodeGuestAgentMessage('{"return": null}'), { kind: 'return', value: null });
  assert.deepEqual(
    decodeGuestAgentMessage('{"error": {"class": "CommandNotFound", "desc": "Command guest-exec is disabled"}}'),
    { kind: 'error', errorClass: 'CommandNotFound', description: 'Command guest-exec is disabled' },
  );
  for (const line of [
    '',
    '{',
    '[]',
    'null',
    '{}',
    '{"error": 1}',
    '{"error": {"class": 1, "desc": ""}}',
    'login: ',
    `{"return": ${'['.repeat(99)}`,
    `{"return": [${'1,'.repeat(30_000)}1]}`,
  ])
    assert.equal(decodeGuestAgentMessage(line), null, line);
});

test('any bytes in any chunks give the same tokens, and never an exception', () => {
  const bytes = fc.array(fc.constantFrom('{"return": 1}\n', '\xff', '\n', '{"ret', 'urn": 2}\n', 'x', '\0', '\xc3'));
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(200), { maxLength: 20 }), (parts, cuts) => {
      const text = parts.join('');
      const reader = new GuestAgentReader();
      const tokens: GuestAgentToken[] = [];
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), text.length]) {
        tokens.push(...reader.push(text.slice(from, to)));
        from = Math.max(from, to);
      }
      assert.deepEqual(tokens, new GuestAgentReader().push(text));
    }),
    { seed: 17 },
  );
});

test('a delimiter ends what was begun before it; a line that is too long is left out, and what follows is read', () => {
  const delimiter = { kind: 'delimiter' };
  const one = { kind: 'return', value: 1 };
  assert.deepEqual(new GuestAgentReader().push('{"return": 9\xff{"return": 1}\n'), [delimiter, one]);
  assert.deepEqual(new GuestAgentReader().push('\xff\xff\n\xff'), [delimiter]);
  assert.deepEqual(new GuestAgentReader().push('\xff{\n\xff{"return": 1}\n'), [delimiter, delimiter, one]);
  const reader = new GuestAgentReader();
  const chunk = '"'.padEnd(64 * 1024, 'y');
  for (let chunks = 0; chunks < 100; chunks++) assert.deepEqual(reader.push(chunk), []);
  assert.deepEqual(reader.push('\n{"return": 1}\n'), [one]);
});

test('a guest that sends nothing but rubbish is not listened to for long', () => {
  const reader = new GuestAgentReader();
  for (let lines = 0; lines <= 1_000; lines++) assert.deepEqual(reader.push('{\n'), []);
  assert.deepEqual(reader.push('{"return": 1}\n\xff'), []);
});

test('commands are one line of ASCII that says the same', () => {
  assert.equal(encodeGuestAgentCommand('guest-ping'), '{"execute":"guest-ping"}\n');
  assert.equal(encodeGuestAgentSync(5), '\xff{"execute":"guest-sync-delimited","arguments":{"id":5}}\n');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (arg) => {
      const line = encodeGuestAgentCommand('guest-exec', { arg });
      assert.match(line, /^[\x20-\x7e]+\n$/);
      assert.deepEqual((JSON.parse(line) as { arguments: unknown }).arguments, { arg });
    }),
    { seed: 18 },
  );
});
