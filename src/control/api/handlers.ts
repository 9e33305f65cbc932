/** What each operation does: a call of the backend, and nothing else. The table must be complete to compile. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { TSchema } from 'typebox';
import type { View } from '../../api/common.ts';
import { buildOpenApi } from '../../api/openapi.ts';
import type { OPERATIONS, OperationId, ParameterName } from '../../api/operations.ts';
import type { ArtifactKind, ArtifactQuery } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { demandFileSize } from '../../core/request/demands.ts';
import type { Backend, Call, Conditional } from './backend.ts';
import { cookieOf, noCookie } from './browser.ts';
import { eventStream } from './event-stream.ts';
import type { Sender } from './forward.ts';
import { prometheusText } from './prometheus.ts';

type ViewOf<S> = S extends TSchema ? View<S> : null;

/** A validated request. */
export interface Input<Id extends OperationId> {
  readonly params: Readonly<Record<ParameterName, string>>;
  readonly query: ViewOf<(typeof OPERATIONS)[Id]['query']>;
  readonly body: ViewOf<(typeof OPERATIONS)[Id]['body']>;
  readonly condition: Conditional;
  readonly headers: IncomingHttpHeaders;
  /** The body of an operation that takes bytes. */
  readonly bytes: Readable | null;
  readonly call: Call;
  readonly sender: Sender;
  /** Adds a Set-Cookie header to the answer. */
  readonly setCookie: (header: string) => void;
}

type Answer<Id extends OperationId> = (typeof OPERATIONS)[Id]['answer'] extends TSchema
  ? (typeof OPERATIONS)[Id]['answerMedium'] extends 'event-stream'
    ? Readable
    : ViewOf<(typeof OPERATIONS)[Id]['answer']>
  : string | undefined;

/** One handler per operation; the console is an upgrade and has its own module. */
export type Handlers = { readonly [Id in OperationId]: (input: Input<Id>) => Promise<Answer<Id>> };

export interface HandlerOptions {
  readonly backend: Backend;
  readonly heartbeatMs: number;
  /** Of Groundplane, for the OpenAPI document. */
  readonly version: string;
}

/** The most event streams that one control node serves at once. */
const WATCHES_MAX = LIMITS.eventStreams.max;

/** The whole table for one backend; its errors pass through. */
export function handlersFor({ backend, heartbeatMs, version }: HandlerOptions): Handlers {
  let document: Readonly<Record<string, unknown>> | undefined;
  const watches = new Set<Readable>();
  return {
    ...vmHandlers(backend),
    ...nodeHandlers(backend),
    ...drainHandlers(backend),
    ...imageHandlers(backend),
    ...accessHandlers(backend),
    ...sessionHandlers(backend, version),
    ...sharedDiskHandlers(backend),
    ...guestClusterHandlers(backend),
    listTasks: ({ query, call }) => backend.listTasks(query, call),
    getTask: ({ params, query, call }) => backend.getTask(params.task, (query.wait ?? 0) * 1_000, call),
    cancelTask: ({ params, call }) => backend.cancelTask(params.task, call),
    listEvents: ({ query, call }) => backend.listEvents(query, call),
    watch: async ({ query: { kind = [], from, ...filter }, headers, call }) => {
      const after = lastEventId(headers) ?? from ?? null;
      const isFiltered = Object.keys(filter).length > 0;
      if (isFiltered && kind.some((each) => each !== 'event')) {
        throw new CodedError('bad-input', 'The filters eventKind, vm, host and since are for events only.', {
          advice: 'Leave them out, or watch kind=event.',
        });
      }
      // Each event stream filters every change by itself.
      if (watches.size >= WATCHES_MAX) {
        throw new CodedError('unavailable', `${WATCHES_MAX} event streams are open at this control node already.`, {
          advice: 'Nothing was changed. Close one of them, then try again.',
        });
      }
      const kinds = isFiltered ? (['event'] as const) : kind;
      const changes = backend.watch({ after, kinds, filter: isFiltered ? filter : null }, call);
      const stream = eventStream(changes, heartbeatMs, call.signal);
      watches.add(stream);
      const isOver = (): void => void watches.delete(stream);
      stream.once('close', isOver);
      // The client may have gone before the stream began: that stream ends too.
      call.signal.addEventListener('abort', isOver, { once: true });
      return stream;
    },
    getCluster: ({ call }) => backend.cluster(call),
    health: () => backend.health(),
    metrics: async () => prometheusText(await backend.metrics()),
    // Made for who asks for it first: most servers are never asked.
    openapi: async () => {
      document ??= buildOpenApi(version) as Record<string, unknown>;
      return document;
    },
  };
}

