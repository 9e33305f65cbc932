/** The guest is an attacker: it sends whatever it likes, whenever it likes. */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { withDeadline } from '../../os/deadline.ts';
import { GuestAgentConversation, GuestRefusal } from './guest-agent-conversation.ts';

type Say = (text: string) => void;

/** A conversation with a guest that reacts to each line that it gets. */
function withGuest(react: (line: string, say: Say) => void): { conversation: GuestAgentConversation; stream: Duplex } {
  let line = '';
  const stream: Duplex = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      line += chunk.toString('latin1');
      for (let end = line.indexOf('\n'); end !== -1; end = line.indexOf('\n')) {
        react(line.slice(0, end), (text) => stream.push(Buffer.from(text, 'latin1')));
        line = line.slice(end + 1);
      }
      done();
    },
  });
  return { conversation: new GuestAgentConversation(stream), stream };
}

const idOf = (line: string): string => /"id":(\d+)/.exec(line)?.[1] ?? '';
const honest = (line: string, say: Say): void => {
  if (line.includes('guest-sync-delimited')) say(`\xff{"return": ${idOf(line)}}\n`);
  else if (line.includes('guest-ping')) say('{"return": {}}\n');
  else say('{"error": {"class": "CommandNotFound", "desc": "The command \\u001b[2Jguest-exec has been disabled"}}\n');
};

test('an agent answers, refuses, and its words steer no terminal', async () => {
  const { conversation } = withGuest(honest);
  await conversation.begin();
  assert.deepEqual(await conversation.execute('guest-ping'), {});
  await assert.rejects(conversation.execute('guest-exec'), (error) => {
    assert.ok(error instanceof GuestRefusal);
    assert.equal(
      error.message,
      'The guest agent refuses guest-exec: The command \\u{1b}[2Jguest-exec has been disabled',
    );
    return true;
  });
});

test('what an earlier conversation left behind is no answer, however much of it there is', async () => {
  const { conversation } = withGuest((line, say) => {
    if (line.includes('sync')) say(`"half": 1}\n{"return": 7}\n\xff{"return": 1}\n{"error": 1}\n\xff{"return": 2`);
    honest(line, say);
  });
  await conversation.begin();
  assert.deepEqual(await conversation.execute('guest-ping'), {});
});

test('the number without a delimiter, and a delimiter without the number, are no answer', async () => {
  for (const answer of [
    (id: string) => `{"return": ${id}}\n`,
    (id: string) => `\xff{"return": "${id}"}\n`,
    (id: string) => `\xff{"return": ${Number(id) + 1}}\n`,
    (id: string) => `\xff{"return": 0}\n{"return": ${id}}\n`,
  ]) {
    const { conversation, stream } = withGuest((line, say) => say(answer(idOf(line))));
    const beginning = conversation.begin();
    setImmediate(() => stream.destroy());
    await assert.rejects(beginning, { code: 'unavailable', message: /closed/ });
  }
});

test('a guest that floods the channel ends the conversation, and holds up nobody by more than a moment', async () => {
  for (const flood of ['\xff', '\n', '{\n', '{"return": 1}\n', '\xff{\n', `"${'x'.repeat(60_000)}`]) {
    let sent = 0;
    const { conversation, stream } = withGuest((_line, say) => {
      const more = (): void => {
        const chunk = flood.repeat(Math.ceil(16_384 / flood.length));
        sent += chunk.length;
        say(chunk);
        if (!stream.destroyed) setImmediate(more);
      };
      more();
    });
    await assert.rejects(
      withDeadline(() => conversation.begin(), { deadlineMs: 5_000, what: 'the flood' }),
      { code: 'unavailable', message: 'The guest sends more than an agent says.' },
    );
    assert.ok(sent < 2 * 1024 * 1024, `${sent} bytes were taken`);
    assert.ok(stream.destroyed);
  }
});
