/**
 * The etcd v3 client: everything the rest of Groundplane may do with etcd.
 *
 * Guarantees: reads are linearizable unless asked otherwise and move on to other members within their deadline; a
 * transaction is sent once, never repeated; revisions are numbers, leases decimal strings (see records.ts); every error
 * is a CodedError (see errors.ts), or the reason of the signal for a read that was aborted.
 */
import { X509Certificate } from 'node:crypto';
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { CodedError, messageOf } from '../base/errors.ts';
import type { Clock } from '../core/ports/clock.ts';
import type {
  CallOptions,
  Etcd,
  GrantedLease,
  KeepOptions,
  KeptLease,
  Listing,
  ListOptions,
  TxnResult,
  WatchOptions,
} from './api.ts';
import type { PagedRecords, PageRequest, RecordPage } from './backup-file.ts';
import { EtcdCompacted } from './errors.ts';
import {
  type AlarmMember,
  AlarmRequest_AlarmAction,
  AlarmRequestSchema,
  AlarmType,
  Cluster,
  CompactionRequestSchema,
  DefragmentRequestSchema,
  KV,
  Lease,
  LeaseGrantRequestSchema,
  LeaseRevokeRequestSchema,
  Maintenance,
  MemberAddRequestSchema,
  MemberListRequestSchema,
  type Member as MemberMessage,
  MemberPromoteRequestSchema,
  MemberRemoveRequestSchema,
  RangeRequestSchema,
  type RangeResponseSchema,
  StatusRequestSchema,
} from './generated/rpc_pb.js';
import { GrpcChannel } from './grpc-channel.ts';
import { keepLease } from './lease.ts';
import { keyValueOf, txnMessage } from './messages.ts';
import { type KeyValue, keyBytes, leaseId, prefixEnd, revisionNumber, type Transaction } from './records.ts';
import { type EtcdOptions, Transport, transportClock } from './transport.ts';
import { watchPrefix } from './watch.ts';

export interface ReadOptions extends CallOptions {
  /** True: one member answers from its own state, which may be old; works without a leader. Default false. */
  readonly serializable?: boolean;
}

export interface PageOptions extends ListOptions, ReadOptions {
  /** Records asked for at once, default 500. */
  readonly pageEntries?: number;
}

export interface RevisionPageOptions extends ReadOptions, PageRequest {}

export interface MemberStatus {
  readonly endpoint: string;
  readonly version: string;
  readonly memberId: string;
  /** '0' where the member knows no leader. */
  readonly leaderId: string;
  readonly isLeader: boolean;
  readonly raftTerm: string;
  readonly revision: number;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  /** Alarms such as NOSPACE. */
  readonly errors: readonly string[];
}

/** The answer of each endpoint, or why it gave no answer. */
export type EndpointStatus = MemberStatus | { readonly endpoint: string; readonly unreachable: string };

export interface Member {
  readonly id: string;
  /** Empty until the member has started once. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  /** The member follows the others and has no vote yet. */
  readonly isLearner: boolean;
}

const PAGE_ENTRIES = 500;
const ENTRIES_MAX = 200_000;
const LIST_ATTEMPTS_MAX = 3;
const STATUS_MS = 1_000;

/**
 * etcd's v3 API, as far as we use it, on all members of a cluster. Guarantees: every call ends within its deadline (2 s
 * unless told otherwise); reads are repeated on other members while there is time, and see every write that ended
 * before them (except `serializable` reads); a change is sent at most once, and an unknown outcome is
 * EtcdDeadlineUnknown, never a failure. Revisions and versions are numbers, asserted to be safe integers.
 */
export class EtcdClient implements Etcd, PagedRecords {
  readonly clock: Clock = transportClock;
  readonly #transport: Transport;
  readonly #channel: GrpcChannel;
  #certPem: string | undefined;

  constructor(options: EtcdOptions) {
    this.#transport = new Transport(options);
    this.#channel = new GrpcChannel(this.#transport);
    this.#certPem = options.tls?.certPem;
  }