type VmOperations = Extract<OperationId, `${string}Vm` | `${string}Vms` | `vm${string}`>;

function vmHandlers(backend: Backend): Pick<Handlers, VmOperations> {
  return {
    listVms: ({ query, call }) => backend.listVms(query, call),
    createVm: ({ body, call }) => backend.createVm(body, call),
    getVm: ({ params, call }) => backend.getVm(params.vm, call),
    patchVm: ({ params, body, condition, call }) => backend.patchVm(params.vm, { ...body, ...condition }, call),
    vmAddNic: ({ params, body, condition, call }) => backend.addNic(params.vm, { ...body, ...condition }, call),
    vmRemoveNic: ({ params, condition, call }) => backend.removeNic(params.vm, { mac: params.mac, ...condition }, call),
    deleteVm: ({ params, condition, call }) => backend.deleteVm(params.vm, condition, call),
    startVm: ({ params, call }) => backend.startVm(params.vm, call),
    stopVm: ({ params, body, call }) => backend.stopVm(params.vm, body, call),
    resetVm: ({ params, call }) => backend.resetVm(params.vm, call),
    suspendVm: ({ params, call }) => backend.suspendVm(params.vm, call),
    resumeVm: ({ params, call }) => backend.resumeVm(params.vm, call),
    migrateVm: ({ params, body, call }) => backend.migrateVm(params.vm, body, call),
    vmLog: ({ params, query, call }) => backend.vmLog(params.vm, query, call),
    vmEvents: ({ params, query, call }) => backend.listEvents({ ...query, vm: params.vm }, call),
    vmConsoleTicket: ({ params, body, call }) => backend.createConsoleTicket(params.vm, body, call),
    vmConsole: async () => {
      throw new CodedError('bad-input', 'The console is reached by an HTTP Upgrade.', {
        advice: 'Send "Connection: Upgrade" and "Upgrade: groundplane-console", or use `gp vm console`.',
      });
    },
  };
}

type NodeOperations = Exclude<
  | Extract<OperationId, `${string}Host` | `${string}Hosts` | `${string}Nodes` | `${string}Node`>
  | Extract<OperationId, `${string}Network` | `${string}Networks` | `${string}Disk` | `${string}Disks`>,
  SharedDiskOperations | GuestClusterOperations | DrainOperations
>;

function nodeHandlers(backend: Backend): Pick<Handlers, NodeOperations> {
  return {
    listHosts: ({ query, call }) => backend.listHosts(query, call),
    getHost: ({ params, call }) => backend.getHost(params.host, call),
    patchHost: ({ params, body, condition, call }) => backend.patchHost(params.host, { ...body, ...condition }, call),
    deleteHost: async ({ params, query, condition, call }) => {
      await backend.deleteHost(params.host, { ...query, ...condition }, call);
      return undefined;
    },
    listStorageNodes: ({ query, call }) => backend.listStorageNodes(query, call),
    getStorageNode: ({ params, call }) => backend.getStorageNode(params.node, call),
    deleteStorageNode: ({ params, query, condition, call }) =>
      backend.deleteStorageNode(params.node, { ...query, ...condition }, call),
    listControlNodes: ({ query, call }) => backend.listControlNodes(query, call),
    listNetworks: ({ query, call }) => backend.listNetworks(query, call),
    createNetwork: ({ body, call }) => backend.createNetwork(body, call),
    getNetwork: ({ params, call }) => backend.getNetwork(params.network, call),
    deleteNetwork: async ({ params, condition, call }) => {
      await backend.deleteNetwork(params.network, condition, call);
      return undefined;
    },
    listDisks: ({ query, call }) => backend.listDisks(query, call),
    getDisk: ({ params, call }) => backend.getDisk(params.disk, call),
  };
}

type DrainOperations =
  | Extract<OperationId, `${string}Drain` | `${string}Drains`>
  | Extract<OperationId, 'drainHost' | 'undrainHost' | 'planMaintenance'>;

