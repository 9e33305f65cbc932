/**
 * Calls and streams to whichever etcd member answers.
 * Guarantees:
 * - Every call ends by its deadline, whatever the network does.
 * - A call that must not be repeated is sent once: it goes to a member whose connection is up, and whatever then
 * happens to it without an answer is reported as unknown. A call that may be repeated moves on to other members.
 * - A member that failed a call is skipped for a second, so that the next call does not pay for it again.
 * - Calls carry `hasleader`: a member that knows no leader refuses at once instead of holding them.
 */

import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  create,
  type DescMessage,
  type DescMethodBiDiStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
} from '@grpc/grpc-js';
import { present } from '../base/assert.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import type { Clock } from '../core/ports/clock.ts';
import { systemClock } from '../os/clock.ts';
import { backoffMs } from './backoff.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from './errors.ts';
import { Maintenance, StatusRequestSchema } from './generated/rpc_pb.js';
import { isServiceError, outcomeOf, refusal } from './grpc-errors.ts';

/** The endpoints and credentials of an etcd cluster. */
export interface EtcdOptions {
  /** `host:port` of each member. The one that connects first is used until it fails; at a tie the first of the list. */
  readonly endpoints: readonly string[];
  /**
   * Mutual TLS. `serverName`: a name that all members' certificates hold; without it each member's must hold the host
   * of its endpoint (an IP address as an IP). Without `tls` the connection is in clear: tests only.
   */
  readonly tls?: {
    readonly caPem: string;
    readonly certPem: string;
    readonly keyPem: string;
    readonly serverName?: string;
  };
  /** Deadline of calls that name none, default 2000 ms. */
  readonly deadlineMsDefault?: number;
}

/** One call. `repeatable`: applying it twice does no harm. `endpoint`: this member and no other. */
export interface UnaryCall<I extends DescMessage, O extends DescMessage> {
  readonly method: DescMethodUnary<I, O>;
  readonly request: MessageShape<I>;
  readonly repeatable: boolean;
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default true; false for what a member answers alone (serializable reads, status). */
  readonly requireLeader?: boolean;
  readonly endpoint?: string;
}

/** An open two-way stream. `messages` throws the ServiceError that ends the stream. */
export interface Stream<I extends DescMessage, O extends DescMessage> {
  readonly messages: AsyncIterable<MessageShape<O>>;
  readonly ended: Promise<void>;
  send(message: MessageShape<I>): void;
  /** Ends the stream; always call it when done. `failed`: do not use this member for a while. */
  close(outcome: 'done' | 'failed'): void;
}

interface Endpoint {
  readonly address: string;
  readonly client: Client;
  avoidUntilMs: number;
}

const AVOID_MS = 1_000;
const STATE_WAIT_MS = 250;
const ATTEMPT_MS_MIN = 500;
const ATTEMPTS_MAX = 64;
const OPEN_MS = 2_000;
const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

/** Calls over a real network are waited for in real time. */
export const transportClock: Clock = systemClock;

const NO_NAME = 'etcd.invalid';

const CHANNEL_OPTIONS: ChannelOptions = {
  // Needs `--grpc-keepalive-min-time` of 1 s at the server (see member.ts). Without calls etcd allows no pings at all.
  'grpc.keepalive_time_ms': 2_000,
  'grpc.keepalive_timeout_ms': 2_000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
};

/**
 * Calls and streams to the members of one cluster over gRPC. Guarantees: at most 64 attempts and never longer than the
 * deadline; only a call that is `repeatable`, or certainly was not applied, goes to another member; a member that
 * failed is not used for a second; close() ends everything that is under way.
 */
export class Transport {
  #endpoints: readonly Endpoint[];
  #tls: EtcdOptions['tls'];
  /** Clients with earlier credentials: what runs on them continues until their connection ends. */
  #retired: readonly Client[] = [];
  readonly #deadlineMsDefault: number;
  /** The calls and streams under way, which close() ends. */
  readonly #cancels = new Set<() => void>();
  #current = 0;
  #change: Promise<void> | undefined;
  #closed = false;

  constructor(options: EtcdOptions) {
    if (options.endpoints.length === 0)
      throw new CodedError('bad-input', 'An etcd client needs at least one endpoint.');
    this.#deadlineMsDefault = options.deadlineMsDefault ?? 2_000;
    this.#tls = options.tls;
    this.#endpoints = options.endpoints.map((address) => this.#endpointOf(address));
  }

