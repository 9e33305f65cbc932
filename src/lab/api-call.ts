/**
 * The lab's own few requests to the API, through a control node's socket, before anything else can reach it: join
 * tokens, and whether everybody is there. Guarantees: the server is the control node it should be; every call ends.
 */

import { request } from 'node:https';
import { CodedError, messageOf } from '../base/errors.ts';
import { parseControlName } from '../base/ids.ts';
import { jsonOf } from '../base/json.ts';
import { onDeadline } from '../os/deadline.ts';
import { clientTlsOptions } from '../pki/tls.ts';

const CALL_DEADLINE_MS = 5_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

export interface ApiTarget {
  /** The control nodes and their sockets; tried in order. */
  readonly nodes: readonly { readonly name: string; readonly socketPath: string }[];
  readonly caPem: string;
  readonly token: string;
}

/**
 * The JSON answer of the first control node that answers with status 2xx. CodedError 'unavailable' if none does, with
 * the last answer.
 */
export async function apiCall(
  target: ApiTarget,
  method: 'GET' | 'POST',
  path: string,
  body?: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  let last: unknown;
  for (const node of target.nodes) {
    try {
      return await callNode(node, target, { method, path, body });
    } catch (error) {
      last = error;
    }
  }
  throw new CodedError('unavailable', `${method} ${path} failed: ${messageOf(last)}`, { cause: last });
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

function callNode(node: ApiTarget['nodes'][number], target: ApiTarget, call: Call): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const content = call.body === undefined ? undefined : JSON.stringify(call.body);
    const outgoing = request({
      ...clientTlsOptions({ caPem: target.caPem }, { kind: 'control', name: parseControlName(node.name) }),
      agent: false,
      socketPath: node.socketPath,
      method: call.method,
      path: call.path,
      headers: {
        authorization: `Bearer ${target.token}`,
        ...(content === undefined ? {} : { 'content-type': 'application/json' }),
      },
    });
    const cancel = onDeadline(CALL_DEADLINE_MS, () =>
      outgoing.destroy(new CodedError('deadline', `${node.name} did not answer within ${CALL_DEADLINE_MS} ms.`)),
    );
    outgoing.once('close', cancel);
    outgoing.once('error', reject);
    outgoing.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > ANSWER_BYTES_MAX) outgoing.destroy(new CodedError('too-large', 'The answer is too long.'));
      });
      response.once('error', reject);
      response.once('end', () => {
        const status = response.statusCode ?? 0;
        if (status >= 200 && status < 300) resolve(jsonOf(text));
        else reject(new CodedError('failed', `${node.name} answered ${status}: ${text.slice(0, 500)}`));
      });
    });
    outgoing.end(content);
  });
}
