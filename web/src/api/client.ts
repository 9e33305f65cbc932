/**
 * The browser's client of the API, typed by the OpenAPI document. Guarantees: every failure is a CodedError with the
 * words of the API; a request without an answer ends after a deadline.
 */
import createFetchClient, { type Middleware } from 'openapi-fetch';
import { errorOfProblem } from '../../../src/api/problem.ts';
import { CodedError } from '../../../src/base/errors.ts';
import type { paths } from '../../../src/client/generated/schema.d.ts';

const DEADLINE_MS = 35_000;

let sessionEnded: () => void = () => undefined;

/** Sets the function to call when the server does not know the session, or no longer knows it. */
export function onSessionEnd(handler: () => void): void {
  sessionEnded = handler;
}

const problemsAsErrors: Middleware = {
  onResponse: async ({ response }) => {
    if (response.ok) return;
    const error = errorOfProblem(response.status, await response.json().catch(() => undefined));
    if (error.code === 'unauthorized') sessionEnded();
    throw error;
  },
};

async function send(request: Request): Promise<Response> {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  try {
    return await fetch(request, { signal: AbortSignal.any([request.signal, deadline]), credentials: 'same-origin' });
  } catch (error) {
    if (request.signal.aborted) throw request.signal.reason;
    throw new CodedError(deadline.aborted ? 'deadline' : 'unavailable', 'The cluster does not answer.', {
      cause: error,
      advice: 'VMs run on without it. This page continues by itself as soon as a control node answers.',
    });
  }
}

/** Requests by path; `dataOf` takes the answer out. */
export const http = createFetchClient<paths>({ baseUrl: location.origin, fetch: send });
http.use(problemsAsErrors);

/** The answer of a call of `http`. Failures were thrown before. */
export async function dataOf<T>(work: Promise<{ readonly data?: T }>): Promise<T> {
  return (await work).data as T;
}
