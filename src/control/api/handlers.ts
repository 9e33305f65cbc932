/** Each operation as one call of the backend. The table must be complete to compile. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { TSchema } from 'typebox';
import type { View } from '../../api/common.ts';
import { buildOpenApi } from '../../api/openapi.ts';
import type { OPERATIONS, OperationId } from '../../api/operations.ts';
import type { ParameterName } from '../../api/parameters.ts';
import type { ArtifactKind, ArtifactQuery } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { demandFileSize } from '../../core/request/demands.ts';
import type { Backend } from '../backend/backend.ts';
import { signature, signed } from '../backend/guarded.ts';
import { cookieOf, noCookie } from './browser.ts';
import type { Call, Conditional } from './call.ts';
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
  : (typeof OPERATIONS)[Id]['answerMedium'] extends 'bytes'
    ? Readable
    : string | undefined;

/** One handler per operation; the console is an upgrade and has its own module. */
export type Handlers = { readonly [Id in OperationId]: (input: Input<Id>) => Promise<Answer<Id>> };

export interface HandlerOptions {
  readonly backend: Backend;
  readonly heartbeatMs: number;
  /** Groundplane's version, for the OpenAPI document. */
  readonly version: string;
  /** The server's version and the build of its web interface, as every answer names them. */
  readonly build: () => string;
}

/** The most event streams that one control node serves at once. */
const WATCHES_MAX = LIMITS.eventStreams.max;

/** The whole table for one backend; its errors pass through. */
export function handlersFor({ backend, heartbeatMs, version, build }: HandlerOptions): Handlers {
  let document: Readonly<Record<string, unknown>> | undefined;
  const watches = new Set<Readable>();
  return {
    ...vmHandlers(backend),
    ...nodeHandlers(backend),
    ...drainHandlers(backend),
    ...imageHandlers(backend),
    ...accessHandlers(backend),
    ...overviewHandlers(backend),
    ...sessionHandlers(backend, { version, build }),
    ...sharedDiskHandlers(backend),
    ...guestClusterHandlers(backend),
    listTasks: ({ query, call }) => backend.tasks.list(query, call),
    getTask: ({ params, query, call }) => backend.tasks.get(params.task, (query.wait ?? 0) * 1_000, call),
    cancelTask: ({ params }) => backend.tasks.cancel(params.task),
    listTies: ({ query, call }) => backend.ties.list(query, call),
    renewTie: ({ params, body, call }) => backend.ties.renew(params.debt, signature(body, call.principal.name)),
    listEvents: ({ query, call }) => backend.events.list(query, call),
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
      const changes = backend.events.watch({ after, kinds, filter: isFiltered ? filter : null }, call);
      const stream = eventStream(changes, heartbeatMs, call.signal);
      watches.add(stream);
      const isOver = (): void => void watches.delete(stream);
      stream.once('close', isOver);
      // The client may have gone before the stream began: that stream ends too.
      call.signal.addEventListener('abort', isOver, { once: true });
      return stream;
    },
    getCluster: () => backend.cluster.get(),
    listBackups: ({ query, call }) => backend.backups.list(query, call),
    readBackup: ({ call }) => backend.backups.read(call),
    listUnknownVms: ({ query, call }) => backend.unknownVms.list(query, call),
    adoptUnknownVm: ({ params, body, call }) => backend.unknownVms.adopt(params.unknownVm, body, call),
    deleteUnknownVm: ({ params, query, call }) => backend.unknownVms.delete(params.unknownVm, query, call),
    finalizeCluster: ({ call }) => backend.cluster.finalize(call),
    getLab: () => backend.lab.get(),
    injectFault: ({ body }) => backend.lab.inject(body),
    health: () => backend.controlNodes.health(),
    metrics: async () => prometheusText(await backend.cluster.metrics()),
    // Made for who asks for it first: most servers are never asked.
    openapi: async () => {
      document ??= buildOpenApi(version) as Record<string, unknown>;
      return document;
    },
  };
}

type VmOperations = Exclude<
  Extract<OperationId, `${string}Vm` | `${string}Vms` | `vm${string}`>,
  OverviewOperations | `${string}UnknownVm` | `${string}UnknownVms`
>;

