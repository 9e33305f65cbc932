/** Carries API requests from a follower to the leader, as streams (control/api/call.ts, Forward). */
import { request as httpsRequest } from 'node:https';
import { CodedError } from '../base/errors.ts';
import type { ControlName } from '../base/ids.ts';
import { NobodyLeads } from '../base/problem.ts';
import type { Credentials } from '../pki/credentials.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import type { Forward } from './api/call.ts';

/** Errors of the operating system after which nothing was sent: the leader is gone, and another one follows. */
const NOT_CONNECTED: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH']);

/**
 * The leader's certificate must name the control node whose address the election key holds; this node authenticates
 * with its own control certificate.
 */
export function forwardOverTls({
  credentials,
  peers,
}: {
  readonly credentials: Credentials;
  /** All control nodes at present. */
  readonly peers: () => readonly { readonly name: ControlName; readonly address: string }[];
}): Forward {
  return (origin, { method, path, headers, body }, signal) => {
    const { hostname, port } = new URL(origin);
    const peer = peers().find(({ address }) => address === hostname);
    if (peer === undefined)
      return Promise.reject(
        new CodedError('unavailable', `The leader's address ${hostname} is not that of a control node.`, {
          advice: 'Nothing was sent there. See `gp control list` for the control nodes.',
        }),
      );
    return new Promise((resolve, reject) => {
      const options = {
        ...clientTlsOptions(credentials, { kind: 'control', name: peer.name }),
        host: hostname,
        port: Number(port),
        method,
        path,
        headers,
        signal,
        agent: false,
      };
      const request = httpsRequest(options, (response) => {
        // The answer has ended; the caller handles the rest of the request's body, if there is any.
        body?.unpipe(request);
        const answered = Object.entries(response.headers).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(', ') : (value ?? ''),
        ]);
        resolve({ status: response.statusCode ?? 502, headers: Object.fromEntries(answered), body: response });
      });
      // Errors after the answer are expected: the leader closes a request whose body it refused.
      request.on('error', (cause: NodeJS.ErrnoException) => {
        const message = `The leader ${peer.name} cannot be reached: ${cause.message}.`;
        reject(
          NOT_CONNECTED.has(cause.code ?? '')
            ? new NobodyLeads(message, { cause })
            : new CodedError('unavailable', message, { cause, advice: 'Try again in some seconds.' }),
        );
      });
      if (body === null) request.end();
      else body.pipe(request);
    });
  };
}
