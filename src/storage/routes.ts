/** The storage service on the wire: src/core/ports/storage-link.ts, over mutual TLS. */

import { CodedError } from '../base/errors.ts';
import { parseDiskId, parseSha256, type Term } from '../base/ids.ts';
import { isRelayPort } from '../core/model/ports.ts';
import type { Order } from '../core/ports/host-link.ts';
import type { ProbeResult } from '../core/ports/probe-result.ts';
import type { StorageService } from '../core/storage/storage-service.ts';
import { probeTcp } from '../os/tcp-probe.ts';
import { idOf, integerParameter } from '../rpc/parse.ts';
import { Relay } from '../rpc/relay.ts';
import type { ConnectHook, Route } from '../rpc/service.ts';
import {
  parseArtifactKind,
  parseDiskOrder,
  parseFenceOrder,
  parseGrantOrder,
  parseProbeOrder,
  parseResizeOrder,
  parseRevokeOrder,
  parseSharedDiskOrder,
} from './orders.ts';
import type { Pool } from './pool.ts';

const CONTROL = ['control'] as const;
const RELAYED_MAX = 256;
const RELAY_IDLE_MS = 10 * 60_000;
const RELAY_CONNECT_MS = 5_000;

const diskOf = ({ disk }: Readonly<Record<string, string>>) => idOf(parseDiskId)(disk, 'disk');
const shaOf = ({ sha256 }: Readonly<Record<string, string>>) => idOf(parseSha256)(sha256, 'sha256');
const termOf = (query: URLSearchParams): Order => ({ term: integerParameter(query, 'term') as Term });
const done = { json: {} };

/** The parts of the service that carry out orders. */
export type StorageOrders = Pick<
  StorageService,
  | 'report'
  | 'fence'
  | 'grant'
  | 'revoke'
  | 'diskFacts'
  | 'createDisk'
  | 'deleteDisk'
  | 'resizeDisk'
  | 'createSharedDisk'
  | 'deleteSharedDisk'
>;

/** One TCP connection attempt from this node. */
export type Probe = (
  target: { readonly address: string; readonly port: number },
  deadlineMs: number,
) => Promise<ProbeResult>;

/**
 * All routes but CONNECT. Errors are those of the service and the pool; a malformed order is CodedError 'bad-input'.
 */
export function storageRoutes(service: StorageService, pool: Pool): readonly Route[] {
  return [...orderRoutes(service, probeTcp), ...artifactRoutes(service, pool)];
}

/** The routes on which no files are sent. */
export function orderRoutes(service: StorageOrders, probe: Probe): readonly Route[] {
  return [
    { method: 'GET', path: '/v1/report', allow: CONTROL, handle: async () => ({ json: await service.report() }) },
    ...grantRoutes(service),
    ...diskRoutes(service),
    ...sharedDiskRoutes(service),
    {
      method: 'POST',
      path: '/v1/probe',
      allow: CONTROL,
      handle: async ({ body }) => {
        const { deadlineMs, ...target } = parseProbeOrder(body, '');
        return { json: await probe(target, deadlineMs) };
      },
    },
  ];
}

function grantRoutes(service: StorageOrders): readonly Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/fence',
      allow: CONTROL,
      handle: async ({ body }) => ({ json: await service.fence(parseFenceOrder(body, '')) }),
    },
    {
      method: 'POST',
      path: '/v1/grant',
      allow: CONTROL,
      handle: async ({ body }) => ({ json: await service.grant(parseGrantOrder(body, '')) }),
    },
    {
      method: 'POST',
      path: '/v1/revoke',
      allow: CONTROL,
      handle: async ({ body }) => {
        await service.revoke(parseRevokeOrder(body, ''));
        return done;
      },
    },
  ];
}

function diskRoutes(service: StorageOrders): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/disks/:disk',
      allow: CONTROL,
      handle: async ({ parameters }) => ({ json: await service.diskFacts(diskOf(parameters)) }),
    },
    {
      method: 'PUT',
      path: '/v1/disks/:disk',
      allow: CONTROL,
      handle: async ({ parameters, body }) => {
        await service.createDisk(diskOf(parameters), parseDiskOrder(body, ''));
        return done;
      },
    },
    {
      method: 'POST',
      path: '/v1/disks/:disk/resize',
      allow: CONTROL,
      handle: async ({ parameters, body }) => {
        await service.resizeDisk(diskOf(parameters), parseResizeOrder(body, ''));
        return done;
      },
    },
    {
      method: 'DELETE',
      path: '/v1/disks/:disk',
      allow: CONTROL,
      handle: async ({ parameters, query }) => {
        await service.deleteDisk(diskOf(parameters), termOf(query));
        return done;
      },
    },
  ];
}

function sharedDiskRoutes(service: StorageOrders): readonly Route[] {
  return [
    {
      method: 'PUT',
      path: '/v1/shared-disks/:disk',
      allow: CONTROL,
      handle: async ({ parameters, body }) => {
        await service.createSharedDisk(diskOf(parameters), parseSharedDiskOrder(body, ''));
        return done;
      },
    },
    {
      method: 'DELETE',
      path: '/v1/shared-disks/:disk',
      allow: CONTROL,
      handle: async ({ parameters, query }) => {
        await service.deleteSharedDisk(diskOf(parameters), termOf(query));
        return done;
      },
    },
  ];
}

function artifactRoutes(service: StorageService, pool: Pool): readonly Route[] {
  return [
    {
      method: 'PUT',
      path: '/v1/artifacts/:sha256',
      allow: CONTROL,
      body: 'stream',
      handle: async ({ parameters, query, stream, sizeBytes }) => {
        const kind = parseArtifactKind(query.get('kind'), 'query parameter kind');
        const dataBytes = query.get('dataBytes') === null ? undefined : integerParameter(query, 'dataBytes');
        return { json: await pool.receiveArtifact(shaOf(parameters), { kind, stream, sizeBytes, dataBytes }) };
      },
    },
    {
      method: 'GET',
      path: '/v1/artifacts/:sha256',
      allow: ['control', 'host', 'storage'],
      handle: async ({ parameters }) => pool.openArtifact(shaOf(parameters)),
    },
    {
      method: 'DELETE',
      path: '/v1/artifacts/:sha256',
      allow: CONTROL,
      handle: async ({ parameters, query }) => {
        await service.deleteArtifact(shaOf(parameters), termOf(query));
        return done;
      },
    },
  ];
}

/** Relayed connections to QEMUs and agents, for control nodes that have no path of their own. */
export function storageRelay(): ConnectHook {
  const relay = new Relay({ pairsMax: RELAYED_MAX, idleMs: RELAY_IDLE_MS });
  return {
    allow: CONTROL,
    open: (target, signal) => {
      if (!isRelayPort(target.port)) throw new CodedError('forbidden', `Port ${target.port} is not relayed.`);
      return relay.open(target, { deadlineMs: RELAY_CONNECT_MS, signal });
    },
    join: (client, upstream) => relay.join(client, upstream),
  };
}
