/**
 * Requests at a follower: handed to the leader once, as streams; the leader authenticates and validates them again. Guarantees: that a
 * request was forwarded, and for whom, is believed of another control node only, by its certificate.
 */
import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../../base/errors.ts';
import { forgetBody } from '../../os/request-body.ts';
import { peerIdentity } from '../../pki/tls.ts';
import type { Backend, Forward } from './backend.ts';

/** Header of a request that was forwarded, with the address that it came from; such a request is never forwarded again. */
const FORWARDED = 'groundplane-forwarded';
/** How long the rest of a body is read that the leader refused. */
const REFUSED_BODY_MS = 30_000;

/** RFC 9110, 7.6.1, what the next connection sets itself, and what this node has answered already. */
const NOT_FORWARDED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'expect',
  FORWARDED,
]);

/** Who sent a request to the cluster. */
export interface Sender {
  /** Of the client, also where another control node hands its request on. */
  readonly address: string;
  readonly isForwarded: boolean;
}

/** Who sent this request; the header alone proves nothing. */
export function senderOf({ raw, ip, headers }: FastifyRequest): Sender {
  const from = headers[FORWARDED];
  const isControlNode = raw.socket instanceof TLSSocket && peerIdentity(raw.socket)?.kind === 'control';
  // A socket of this machine has no address.
  if (typeof from !== 'string' || !isControlNode)
    return { address: (ip as string | undefined) ?? 'local', isForwarded: false };
  return { address: from, isForwarded: true };
}

export interface Forwarding {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly backend: Backend;
  readonly forward: Forward | undefined;
  readonly signal: AbortSignal;
  readonly sender: Sender;
}

/** Answers from the leader where that is another node (the reply), or leaves the request to this node (undefined). */
export async function forwardToLeader(forwarding: Forwarding): Promise<FastifyReply | undefined> {
  const { request, reply, backend, forward, signal, sender } = forwarding;
  const leader = backend.leader();
  if (leader?.self === true) return undefined;
  // Nobody observes now, but what is known can still be read: verdicts are `unknown`, and health says whether etcd answers.
  if (leader === null && (request.method === 'GET' || request.method === 'HEAD')) return undefined;
  if (leader === null || forward === undefined || sender.isForwarded) {
    throw new CodedError('unavailable', 'No control node leads at the moment.', {
      advice: 'VMs run on. Nothing was changed; try again in some seconds.',
    });
  }
  const { hasBody, headers } = sentOn(request);
  const answer = await forward(
    leader.origin,
    {
      method: request.method,
      path: request.raw.url ?? '/',
      headers: { ...headers, [FORWARDED]: sender.address },
      body: hasBody ? request.raw : null,
    },
    signal,
  ).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
  // Answered before all of the body was there: the leader wants no more of it.
  forgetBody(request.raw, reply.raw, REFUSED_BODY_MS);
  return reply.code(answer.status).headers(passedOn(answer.headers)).send(answer.body);
}

/** Whether a request has a body, whatever its method (RFC 9112, 6.3), and its headers: without one they say nothing of it. */
function sentOn({ headers }: FastifyRequest): { readonly hasBody: boolean; readonly headers: Record<string, string> } {
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  const { 'content-length': length, 'content-type': type, ...others } = passedOn(headers);
  if (!hasBody) return { hasBody, headers: others };
  const framed = length === undefined ? { 'transfer-encoding': 'chunked' } : { 'content-length': length };
  return { hasBody, headers: { ...others, ...framed, ...(type === undefined ? {} : { 'content-type': type }) } };
}

function passedOn(headers: NodeJS.Dict<string | string[]>): Record<string, string> {
  const kept: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !NOT_FORWARDED.has(name)) kept[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return kept;
}
