/** The API by hand: requests that the typed client would not send. Guarantees: every request has a deadline. */
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import type { Problem } from '../../src/api/views.ts';
import { clientTls, type Target } from '../../src/client/client.ts';
import { withDeadline } from '../../src/os/deadline.ts';

const DEADLINE_MS = 30_000;

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the administrator's; null: none. */
  readonly token?: string | null;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** RFC 9457 problem details, where the media type says so. */
  readonly problem: Problem | undefined;
}

/** Sends one request and reads the whole answer. */
export function ask(target: Target, asked: Asked): Promise<Answered> {
  const { method, path, json, token = target.token } = asked;
  const body = json === undefined ? asked.body : JSON.stringify(json);
  const headers = {
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...(body === undefined
      ? {}
      : { 'content-type': json === undefined ? 'application/octet-stream' : 'application/json' }),
    ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
    ...asked.headers,
  };
  const exchange = (signal: AbortSignal): Promise<Answered> =>
    new Promise((resolve, reject) => {
      const options = { ...clientTls(target.caPem), agent: false, method, headers, signal };
      const outgoing = request(new URL(path, target.apiUrl), options, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => {
          text += chunk;
        });
        answer.once('error', reject);
        answer.once('end', () => {
          const isProblem = answer.headers['content-type']?.startsWith('application/problem+json') === true;
          const problem = isProblem ? (JSON.parse(text) as Problem) : undefined;
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, problem });
        });
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  return withDeadline(exchange, { deadlineMs: DEADLINE_MS, what: `${method} ${path}` });
}