  #endpointOf(address: string): Endpoint {
    return { address, client: new Client(address, ...channelOf(address, this.#tls)), avoidUntilMs: 0 };
  }

  /**
   * From now on asks these members (`host:port`) and no others: the connections to others end, and the calls on them. An
   * empty list changes nothing.
   */
  ask(addresses: readonly string[]): void {
    if (this.#closed || addresses.length === 0) return;
    const before = this.#endpoints;
    const wanted = [...new Set(addresses)];
    const current = before[this.#current]?.address;
    this.#endpoints = wanted.map(
      (address) => before.find((endpoint) => endpoint.address === address) ?? this.#endpointOf(address),
    );
    this.#current = Math.max(0, wanted.indexOf(current ?? ''));
    for (const endpoint of before) if (!this.#endpoints.includes(endpoint)) endpoint.client.close();
  }

  /**
   * Uses other credentials for later calls and streams. Those that are under way end by themselves; those from before
   * the previous renewal are cut.
   */
  renew(tls: NonNullable<EtcdOptions['tls']>): void {
    if (this.#closed) return;
    for (const client of this.#retired) client.close();
    this.#retired = this.#endpoints.map(({ client }) => client);
    this.#tls = tls;
    this.#endpoints = this.#endpoints.map(({ address }) => this.#endpointOf(address));
  }

  get addresses(): readonly string[] {
    return this.#endpoints.map((endpoint) => endpoint.address);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Cuts every call and stream and closes the connections. */
  close(): void {
    this.#closed = true;
    for (const cancel of [...this.#cancels]) cancel();
    for (const { client } of this.#endpoints) client.close();
    for (const client of this.#retired) client.close();
  }

  /**
   * Makes one call. Throws EtcdUnavailable, EtcdDeadlineUnknown, the refusal, or the signal's reason (see errors.ts).
   */
  async unary<I extends DescMessage, O extends DescMessage>(call: UnaryCall<I, O>): Promise<MessageShape<O>> {
    const endsAtMs = transportClock.monotonicMs() + (call.deadlineMs ?? this.#deadlineMsDefault);
    let lastError: unknown;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      await sleep(transportClock, backoffMs(Math.floor(attempt / this.#endpoints.length), 25, 200), {
        signal: call.signal,
      });
      const endpoint = await this.#ready({ endsAtMs, signal: call.signal, only: call.endpoint, lastError });
      const leftMs = Math.max(1, endsAtMs - transportClock.monotonicMs());
      const mayMove = call.repeatable && call.endpoint === undefined && this.#endpoints.length > 1;
      const attemptMs = mayMove ? Math.min(leftMs, Math.max(leftMs / 2, ATTEMPT_MS_MIN)) : leftMs;
      try {
        return await this.#send(endpoint, call, attemptMs);
      } catch (error) {
        const outcome = outcomeOf(error);
        if (outcome === 'refused') throw refusal(error, call.method.name);
        this.#avoid(endpoint);
        if (outcome === 'unknown' && !call.repeatable) {
          const message = `No answer from etcd to a ${call.method.name} that was sent to ${endpoint.address}.`;
          throw new EtcdDeadlineUnknown(message, error);
        }
        call.signal?.throwIfAborted();
        lastError = error;
      }
    }
    throw new EtcdUnavailable(`etcd failed ${ATTEMPTS_MAX} attempts of ${call.method.name}.`, lastError);
  }

  #send<I extends DescMessage, O extends DescMessage>(
    endpoint: Endpoint,
    { method, request, signal, requireLeader }: UnaryCall<I, O>,
    deadlineMs: number,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      const call = endpoint.client.makeUnaryRequest(
        pathOf(method),
        (message: MessageShape<I>) => encode(method.input, message),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        request,
        metadataFor(requireLeader ?? true),
        { deadline: Date.now() + deadlineMs },
        (error, value) => {
          release();
          if (error === null && value !== undefined) resolve(value);
          else reject(error ?? new Error('gRPC gave neither an answer nor an error'));
        },
      );
      const release = this.#onCut(() => call.cancel(), signal);
    });
  }

  /** Opens a stream on a member whose connection is up, within 2 s. It ends when `signal` aborts. */
  async open<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    signal?: AbortSignal,
  ): Promise<Stream<I, O>> {
    const endpoint = await this.#ready({ endsAtMs: transportClock.monotonicMs() + OPEN_MS, signal });
    const call: ClientDuplexStream<MessageShape<I>, MessageShape<O>> = endpoint.client.makeBidiStreamRequest(
      pathOf(method),
      (message: MessageShape<I>) => encode(method.input, message),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      metadataFor(true),
    );
    const release = this.#onCut(() => call.cancel(), signal);
    const ended = new Promise<void>((resolve) => {
      call.once('close', resolve);
      // The error reaches who iterates over the messages; without this listener it would also be uncaught.
      call.on('error', () => resolve());
    });
    return {
      messages: call,
      ended,
      send: (message) => {
        call.write(message);
      },
      close: (outcome) => {
        release();
        call.cancel();
        if (outcome === 'failed') this.#avoid(endpoint);
      },
    };
  }

  /** Calls `cancel` when the transport closes or the signal aborts, until released. */
  #onCut(cancel: () => void, signal: AbortSignal | undefined): () => void {
    this.#cancels.add(cancel);
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted || this.#closed) cancel();
    return () => {
      this.#cancels.delete(cancel);
      signal?.removeEventListener('abort', cancel);
    };
  }

  /** An endpoint whose connection is up: the current one while it does well, else the next in order. */
  async #ready(wish: {
    endsAtMs: number;
    signal?: AbortSignal | undefined;
    only?: string | undefined;
    lastError?: unknown;
  }): Promise<Endpoint> {
    for (let round = 0; ; round += 1) {
      wish.signal?.throwIfAborted();
      if (this.#closed) throw new EtcdUnavailable('This etcd client is closed.');
      const leftMs = wish.endsAtMs - transportClock.monotonicMs();
      if (leftMs <= 0) throw await this.#unreachable(wish.only, wish.lastError);
      const endpoint = this.#choose(wish.only, round > 0);
      if (endpoint !== undefined) return endpoint;
      await sleep(transportClock, Math.min(leftMs, STATE_WAIT_MS), { signal: wish.signal, until: this.#stateChange() });
    }
  }

  #choose(only: string | undefined, acceptAvoided: boolean): Endpoint | undefined {
    const nowMs = transportClock.monotonicMs();
    const count = this.#endpoints.length;
    let avoided: number | undefined;
    let hasHope = false; // a member that has not failed lately may come up in a moment
    for (let step = 0; step < count; step += 1) {
      const index = (this.#current + step) % count;
      const endpoint = present(this.#endpoints[index], 'endpoint');
      // Asking wakes an idle connection, of the others too: they are then up when they are needed.
      const state = endpoint.client.getChannel().getConnectivityState(true);
      if (only !== undefined && endpoint.address !== only) continue;
      const isAvoided = endpoint.avoidUntilMs > nowMs && only === undefined;
      if (state !== connectivityState.READY) {
        if (!isAvoided && state !== connectivityState.TRANSIENT_FAILURE) hasHope = true;
      } else if (isAvoided) {
        avoided ??= index;
      } else {
        return this.#take(index, only);
      }
    }
    if (avoided === undefined || (hasHope && !acceptAvoided)) return undefined;
    return this.#take(avoided, only);
  }

  #take(index: number, only: string | undefined): Endpoint {
    if (only === undefined) this.#current = index;
    return present(this.#endpoints[index], 'endpoint');
  }

  #avoid(endpoint: Endpoint): void {
    endpoint.avoidUntilMs = transportClock.monotonicMs() + AVOID_MS;
  }

  /** Settles when any connection changes its state, or a little later; shared by all who wait. */
  #stateChange(): Promise<void> {
    this.#change ??= new Promise<void>((resolve) => {
      for (const { client } of this.#endpoints) {
        const channel = client.getChannel();
        const state = channel.getConnectivityState(false);
        channel.watchConnectivityState(state, Date.now() + STATE_WAIT_MS, () => {
          this.#change = undefined;
          resolve();
        });
      }
    });
    return this.#change;
  }

  /** The error for "no connection in time", with the reason of one connection: certificates are the usual one. */
  async #unreachable(only: string | undefined, lastError: unknown): Promise<EtcdUnavailable> {
    const addresses = only ?? this.addresses.join(', ');
    const endpoint = this.#endpoints.find(({ address }) => address === only) ?? this.#endpoints[this.#current];
    let cause = lastError;
    if (cause === undefined && endpoint !== undefined) {
      const method = Maintenance.method.status;
      const probe = { method, request: create(StatusRequestSchema), repeatable: true, requireLeader: false };
      cause = await this.#send(endpoint, probe, 50).then(
        () => undefined,
        (error: unknown) => error,
      );
    }
    const reason = isServiceError(cause) ? cause.details : cause === undefined ? 'slow' : messageOf(cause);
    return new EtcdUnavailable(`No etcd member answered in time (${addresses}): ${reason}.`, cause);
  }
}

/** How to connect to one member. */
function channelOf(address: string, tls: EtcdOptions['tls']): [ChannelCredentials, ChannelOptions] {
  if (tls === undefined) return [credentials.createInsecure(), CHANNEL_OPTIONS];
  const host = address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const isAddress = tls.serverName === undefined && isIP(host) !== 0;
  // RFC 6066 allows no IP address as server name, and Node warns of it: ask for a name that does not exist, verify the
  // address.
  const serverName = isAddress ? NO_NAME : tls.serverName;
  const named: ChannelOptions =
    serverName === undefined
      ? {}
      : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName };
  const verify = isAddress
    ? { checkServerIdentity: (_name: string, certificate: PeerCertificate) => checkServerIdentity(host, certificate) }
    : {};
  const [ca, key, cert] = [Buffer.from(tls.caPem), Buffer.from(tls.keyPem), Buffer.from(tls.certPem)];
  return [credentials.createSsl(ca, key, cert, verify), { ...CHANNEL_OPTIONS, ...named }];
}

function pathOf(method: { readonly parent: { readonly typeName: string }; readonly name: string }): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function encode<D extends DescMessage>(schema: D, message: MessageShape<D>): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function metadataFor(requireLeader: boolean): Metadata {
  const metadata = new Metadata();
  if (requireLeader) metadata.set('hasleader', 'true');
  return metadata;
}
