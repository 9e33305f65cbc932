/** A VM's serial console and its display over HTTP Upgrade: the raw stream, or the CodedError the server answered with. */
import { request } from 'node:https';
import type { Duplex } from 'node:stream';
import { errorOfProblem } from '../api/problem.ts';
import { CodedError } from '../base/errors.ts';
import { jsonOf } from '../base/json.ts';
import { clientTls, type Target, unreachable } from './client.ts';

const OPEN_MS = 15_000;
const REFUSAL_BYTES_MAX = 64 * 1024;

/**
 * Opens the console; the caller ends the stream. `vm`: a valid name or id. `takeOver`: take the console from its
 * present holder. `readOnly`: read along beside its holder, or alone; what is written reaches nobody.
 */
export function openConsole(
  target: Target,
  vm: string,
  { takeOver = false, readOnly = false }: { readonly takeOver?: boolean; readonly readOnly?: boolean } = {},
): Promise<Duplex> {
  const query = takeOver ? '?takeOver=true' : readOnly ? '?readOnly=always' : '';
  return upgraded(target, `/v1/vms/${encodeURIComponent(vm)}/console${query}`);
}

/** Opens the display: RFB (VNC) from the first byte on. The stream ends when the VM moves; the caller ends it before. */
export function openDisplay(target: Target, vm: string): Promise<Duplex> {
  return upgraded(target, `/v1/vms/${encodeURIComponent(vm)}/display`);
}

function upgraded(target: Target, path: string): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const outgoing = request(new URL(path, target.apiUrl), {
    ...clientTls(target.caPem),
    agent: false,
    headers: {
      authorization: `Bearer ${target.token}`,
      connection: 'Upgrade',
      upgrade: 'groundplane-console',
    },
  });
  const timer = setTimeout(() => {
    outgoing.destroy(new CodedError('deadline', `The console did not open within ${OPEN_MS} ms.`));
  }, OPEN_MS);
  outgoing.once('upgrade', (_answer, socket, head) => {
    clearTimeout(timer);
    if (head.length > 0) socket.unshift(head);
    resolve(socket);
  });
  outgoing.once('response', (answer) => {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    answer.on('data', (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes <= REFUSAL_BYTES_MAX) chunks.push(chunk);
    });
    answer.once('end', () => {
      clearTimeout(timer);
      reject(errorOfProblem(answer.statusCode ?? 500, jsonOf(Buffer.concat(chunks).toString())));
    });
  });
  outgoing.once('error', (error) => {
    clearTimeout(timer);
    reject(error instanceof CodedError ? error : unreachable(target.apiUrl, error));
  });
  outgoing.end();
  return promise;
}
