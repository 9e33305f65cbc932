/**
 * How a machine joins the cluster. Guarantees: its key is made here and never leaves; the token's secret is only sent
 * to a control node with a certificate of the authority that the token pins.
 */

import { request as httpsRequest } from 'node:https';
import { CodedError, messageOf } from '../base/errors.ts';
import { parseDnsName } from '../base/identity.ts';
import { sleep } from '../base/sleep.ts';
import { systemClock } from '../os/clock.ts';
import { withDeadline } from '../os/deadline.ts';
import { readTextBounded } from '../os/files.ts';
import { ownAddresses } from '../os/own-addresses.ts';
import { createRequest } from '../pki/authority.ts';
import { type Credentials, readCredentials, writeCredentials } from '../pki/credentials.ts';
import { parseJoinToken } from '../pki/join-token.ts';
import { fetchPinnedAuthority } from '../pki/tls.ts';
import { answerChallenges } from './join-proof.ts';
import { type KnownControl, parseKnownControls } from './known-controls.ts';
import { demandOwnAddresses } from './own-addresses.ts';
import { OwnIdentity } from './own-identity.ts';
import { arrayOf, object, optional, parseJson, text } from './parse.ts';
import { connectionError, errorOfAnswer } from './problem.ts';

export interface JoinOptions {
  /** Control nodes to ask, in this order, until one answers. */
  readonly controls: readonly { readonly address: string; readonly port: number }[];
  readonly token: string;
  readonly role: 'host' | 'storage' | 'control';
  readonly name: string;
  readonly addresses: Readonly<Record<string, string>>;
  /**
   * The port at which the machine answers challenges at its addresses while it joins (join-proof.ts). Absent: it
   * answers none.
   */
  readonly proofPort?: number | undefined;
  /** The deadline for each control node. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Joined {
  readonly credentials: Credentials;
  /** The addresses of etcd that the control node reported; undefined for roles that do not read etcd. */
  readonly etcdEndpoints: readonly string[] | undefined;
  /** The control nodes. Empty where it does not say it. */
  readonly controls: readonly KnownControl[];
  /** Present for a control node that joined. */
  readonly control:
    | { readonly caKeyPem: string; readonly adminTokenSha256: string; readonly members: readonly KnownControl[] }
    | undefined;
}

const parseAnswer = object({
  certPem: text({ charsMax: 16_384, pattern: /^-----BEGIN CERTIFICATE-----/ }),
  caPem: text({ charsMax: 16_384, pattern: /^-----BEGIN CERTIFICATE-----/ }),
  etcdEndpoints: optional(arrayOf(text({ charsMax: 200 }), { itemsMax: 16 })),
  controls: optional(parseKnownControls),
  control: optional(
    object({
      caKeyPem: text({ charsMax: 16_384, pattern: /^-----BEGIN PRIVATE KEY-----/ }),
      adminTokenSha256: text({ charsMax: 64, pattern: /^[0-9a-f]{64}$/ }),
      members: parseKnownControls,
    }),
  ),
});

const TOKEN_BYTES_MAX = 4096;
/** Deadline for each control node, in ms. */
const JOIN_DEADLINE_MS = 10_000;
const JOIN_ATTEMPTS_MAX = 600;
const JOIN_RETRY_MS = 500;
const ANSWER_CHARS_MAX = 64 * 1024;

/** The identity kept in `directory`, or a new one by joining, kept there before it is returned. */
export async function loadOrJoin(directory: string, join: () => Promise<Joined>): Promise<OwnIdentity> {
  if ((await readCredentials(directory)) === undefined) await writeCredentials(directory, (await join()).credentials);
  return OwnIdentity.open(directory);
}

/**
 * Joins through the first control node that can be reached. CodedError 'unauthorized' if the token is refused,
 * 'forbidden' if a server is not of the token's cluster, 'unavailable' if none answers. The token is used up on
 * success.
 */
export async function joinCluster(options: JoinOptions): Promise<Joined> {
  const token = parseJoinToken(options.token);
  const request = await createRequest();
  const { proofPort } = options;
  if (proofPort === undefined) return joinWith(options, token, request);
  const { keyPem } = request;
  const proving = await answerChallenges({ addresses: Object.values(options.addresses), port: proofPort, keyPem });
  try {
    return await joinWith(options, token, request);
  } finally {
    await proving.close();
  }
}