function drainHandlers(backend: Backend): Pick<Handlers, DrainOperations> {
  return {
    planHostDrain: ({ params, body, call }) => backend.planHostDrain(params.host, body, call),
    drainHost: ({ params, body, call }) => backend.drainHost(params.host, body, call),
    undrainHost: ({ params, call }) => backend.undrainHost(params.host, call),
    planMaintenance: ({ body, call }) => backend.planMaintenance(body, call),
    listDrains: ({ query, call }) => backend.listDrains(query, call),
    getDrain: ({ params, call }) => backend.getDrain(params.drain, call),
    pauseDrain: ({ params, call }) => backend.pauseDrain(params.drain, call),
    resumeDrain: ({ params, call }) => backend.resumeDrain(params.drain, call),
    cancelDrain: ({ params, call }) => backend.cancelDrain(params.drain, call),
  };
}

type SharedDiskOperations = Extract<OperationId, `${string}SharedDisk` | `${string}SharedDisks`>;

function sharedDiskHandlers(backend: Backend): Pick<Handlers, SharedDiskOperations> {
  return {
    listSharedDisks: ({ query, call }) => backend.listSharedDisks(query, call),
    createSharedDisk: ({ body, call }) => backend.createSharedDisk(body, call),
    getSharedDisk: ({ params, call }) => backend.getSharedDisk(params.sharedDisk, call),
    patchSharedDisk: ({ params, body, condition, call }) =>
      backend.patchSharedDisk(params.sharedDisk, { ...body, ...condition }, call),
    deleteSharedDisk: ({ params, condition, call }) => backend.deleteSharedDisk(params.sharedDisk, condition, call),
    attachSharedDisk: ({ params, body, condition, call }) =>
      backend.attachSharedDisk(params.sharedDisk, { ...body, ...condition }, call),
    detachSharedDisk: ({ params, condition, call }) =>
      backend.detachSharedDisk(params.sharedDisk, params.vm, condition, call),
  };
}

type GuestClusterOperations = Extract<OperationId, `${string}GuestCluster${string}`>;

function guestClusterHandlers(backend: Backend): Pick<Handlers, GuestClusterOperations> {
  return {
    listGuestClusters: ({ query, call }) => backend.listGuestClusters(query, call),
    createGuestCluster: ({ body, call }) => backend.createGuestCluster(body, call),
    getGuestCluster: ({ params, call }) => backend.getGuestCluster(params.guestCluster, call),
    patchGuestCluster: ({ params, body, condition, call }) =>
      backend.patchGuestCluster(params.guestCluster, { ...body, ...condition }, call),
    deleteGuestCluster: ({ params, query, condition, call }) =>
      backend.deleteGuestCluster(params.guestCluster, { ...query, ...condition }, call),
    addGuestClusterMember: ({ params, body, condition, call }) =>
      backend.addGuestClusterMember(params.guestCluster, { ...body, ...condition }, call),
    removeGuestClusterMember: ({ params, condition, call }) =>
      backend.removeGuestClusterMember(params.guestCluster, params.vm, condition, call),
    addGuestClusterDisk: ({ params, body, condition, call }) =>
      backend.addGuestClusterDisk(params.guestCluster, { ...body, ...condition }, call),
    removeGuestClusterDisk: ({ params, query, condition, call }) =>
      backend.removeGuestClusterDisk(params.guestCluster, params.sharedDiskName, { ...query, ...condition }, call),
  };
}

type ImageOperations = Extract<OperationId, `${string}Image` | `${string}Images` | `${string}Artifact`>;

function imageHandlers(backend: Backend): Pick<Handlers, ImageOperations> {
  return {
    listImages: ({ query, call }) => backend.listImages(query, call),
    getImage: ({ params, call }) => backend.getImage(params.image, call),
    putImage: ({ params, body, call }) => {
      if (body.disk === undefined && body.direct === undefined) {
        throw new CodedError('bad-input', 'An image needs a disk, a kernel or both.', {
          advice: 'Nothing was changed.',
        });
      }
      return backend.putImage(params.image, body, call);
    },
    deleteImage: async ({ params, condition, call }) => {
      await backend.deleteImage(params.image, condition, call);
      return undefined;
    },
    getArtifact: ({ params, call }) => backend.getArtifact(params.sha256, call),
    putArtifact: async ({ params, query, headers, bytes, call }) => {
      if (bytes === null) {
        throw new CodedError('bad-input', 'The upload has no content.', {
          advice: 'Send the file with Content-Type application/octet-stream.',
        });
      }
      const upload = {
        sha256: params.sha256,
        kind: query.kind,
        ...sizesOf(query, headers),
        body: bytes,
      };
      return backend.putArtifact(upload, call);
    },
    deleteArtifact: async ({ params, call }) => {
      await backend.deleteArtifact(params.sha256, call);
      return undefined;
    },
  };
}

