/** Requests at a follower: handed to the leader once, as streams; the leader authenticates and validates them again. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../../base/errors.ts';
import type { Backend, Forward } from './backend.ts';

/** Header of a request that was forwarded; such a request is never forwarded again. */
const FORWARDED = 'groundplane-forwarded';

/** RFC 9110, 7.6.1, and what the next connection sets itself. */
const NOT_FORWARDED = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
]);

export interface Forwarding {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly backend: Backend;
  readonly forward: Forward | undefined;
  readonly signal: AbortSignal;
}

/** Answers from the leader where that is another node (the reply), or leaves the request to this node (undefined). */
export async function forwardToLeader({
  request,
  reply,
  backend,
  forward,
  signal,
}: Forwarding): Promise<FastifyReply | undefined> {
  const leader = backend.leader();
  if (leader?.self === true) return undefined;
  // Nobody observes now, but what is known can still be read: verdicts are `unknown`, and health says whether etcd answers.
  if (leader === null && (request.method === 'GET' || request.method === 'HEAD')) return undefined;
  if (leader === null || forward === undefined || request.headers[FORWARDED] !== undefined) {
    throw new CodedError('unavailable', 'No control node leads at the moment.', {
      advice: 'VMs run on. Nothing was changed; try again in some seconds.',
    });
  }
  const hasBody = request.method !== 'GET' && request.method !== 'HEAD' && request.method !== 'DELETE';
  const answer = await forward(
    leader.origin,
    {
      method: request.method,
      path: request.raw.url ?? '/',
      headers: { ...passedOn(request.headers), [FORWARDED]: '1' },
      body: hasBody ? request.raw : null,
    },
    signal,
  );
  return reply.code(answer.status).headers(passedOn(answer.headers)).send(answer.body);
}

function passedOn(headers: NodeJS.Dict<string | string[]>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !NOT_FORWARDED.has(name)) kept[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return kept;
}