  /**
   * The common name of our certificate: who we are to etcd. Undefined without TLS, or where there is not exactly one.
   */
  get commonName(): string | undefined {
    if (this.#certPem === undefined) return undefined;
    const { CN }: { CN?: unknown } = new X509Certificate(this.#certPem).toLegacyObject().subject;
    return typeof CN === 'string' ? CN : undefined;
  }

  /** The certificate that connections which begin now use; undefined without TLS. */
  get certPem(): string | undefined {
    return this.#certPem;
  }

  /** Uses renewed credentials for later calls and watches; those that are under way continue. */
  renew(tls: NonNullable<EtcdOptions['tls']>): void {
    this.#certPem = tls.certPem;
    this.#transport.renew(tls);
  }

  /** From now on asks these endpoints (`host:port`), and no others; an empty list changes nothing. */
  ask(endpoints: readonly string[]): void {
    this.#transport.ask(endpoints);
  }

  /** Whether close() was called. */
  get isClosed(): boolean {
    return this.#transport.isClosed;
  }

  /** The record of `key`, or undefined. */
  async get(key: string, options: ReadOptions = {}): Promise<KeyValue | undefined> {
    const { kvs } = await this.#range({ key: keyBytes(key) }, options);
    return kvs[0] === undefined ? undefined : keyValueOf(kvs[0]);
  }

  /** All records under `prefix` as of one revision. Starts again if that revision is compacted in the meantime. */
  async list(prefix: string, options: PageOptions = {}): Promise<Listing> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#listOnce(prefix, options);
      } catch (error) {
        if (!(error instanceof EtcdCompacted) || attempt === LIST_ATTEMPTS_MAX) throw error;
      }
    }
  }

  async #listOnce(prefix: string, options: PageOptions): Promise<Listing> {
    const entriesMax = options.entriesMax ?? ENTRIES_MAX;
    const entries: KeyValue[] = [];
    let revision = 0;
    for await (const page of this.pages(prefix, options)) {
      revision = page.revision;
      for (const entry of page.entries) entries.push(entry);
      if (entries.length > entriesMax) {
        throw new CodedError('too-large', `etcd holds more than ${entriesMax} records under ${prefix}.`);
      }
    }
    return { revision, entries };
  }

  /**
   * All records under `prefix` as of one revision, page by page: no more than a page is held. Throws EtcdCompacted where
   * that revision is compacted meanwhile.
   */
  async *pages(prefix: string, options: RevisionPageOptions = {}): AsyncGenerator<RecordPage, void> {
    const rangeEnd = prefixEnd(keyBytes(prefix));
    const limit = BigInt(options.pageEntries ?? PAGE_ENTRIES);
    let key = keyBytes(prefix);
    let revision = BigInt(options.revision ?? 0);
    let total: number | null = null;
    for (;;) {
      const page = await this.#range({ key, rangeEnd, limit, revision }, options);
      if (revision === 0n) revision = page.header?.revision ?? 0n;
      total ??= revisionNumber(page.count);
      yield { revision: revisionNumber(revision), total, entries: page.kvs.map(keyValueOf) };
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return;
      key = new Uint8Array([...last.key, 0]); // the first key after the last one
    }
  }

  #range(
    fields: { key: Uint8Array; rangeEnd?: Uint8Array; limit?: bigint; revision?: bigint },
    { deadlineMs, signal, serializable = false }: ReadOptions,
  ): Promise<MessageShape<typeof RangeResponseSchema>> {
    const request = create(RangeRequestSchema, { ...fields, serializable });
    const requireLeader = !serializable;
    return this.#transport.unary({
      method: KV.method.range,
      request,
      repeatable: true,
      deadlineMs,
      signal,
      requireLeader,
    });
  }

  /**
   * Applies a transaction, once. Throws EtcdUnavailable (not applied), EtcdDeadlineUnknown (sent, but no answer, also
   * when aborted), `not-found` for a lease that does not exist, `too-large`, or `failed` if etcd refuses it.
   */
  async txn(transaction: Transaction, { deadlineMs, signal }: CallOptions = {}): Promise<TxnResult> {
    const request = txnMessage(transaction);
    const answer = await this.#transport.unary({
      method: KV.method.txn,
      request,
      repeatable: false,
      deadlineMs,
      signal,
    });
    const reads: (KeyValue | undefined)[] = [];
    for (const { response } of answer.responses) {
      if (response.case !== 'responseRange') continue;
      const kv = response.value.kvs[0];
      reads.push(kv === undefined ? undefined : keyValueOf(kv));
    }
    return { succeeded: answer.succeeded, revision: revisionNumber(answer.header?.revision), reads };
  }

  /** Delivers every change under `prefix` until the signal aborts (see watch.ts). */
  watch(prefix: string, options: WatchOptions): Promise<void> {
    return watchPrefix(this.#channel, prefix, options);
  }

  /** Grants a lease of at least `ttlSeconds`, a whole number. A grant whose answer was lost expires by itself. */
  async leaseGrant(ttlSeconds: number, { deadlineMs, signal }: CallOptions = {}): Promise<GrantedLease> {
    if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < 1) {
      throw new CodedError(
        'bad-input',
        `The TTL of a lease is a whole number of seconds, at least 1, not ${ttlSeconds}.`,
      );
    }
    const request = create(LeaseGrantRequestSchema, { TTL: BigInt(ttlSeconds) });
    const sentAtMs = this.clock.monotonicMs();
    const answer = await this.#transport.unary({
      method: Lease.method.leaseGrant,
      request,
      repeatable: true,
      deadlineMs,
      signal,
    });
    if (answer.error !== '') throw new CodedError('failed', `etcd granted no lease: ${answer.error}.`);
    const ttl = Number(answer.TTL);
    return { lease: answer.ID.toString(), ttlSeconds: ttl, validUntilMs: sentAtMs + ttl * 1_000 };
  }

  /** Revokes a lease and deletes its keys. A lease that is gone already is no error. */
  async leaseRevoke(lease: string, { deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const request = create(LeaseRevokeRequestSchema, { ID: leaseId(lease) });
    try {
      await this.#transport.unary({ method: Lease.method.leaseRevoke, request, repeatable: true, deadlineMs, signal });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'not-found') throw error;
    }
  }

  /** Renews a lease until it ends, `stop()` or the signal (see lease.ts). */
  keepLease(granted: GrantedLease, options: KeepOptions = {}): KeptLease {
    return keepLease(this.#channel, granted, options);
  }

  /** Asks each endpoint for its state. Never throws for members that do not answer. */
  status({ deadlineMs = STATUS_MS, signal }: CallOptions = {}): Promise<EndpointStatus[]> {
    const { method } = Maintenance;
    const request = create(StatusRequestSchema);
    return Promise.all(
      this.#transport.addresses.map(async (endpoint): Promise<EndpointStatus> => {
        try {
          const call = {
            method: method.status,
            request,
            repeatable: true,
            requireLeader: false,
            endpoint,
            deadlineMs,
            signal,
          };
          const answer = await this.#transport.unary(call);
          const memberId = answer.header?.memberId ?? 0n;
          return {
            endpoint,
            version: answer.version,
            memberId: memberId.toString(),
            leaderId: answer.leader.toString(),
            isLeader: memberId !== 0n && memberId === answer.leader,
            raftTerm: answer.raftTerm.toString(),
            revision: revisionNumber(answer.header?.revision),
            dbSizeBytes: Number(answer.dbSize),
            dbSizeInUseBytes: Number(answer.dbSizeInUse),
            errors: answer.errors,
          };
        } catch (error) {
          return { endpoint, unreachable: messageOf(error) };
        }
      }),
    );
  }

  /** The members of the cluster. */
  async members({ deadlineMs, signal }: CallOptions = {}): Promise<Member[]> {
    const request = create(MemberListRequestSchema);
    const { members } = await this.#transport.unary({
      method: Cluster.method.memberList,
      request,
      repeatable: true,
      deadlineMs,
      signal,
    });
    return members.map(memberOf);
  }

  /**
   * Adds a member that follows the others without a vote until it is promoted. CodedError 'failed' when there is one
   * that learns already, or a member has that URL.
   */
  async addLearner(peerUrl: string, { deadlineMs, signal }: CallOptions = {}): Promise<Member> {
    const request = create(MemberAddRequestSchema, { peerURLs: [peerUrl], isLearner: true });
    const { method } = Cluster;
    const call = { method: method.memberAdd, request, repeatable: false, deadlineMs, signal };
    const { member } = await this.#transport.unary(call);
    if (member === undefined) throw new CodedError('failed', 'etcd did not say which member it added.');
    return memberOf(member);
  }

  /** Gives a learner a vote. CodedError 'failed' while it has not caught up with the other members. */
  async promote(member: string, { deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const request = create(MemberPromoteRequestSchema, { ID: BigInt(member) });
    const { method } = Cluster;
    await this.#transport.unary({ method: method.memberPromote, request, repeatable: false, deadlineMs, signal });
  }

  /** Removes a member: it can never come back with its data. CodedError 'not-found' if there is none. */
  async removeMember(member: string, { deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const request = create(MemberRemoveRequestSchema, { ID: BigInt(member) });
    const { method } = Cluster;
    await this.#transport.unary({ method: method.memberRemove, request, repeatable: false, deadlineMs, signal });
  }

  /** Forgets the history before `revision`. Members do it by themselves (see member.ts). */
  async compact(revision: number, { deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const request = create(CompactionRequestSchema, { revision: BigInt(revision), physical: true });
    await this.#transport.unary({ method: KV.method.compact, request, repeatable: false, deadlineMs, signal });
  }

  /**
   * Defragments one member: its free pages go back to the file system. The member answers no request in the meantime:
   * seconds for a gibibyte.
   */
  async defragment(endpoint: string, { deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const request = create(DefragmentRequestSchema);
    const { method } = Maintenance;
    const call = {
      method: method.defragment,
      request,
      repeatable: false,
      requireLeader: false,
      endpoint,
      deadlineMs,
      signal,
    };
    await this.#transport.unary(call);
  }

  /** Disarms the alarm of every member that its database is full; etcd raises it again if it still is. */
  async disarm({ deadlineMs, signal }: CallOptions = {}): Promise<void> {
    const { method } = Maintenance;
    const alarm = async (fields: MessageInitShape<typeof AlarmRequestSchema>): Promise<readonly AlarmMember[]> => {
      const request = create(AlarmRequestSchema, fields);
      const answer = await this.#transport.unary({
        method: method.alarm,
        request,
        repeatable: true,
        deadlineMs,
        signal,
      });
      return answer.alarms;
    };
    for (const { memberID, alarm: kind } of await alarm({ action: AlarmRequest_AlarmAction.GET }))
      if (kind === AlarmType.NOSPACE)
        await alarm({ action: AlarmRequest_AlarmAction.DEACTIVATE, memberID, alarm: AlarmType.NOSPACE });
  }

  /** A call about users and roles, one that may be repeated: for authorization.ts. */
  manage<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    { deadlineMs, signal }: CallOptions,
  ): Promise<MessageShape<O>> {
    return this.#transport.unary({ method, request, repeatable: true, deadlineMs, signal });
  }

  /** Ends every call, watch and renewal, and closes the connections. Leases are left to expire. */
  close(): void {
    this.#transport.close();
  }
}

function memberOf({ ID, name, peerURLs, clientURLs, isLearner }: MemberMessage): Member {
  return { id: ID.toString(), name, peerUrls: peerURLs, clientUrls: clientURLs, isLearner };
}