function vmHandlers(backend: Backend): Pick<Handlers, VmOperations> {
  return {
    listVms: ({ query, call }) => backend.vms.list(query, call),
    createVm: ({ body, call }) => backend.vms.create(signed(body, call.principal.name)),
    checkNewVm: ({ body, call }) => backend.vms.checkNew(signed(body, call.principal.name), call),
    checkVm: ({ params, body, call }) => backend.vms.check(params.vm, signed(body, call.principal.name), call),
    getVm: async ({ params }) => backend.vms.get(params.vm),
    patchVm: ({ params, body, condition, call }) =>
      backend.vms.patch(params.vm, { ...signed(body, call.principal.name), ...condition }),
    vmAddNic: ({ params, body, condition }) => backend.vms.addNic(params.vm, { ...body, ...condition }),
    vmRemoveNic: ({ params, condition }) => backend.vms.removeNic(params.vm, { mac: params.mac, ...condition }),
    deleteVm: ({ params, condition }) => backend.vms.delete(params.vm, condition),
    startVm: ({ params, body, call }) => backend.vms.start(params.vm, signed(body, call.principal.name)),
    stopVm: ({ params, body }) => backend.vms.stop(params.vm, body),
    resetVm: ({ params }) => backend.vms.reset(params.vm),
    suspendVm: ({ params }) => backend.vms.suspend(params.vm),
    resumeVm: ({ params }) => backend.vms.resume(params.vm),
    migrateVm: ({ params, body }) => backend.vms.migrate(params.vm, body),
    vmGuest: ({ params }) => backend.vms.guest(params.vm),
    vmLog: ({ params, query }) => backend.vms.log(params.vm, query),
    vmFigures: ({ params }) => backend.vms.figures(params.vm),
    vmEvents: ({ params, query, call }) => backend.events.list({ ...query, vm: params.vm }, call),
    vmConsoleTicket: ({ params, body, call }) => backend.sessions.createConsoleTicket(params.vm, body, call),
    vmConsole: async () => refuseWithoutUpgrade('groundplane-console', '`gp vm console`'),
    vmDisplay: async () => refuseWithoutUpgrade('groundplane-console', '`gp vm vnc`'),
    vmSerialSocket: async () => refuseWithoutUpgrade('websocket', 'the web interface'),
    vmVncSocket: async () => refuseWithoutUpgrade('websocket', 'the web interface'),
  };
}

function refuseWithoutUpgrade(protocol: string, instead: string): never {
  throw new CodedError('bad-input', 'A console is reached by an HTTP Upgrade.', {
    advice: `Send "Connection: Upgrade" and "Upgrade: ${protocol}", or use ${instead}.`,
  });
}

type NodeOperations = Exclude<
  | 'getAuthority'
  | 'rotateAuthority'
  | Extract<OperationId, `${string}Host` | `${string}Hosts` | `${string}Nodes` | `${string}Node`>
  | Extract<OperationId, `${string}Network` | `${string}Networks` | `${string}Disk` | `${string}Disks`>,
  SharedDiskOperations | GuestClusterOperations | DrainOperations
>;

function nodeHandlers(backend: Backend): Pick<Handlers, NodeOperations> {
  return {
    listHosts: ({ query, call }) => backend.hosts.list(query, call),
    getHost: async ({ params }) => backend.hosts.get(params.host),
    patchHost: ({ params, body, condition }) => backend.hosts.patch(params.host, { ...body, ...condition }),
    deleteHost: ({ params, query, condition, call }) =>
      backend.hosts.delete(params.host, { ...query, ...condition }, call),
    listStorageNodes: ({ query, call }) => backend.storageNodes.list(query, call),
    getStorageNode: async ({ params }) => backend.storageNodes.get(params.node),
    deleteStorageNode: ({ params, query, condition, call }) =>
      backend.storageNodes.delete(params.node, { ...query, ...condition }, call),
    drainControlNode: ({ params, body, call }) => backend.controlNodes.drain(params.node, body, call),
    undrainControlNode: ({ params, call }) => backend.controlNodes.undrain(params.node, call),
    drainStorageNode: ({ params, body, call }) => backend.storageNodes.drain(params.node, body, call),
    undrainStorageNode: ({ params, call }) => backend.storageNodes.undrain(params.node, call),
    listControlNodes: ({ query, call }) => backend.controlNodes.list(query, call),
    getAuthority: async () => backend.authority.show(),
    rotateAuthority: ({ call }) => backend.authority.rotate(call),
    deleteControlNode: async ({ params, call }) => {
      await backend.controlNodes.delete(params.control, call);
      return undefined;
    },
    listNetworks: ({ query, call }) => backend.networks.list(query, call),
    createNetwork: ({ body }) => backend.networks.create(body),
    getNetwork: async ({ params }) => backend.networks.get(params.network),
    patchNetwork: ({ params, body, condition }) => backend.networks.patch(params.network, { ...body, ...condition }),
    deleteNetwork: async ({ params, condition }) => {
      await backend.networks.delete(params.network, condition);
      return undefined;
    },
    listDisks: ({ query, call }) => backend.storageNodes.listDisks(query, call),
    getDisk: async ({ params }) => backend.storageNodes.getDisk(params.disk),
  };
}