async function joinWith(
  options: JoinOptions,
  { secret, caFingerprint }: ReturnType<typeof parseJoinToken>,
  { requestPem, keyPem }: Awaited<ReturnType<typeof createRequest>>,
): Promise<Joined> {
  const body = JSON.stringify({
    token: secret,
    role: options.role,
    name: options.name,
    csrPem: requestPem,
    addresses: options.addresses,
  });
  const failures: string[] = [];
  for (const control of options.controls) {
    const waiting = { deadlineMs: options.deadlineMs, signal: options.signal };
    const where = `The control node at ${control.address}:${control.port}`;
    try {
      const caPem = await fetchPinnedAuthority({ host: control.address, port: control.port }, caFingerprint, waiting);
      const answer = await withDeadline((signal) => post({ ...control, caPem, body, where, signal }), {
        ...waiting,
        what: `the answer of ${control.address}:${control.port}`,
      });
      const {
        certPem,
        caPem: trustedPem,
        etcdEndpoints,
        controls = [],
        control: own,
      } = parseAnswer(parseJson(answer, `The answer of ${where}`), 'answer');
      return { credentials: { caPem: trustedPem, certPem, keyPem }, etcdEndpoints, controls, control: own };
    } catch (error) {
      const elsewhere = error instanceof CodedError && (error.code === 'unavailable' || error.code === 'deadline');
      if (!elsewhere) throw error;
      failures.push(messageOf(error));
    }
  }
  throw new CodedError('unavailable', `No control node could be reached: ${failures.join(' ')}`, {
    advice: 'Nothing was changed; the token is still good.',
  });
}

/** The file of the token, and the control nodes to ask. */
export interface JoinByToken {
  readonly controlAddresses: readonly string[];
  readonly tokenFile: string;
}

/**
 * Joins the cluster; waits up to five minutes for a control node that does not answer yet, or for a token or an address
 * of the machine that does not exist yet. `onWait` gets the reason, once. CodedError 'bad-input' without a token's
 * place, otherwise the errors of `joinCluster`.
 */
export async function joinPatiently(
  by: JoinByToken | undefined,
  who: Pick<JoinOptions, 'role' | 'name' | 'addresses'> & {
    readonly port: number;
    readonly proofPort: number;
    readonly onWait: (reason: string) => void;
  },
): Promise<Joined> {
  const { role, name, addresses, port, proofPort, onWait } = who;
  if (by === undefined)
    throw new CodedError('bad-input', `${name} has no identity and no join token.`, {
      advice: 'Make a token at a control node and name its file in the configuration (join.tokenFile).',
    });
  const controls = by.controlAddresses.map((address) => ({ address, port }));
  for (let attempt = 1; ; attempt++) {
    try {
      demandOwnAddresses(addresses, ownAddresses());
      const token = await readTextBounded(by.tokenFile, TOKEN_BYTES_MAX);
      if (token === undefined) throw new CodedError('not-found', `There is no join token in ${by.tokenFile}.`);
      const deadlineMs = JOIN_DEADLINE_MS;
      return await joinCluster({ controls, token, role, name, addresses, proofPort, deadlineMs });
    } catch (error) {
      const again = error instanceof CodedError && (error.code === 'unavailable' || error.code === 'not-found');
      if (!again || attempt >= JOIN_ATTEMPTS_MAX) throw error;
      if (attempt === 1) onWait(messageOf(error));
      await sleep(systemClock, JOIN_RETRY_MS);
    }
  }
}

function post(options: {
  readonly address: string;
  readonly port: number;
  readonly caPem: string;
  readonly body: string;
  readonly where: string;
  readonly signal: AbortSignal;
}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { address, port, caPem, body, where, signal } = options;
    const request = httpsRequest({
      host: address,
      port,
      method: 'POST',
      path: '/v1/join',
      agent: false,
      minVersion: 'TLSv1.3',
      ca: caPem,
      servername: '',
      // Any control node will do here, but a host's certificate must not be accepted.
      checkServerIdentity: (_host, certificate) => {
        const names = (certificate.subjectaltname ?? '').split(', ').filter((name) => name.startsWith('DNS:'));
        const control = names.some((name) => parseDnsName(name.slice('DNS:'.length))?.kind === 'control');
        return control
          ? undefined
          : new CodedError('forbidden', `${where} is not a control node; nothing was sent to it.`);
      },
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      signal,
    });
    request.once('error', (error) => reject(connectionError(error, where)));
    request.once('response', (response) => {
      let answer = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        answer += chunk;
        if (answer.length > ANSWER_CHARS_MAX)
          response.destroy(new CodedError('too-large', `${where} answered too much.`));
      });
      response.once('error', (error) => reject(connectionError(error, where)));
      response.once('end', () => {
        const status = response.statusCode ?? 0;
        if (status >= 200 && status <= 299) resolve(answer);
        else reject(errorOfAnswer(status, answer, where));
      });
    });
    request.end(body);
  });
}
