/**
 * Requests at a follower: forwarded to the leader once, as streams; the leader authenticates and validates them again.
 * Guarantees: the header that marks a request as forwarded, with its client's address, is believed only from another
 * control node, identified by its certificate.
 */
import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { NobodyLeads } from '../../base/problem.ts';
import { forgetBody } from '../../os/request-body.ts';
import { peerIdentity } from '../../pki/tls.ts';
import type { Backend } from '../backend/backend.ts';
import { hostOf } from './browser.ts';
import type { Forward } from './call.ts';

/** Header of a forwarded request, with the client's address; a request with this header is never forwarded again. */
const FORWARDED = 'groundplane-forwarded';
/** Header of a forwarded request with the host that its client asked: it names the cookie of a browser's session. */
const FORWARDED_HOST = 'groundplane-forwarded-host';
/** For how long the rest of a body that the leader refused is read, in ms. */
const REFUSED_BODY_MS = 30_000;

/**
 * Headers that are not forwarded: those of RFC 9110, 7.6.1, those that the next connection sets itself, and those that
 * this node has already answered.
 */
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
  FORWARDED_HOST,
]);

/** The origin of a request. */
export interface Sender {
  /** Address of the client, also if another control node forwarded the request. */
  readonly address: string;
  /** Host and port under which the client knows the control node that it asked. */
  readonly host: string;
  readonly isForwarded: boolean;
}

/** Returns the origin of a request; the forwarding header alone proves nothing. */
export function senderOf({ raw, ip, headers }: FastifyRequest): Sender {
  const from = headers[FORWARDED];
  const isControlNode = raw.socket instanceof TLSSocket && peerIdentity(raw.socket)?.kind === 'control';
  // A connection over a Unix socket has no address.
  if (typeof from !== 'string' || !isControlNode)
    return { address: (ip as string | undefined) ?? 'local', host: hostOf(headers), isForwarded: false };
  const host = headers[FORWARDED_HOST];
  return { address: from, host: typeof host === 'string' ? host : '', isForwarded: true };
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
  const leader = backend.controlNodes.leader();
  if (leader?.self === true) return undefined;
  // No leader observes now, but the records can still be read: verdicts are `unknown`, and health says whether etcd
  // answers.
  if (leader === null && (request.method === 'GET' || request.method === 'HEAD')) return undefined;
  if (leader === null || forward === undefined || sender.isForwarded)
    throw new NobodyLeads('No control node leads at the moment.');
  const { hasBody, headers } = sentOn(request);
  const answer = await forward(
    leader.origin,
    {
      method: request.method,
      path: request.raw.url ?? '/',
      headers: { ...headers, [FORWARDED]: sender.address, [FORWARDED_HOST]: sender.host },
      body: hasBody ? request.raw : null,
    },
    signal,
  ).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
  // An answer before the end of the body means that the leader refuses the rest.
  forgetBody(request.raw, reply.raw, REFUSED_BODY_MS);
  return reply.code(answer.status).headers(passedOn(answer.headers)).send(answer.body);
}

/**
 * Returns whether a request has a body, whatever its method (RFC 9112, 6.3), and the headers to forward: without a
 * body, no headers that describe one.
 */
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