type DrainOperations =
  | Extract<OperationId, `${string}Drain` | `${string}Drains` | `${string}Roll` | `${string}Rolls`>
  | Extract<OperationId, 'drainHost' | 'undrainHost' | 'returnToHost' | 'planMaintenance' | 'reportRollWork'>;

function drainHandlers(backend: Backend): Pick<Handlers, DrainOperations> {
  return {
    planControlNodeDrain: ({ params, body, call }) => backend.controlNodes.planDrain(params.node, body, call),
    planStorageNodeDrain: async ({ params, body, call }) => backend.storageNodes.planDrain(params.node, body, call),
    planHostDrain: ({ params, body, call }) => backend.drains.plan(params.host, body, call),
    drainHost: ({ params, body, call }) => backend.drains.start(params.host, body, call),
    returnToHost: ({ params, body, call }) => backend.drains.returnVms(params.host, body, call.principal.name),
    undrainHost: ({ params }) => backend.hosts.undrain(params.host),
    planMaintenance: ({ body, call }) => backend.maintenancePlans.plan(body, call.signal),
    listRolls: ({ query, call }) => backend.rolls.list(query, call),
    startRoll: ({ body, call }) => backend.rolls.start(body, call.principal.name),
    getRoll: async ({ params }) => backend.rolls.get(params.roll),
    pauseRoll: ({ params }) => backend.rolls.pause(params.roll),
    resumeRoll: ({ params, body }) => backend.rolls.resume(params.roll, body),
    abortRoll: ({ params }) => backend.rolls.abort(params.roll),
    reportRollWork: ({ params, body }) => backend.rolls.report(params.roll, body),
    listDrains: ({ query, call }) => backend.drains.list(query, call),
    getDrain: async ({ params }) => backend.drains.get(params.drain),
    pauseDrain: ({ params }) => backend.drains.pause(params.drain, true),
    resumeDrain: ({ params }) => backend.drains.pause(params.drain, false),
    cancelDrain: ({ params }) => backend.drains.cancel(params.drain),
  };
}

type SharedDiskOperations = Extract<OperationId, `${string}SharedDisk` | `${string}SharedDisks`>;

function sharedDiskHandlers(backend: Backend): Pick<Handlers, SharedDiskOperations> {
  return {
    listSharedDisks: ({ query, call }) => backend.sharedDisks.list(query, call),
    createSharedDisk: ({ body }) => backend.sharedDisks.create(body),
    getSharedDisk: async ({ params }) => backend.sharedDisks.get(params.sharedDisk),
    patchSharedDisk: ({ params, body, condition }) =>
      backend.sharedDisks.patch(params.sharedDisk, { ...body, ...condition }),
    deleteSharedDisk: ({ params, condition }) => backend.sharedDisks.delete(params.sharedDisk, condition),
    attachSharedDisk: ({ params, body, condition }) =>
      backend.sharedDisks.attach(params.sharedDisk, { ...body, ...condition }),
    detachSharedDisk: ({ params, condition }) => backend.sharedDisks.detach(params.sharedDisk, params.vm, condition),
  };
}

type GuestClusterOperations = Extract<OperationId, `${string}GuestCluster${string}`>;

function guestClusterHandlers(backend: Backend): Pick<Handlers, GuestClusterOperations> {
  return {
    listGuestClusters: ({ query, call }) => backend.guestClusters.list(query, call),
    createGuestCluster: ({ body, call }) => backend.guestClusters.create(signed(body, call.principal.name)),
    getGuestCluster: async ({ params }) => backend.guestClusters.get(params.guestCluster),
    patchGuestCluster: ({ params, body, condition, call }) =>
      backend.guestClusters.patch(params.guestCluster, { ...signed(body, call.principal.name), ...condition }),
    deleteGuestCluster: ({ params, query, condition }) =>
      backend.guestClusters.delete(params.guestCluster, { ...query, ...condition }),
    addGuestClusterMember: ({ params, body, condition, call }) =>
      backend.guestClusters.addMember(params.guestCluster, { ...signed(body, call.principal.name), ...condition }),
    removeGuestClusterMember: ({ params, condition }) =>
      backend.guestClusters.removeMember(params.guestCluster, params.vm, condition),
    addGuestClusterDisk: ({ params, body, condition }) =>
      backend.guestClusters.addDisk(params.guestCluster, { ...body, ...condition }),
    removeGuestClusterDisk: ({ params, query, condition }) =>
      backend.guestClusters.removeDisk(params.guestCluster, params.sharedDiskName, { ...query, ...condition }),
  };
}

