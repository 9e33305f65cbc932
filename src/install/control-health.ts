/**
 * What a control node says of itself, and its clock, before anybody has an identity. Guarantees: the question ends by
 * its deadline, whatever comes back and however slowly; an answer is read up to a bound.
 */
import { request } from 'node:https';
import { CodedError, messageOf } from '../base/errors.ts';
import { type ClockOffset, clockOffset } from '../core/model/clock-offset.ts';
import { systemClock } from '../os/clock.ts';
import { withDeadline } from '../os/deadline.ts';
import { added, nullable, openObject, parseJson, text } from '../rpc/parse.ts';
import type { ControlHealth } from './machine-facts.ts';

const SECOND_MS = 1_000;
const HEALTH_CHARS_MAX = 64 * 1024;
const word = text({ charsMax: 1_000 });
const parseHealth = openObject({
  name: word,
  leader: nullable(word),
  waitingFor: nullable(word),
  version: added(nullable(word), null),
  release: added(nullable(word), null),
});

/** The answer of a control node. */
export interface ControlAnswer {
  readonly health: ControlHealth;
  readonly clock: ClockOffset;
}

/**
 * Returns the health and the clock of a control node, the latter by the date of its answer, in whole seconds. The
 * identity of the answering machine is not checked: its answer is only shown to people. CodedError 'unavailable',
 * 'deadline'; 'bad-input', 'failed': an answer that is none.
 */
export async function healthAt(
  { address, port }: { readonly address: string; readonly port: number },
  deadlineMs: number,
): Promise<ControlAnswer> {
  const what = `the health of the control node at ${address}`;
  try {
    return await withDeadline((signal) => ask({ address, port }, signal), { deadlineMs, what });
  } catch (error) {
    if (error instanceof CodedError) throw error;
    throw new CodedError('unavailable', `${address}:${port}: ${messageOf(error)}.`, { cause: error });
  }
}

function ask(
  { address, port }: { readonly address: string; readonly port: number },
  signal: AbortSignal,
): Promise<ControlAnswer> {
  const sentAt = systemClock.monotonicMs();
  return new Promise((resolve, reject) => {
    const options = { host: address, port, path: '/healthz', rejectUnauthorized: false, signal };
    const asked = request(options, (answer) => {
      const theirs = Date.parse(answer.headers.date ?? '') + SECOND_MS / 2;
      const ours = { receivedAt: Date.now(), roundTripMs: systemClock.monotonicMs() - sentAt };
      const { offsetMs, errorMs } = clockOffset(theirs, ours);
      let body = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
        if (body.length > HEALTH_CHARS_MAX) answer.destroy(new Error('the answer is too long'));
      });
      // A server that ends in the middle of its answer: the request itself reports nothing then.
      answer.once('error', reject);
      answer.once('end', () => {
        try {
          if (Number.isNaN(theirs)) throw new CodedError('failed', `The server at ${address} does not say its time.`);
          const health = parseHealth(parseJson(body, `The answer of ${address}`), 'health');
          resolve({ health, clock: { offsetMs, errorMs: errorMs + SECOND_MS / 2 } });
        } catch (error) {
          reject(error);
        }
      });
    });
    asked.once('error', reject);
    asked.end();
  });
}