type SessionOperations = Extract<
  OperationId,
  'beginSession' | 'whoAmI' | `${string}Session` | `${string}Sessions` | 'createSessionLink'
>;

/** What a browser says of itself is kept to be read by people: bounded, and printable. */
const AGENT_CHARS_MAX = 200;

function sessionHandlers(backend: Backend, version: string): Pick<Handlers, SessionOperations> {
  return {
    beginSession: async ({ body, headers, sender: { address, host }, setCookie }) => {
      const agent = printable(headers['user-agent'] ?? '').slice(0, AGENT_CHARS_MAX);
      const { cookie, session } = await backend.beginSession(body, { address, agent });
      setCookie(cookieOf(host, cookie, Date.parse(session.expiresAt) - Date.parse(session.createdAt)));
      return session;
    },
    whoAmI: async ({ call: { principal } }) => {
      const { name, session = null } = principal;
      const kind = session === null ? 'token' : 'session';
      const own = session === null ? null : { id: session.id, expiresAt: new Date(session.expiresAt).toISOString() };
      return { name, kind, session: own, version };
    },
    endSession: async ({ sender, call, setCookie }) => {
      const { session = null } = call.principal;
      if (session === null)
        throw new CodedError('not-found', 'The request has an API token and no session.', {
          advice: 'Nothing was changed. "gp token delete" revokes a token, with all its sessions.',
        });
      await backend.endSession(session.id, call);
      setCookie(noCookie(sender.host));
      return undefined;
    },
    createSessionLink: ({ call }) => backend.createSessionLink(call),
    listSessions: ({ query, call }) => backend.listSessions(query, call),
    endOwnSessions: async ({ sender, call, setCookie }) => {
      await backend.endSessions(call);
      setCookie(noCookie(sender.host));
      return undefined;
    },
    endOtherSession: async ({ params, call }) => {
      await backend.endSession(params.session, call);
      return undefined;
    },
  };
}

type AccessOperations = Extract<OperationId, `${string}Token` | `${string}Tokens` | 'join'>;

function accessHandlers(backend: Backend): Pick<Handlers, AccessOperations> {
  return {
    listTokens: ({ query, call }) => backend.listTokens(query, call),
    createToken: ({ body, call }) => backend.createToken(body, call),
    deleteToken: async ({ params, call }) => {
      await backend.deleteToken(params.token, call);
      return undefined;
    },
    createJoinToken: ({ body, call }) => backend.createJoinToken(body, call),
    join: ({ body, call }) => backend.join(body, call.signal),
  };
}

function sizesOf({ kind, dataBytes }: ArtifactQuery, headers: IncomingHttpHeaders) {
  const sizeBytes = uploadSize(kind, headers);
  return { sizeBytes, dataBytes: Math.min(dataBytes ?? sizeBytes, sizeBytes) };
}

/** Returns the Content-Length of an upload. CodedError 'bad-input' without one, 'too-large' above the limit. */
export function uploadSize(kind: ArtifactKind, headers: IncomingHttpHeaders): number {
  const sizeBytes = Number(headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1) {
    throw new CodedError('bad-input', 'An upload needs a Content-Length of at least 1.', {
      advice: 'Nothing was stored.',
    });
  }
  demandFileSize(kind, sizeBytes);
  return sizeBytes;
}

function lastEventId(headers: IncomingHttpHeaders): string | null {
  const id = headers['last-event-id'];
  if (id === undefined || id === '') return null;
  if (typeof id !== 'string' || !/^[0-9]{1,19}$/.test(id)) {
    throw new CodedError('bad-input', 'Last-Event-ID is not a revision.', {
      advice: 'Send the id of the last event received.',
    });
  }
  return id;
}