type ImageOperations = Extract<OperationId, `${string}Image` | `${string}Images` | `${string}Artifact`>;

function imageHandlers(backend: Backend): Pick<Handlers, ImageOperations> {
  return {
    listImages: ({ query, call }) => backend.images.list(query, call),
    getImage: async ({ params }) => backend.images.get(params.image),
    putImage: ({ params, body }) => {
      if (body.disk === undefined && body.direct === undefined) {
        throw new CodedError('bad-input', 'An image needs a disk, a kernel or both.', {
          advice: 'Nothing was changed.',
        });
      }
      return backend.images.put(params.image, body);
    },
    deleteImage: async ({ params, condition }) => {
      await backend.images.delete(params.image, condition);
      return undefined;
    },
    getArtifact: async ({ params }) => backend.artifacts.get(params.sha256),
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
      return backend.artifacts.put(upload, call);
    },
    deleteArtifact: async ({ params }) => {
      await backend.artifacts.delete(params.sha256);
      return undefined;
    },
  };
}

type OverviewOperations = Extract<OperationId, `${string}Actions` | `${string}Rows` | 'actOnVms' | 'listTaskVms'>;

function overviewHandlers({ overview, vms, tasks }: Backend): Pick<Handlers, OverviewOperations> {
  return {
    actOnVms: ({ body, call }) => vms.act(signed(body, call.principal.name)),
    listTaskVms: ({ params, query, call }) => tasks.listVms(params.task, query, call),
    vmActions: async ({ params }) => overview.actionsOf('vm', params.vm),
    hostActions: async ({ params }) => overview.actionsOf('host', params.host),
    drainActions: async ({ params }) => overview.actionsOf('drain', params.drain),
    rollActions: async ({ params }) => overview.actionsOf('roll', params.roll),
    taskActions: async ({ params }) => overview.actionsOf('task', params.task),
    listHostRows: ({ query, call }) => overview.hosts(query, call),
    listVmRows: ({ query, call }) => overview.vms(query, call),
  };
}

type SessionOperations = Extract<
  OperationId,
  'beginSession' | 'whoAmI' | `${string}Session` | `${string}Sessions` | 'createSessionLink'
>;

/** The browser's own description is kept for people to read: bounded and printable. */
const AGENT_CHARS_MAX = 200;

function sessionHandlers(
  backend: Backend,
  { version, build }: Pick<HandlerOptions, 'version' | 'build'>,
): Pick<Handlers, SessionOperations> {
  return {
    beginSession: async ({ body, headers, sender: { address, host }, setCookie }) => {
      const agent = printable(headers['user-agent'] ?? '').slice(0, AGENT_CHARS_MAX);
      const { cookie, session } = await backend.sessions.beginSession(body, { address, agent });
      setCookie(cookieOf(host, cookie, Date.parse(session.expiresAt) - Date.parse(session.createdAt)));
      return session;
    },
    whoAmI: async ({ call: { principal } }) => {
      const { name, session = null } = principal;
      const kind = session === null ? 'token' : 'session';
      const own = session === null ? null : { id: session.id, expiresAt: new Date(session.expiresAt).toISOString() };
      return { name, kind, session: own, version, build: build() };
    },
    endSession: async ({ sender, call, setCookie }) => {
      const { session = null } = call.principal;
      if (session === null)
        throw new CodedError('not-found', 'The request has an API token and no session.', {
          advice: 'Nothing was changed. "gp token delete" revokes a token, with all its sessions.',
        });
      await backend.sessions.endSession(session.id);
      setCookie(noCookie(sender.host));
      return undefined;
    },
    createSessionLink: ({ call }) => backend.sessions.createSessionLink(call),
    listSessions: ({ query, call }) => backend.sessions.listSessions(query, call),
    endOwnSessions: async ({ sender, call, setCookie }) => {
      await backend.sessions.endSessions(call);
      setCookie(noCookie(sender.host));
      return undefined;
    },
    endOtherSession: async ({ params }) => {
      await backend.sessions.endSession(params.session);
      return undefined;
    },
  };
}

type AccessOperations = Extract<OperationId, `${string}Token` | `${string}Tokens` | 'join'>;

function accessHandlers(backend: Backend): Pick<Handlers, AccessOperations> {
  return {
    listTokens: ({ query, call }) => backend.access.list(query, call),
    createToken: ({ body, call }) => backend.access.create(body, call),
    deleteToken: async ({ params }) => {
      await backend.access.delete(params.token);
      return undefined;
    },
    createJoinToken: ({ body }) => backend.access.createJoinToken(body),
    join: ({ body }) => backend.access.join(body),
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
