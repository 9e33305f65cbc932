/**
 * The controller's side of the storage services (core/ports/storage-link.ts). Answers are checked; fields that a newer
 * version added are ignored (docs/decisions/0011-versions-side-by-side.md).
 */
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, parseSha256, parseStorageName, parseVmId, type StorageName } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type {
  ArtifactInfo,
  DiskFacts,
  FenceResult,
  GrantResult,
  StorageLink,
  StorageReport,
} from '../../core/ports/storage-link.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import type { RpcClient } from '../../rpc/client.ts';
import {
  added,
  arrayOf,
  idOf,
  integer,
  nullable,
  oneOf,
  openObject,
  optional,
  type Parser,
  parseGenerationField,
  parsePort,
  text,
} from '../../rpc/parse.ts';
import type { ArtifactFiles } from '../backend/ports.ts';
import type { RpcClients } from './clients.ts';

const bytes = integer({ min: 0 });
const number: Parser<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new CodedError('bad-input', `${at} is not a number.`);
  return value;
};

const grants = arrayOf(
  openObject({
    vm: idOf(parseVmId),
    generation: parseGenerationField,
    connections: arrayOf(openObject({ address: text({ charsMax: 100 }), idleMs: nullable(number) }), {
      itemsMax: 1_000,
    }),
  }),
  { itemsMax: 100 },
);

const parseReport: Parser<StorageReport> = openObject({
  node: idOf(parseStorageName),
  pool: openObject({ totalBytes: bytes, freeBytes: bytes, largestFileBytes: added(nullable(bytes), null) }),
  artifacts: arrayOf(idOf(parseSha256), { itemsMax: 10_000 }),
  disks: arrayOf(
    openObject({
      disk: idOf(parseDiskId),
      port: optional(parsePort),
      grants,
    }),
    { itemsMax: 100_000 },
  ),
  sharedDisks: added(
    arrayOf(openObject({ disk: idOf(parseDiskId), sizeBytes: bytes, grants }), { itemsMax: 100_000 }),
    [],
  ),
  epoch: added(nullable(integer({ min: 0 })), undefined),
  faults: added(
    arrayOf(openObject({ disk: nullable(idOf(parseDiskId)), message: text({ charsMax: 2_000 }) }), { itemsMax: 1_000 }),
    [],
  ),
  version: optional(text({ charsMax: 100 })),
  wallMs: optional(integer({ min: 0 })),
});
const parseFenced: Parser<FenceResult> = openObject({
  revoked: arrayOf(openObject({ disk: idOf(parseDiskId), generation: parseGenerationField }), { itemsMax: 10_000 }),
});
const parseGranted: Parser<GrantResult> = openObject({
  exports: arrayOf(openObject({ disk: idOf(parseDiskId), port: parsePort, name: text({ charsMax: 100 }) }), {
    itemsMax: 1_000,
  }),
});
/** The result of one connection attempt, as a relay reports it. */
const parseDiskFacts: Parser<DiskFacts> = openObject({ vm: idOf(parseVmId), sizeBytes: bytes });
export const parseProbe: Parser<ProbeResult> = openObject({
  outcome: oneOf('accepted', 'refused', 'silent', 'void'),
  lateMs: number,
});
const parseArtifact: Parser<ArtifactInfo> = openObject({
  sha256: idOf(parseSha256),
  sizeBytes: bytes,
  virtualSizeBytes: nullable(bytes),
});
const anything: Parser<void> = () => undefined;

/** The storage services as a control node knows them: the loops' port, the API's port, and relays for paths. */
export interface StorageClient extends StorageLink, ArtifactFiles {
  client(node: StorageName): RpcClient;
}

/** Storage services, reached at their control addresses. */
export function createStorageLink(clients: RpcClients, snapshot: Pick<Snapshot, 'storage'>): StorageClient {
  const to = (node: StorageName): RpcClient => {
    const record = snapshot.storage.get(node);
    if (record === undefined) throw new CodedError('not-found', `Storage node ${node} is not in the cluster.`);
    if (record.value.lost !== undefined) throw new CodedError('conflict', `Storage node ${node} was declared lost.`);
    return clients.to({
      address: record.value.addresses.control,
      port: PORTS.storage,
      identity: { kind: 'storage', name: node },
    });
  };
  return {
    ...storageOrders(to),
    client: to,
    putArtifact: async (node, { sha256, kind, sizeBytes, dataBytes, body }, { deadlineMs, signal }) =>
      to(node).upload({
        method: 'PUT',
        path: `/v1/artifacts/${sha256}?kind=${kind}${dataBytes === undefined ? '' : `&dataBytes=${dataBytes}`}`,
        stream: body,
        sizeBytes,
        deadlineMs,
        signal,
        parse: parseArtifact,
      }),
    openArtifact: async (node, sha256, options) => (await to(node).download(`/v1/artifacts/${sha256}`, options)).stream,
    deleteArtifact: async (node, sha256, term, deadlineMs) =>
      to(node).call({ method: 'DELETE', path: `/v1/artifacts/${sha256}?term=${term}`, deadlineMs, parse: anything }),
  };
}

/** Orders to storage services, and their reports; `to` gives the client of a node. Answers are checked. */
export function storageOrders(to: (node: StorageName) => Pick<RpcClient, 'call'>): StorageLink {
  return {
    report: async (node, { deadlineMs }) => {
      const report = await to(node).call({ method: 'GET', path: '/v1/report', deadlineMs, parse: parseReport });
      if (report.node !== node) throw new CodedError('failed', `Storage node ${node} reported as ${report.node}.`);
      return report;
    },
    fence: async (node, order, { deadlineMs }) =>
      to(node).call({ method: 'POST', path: '/v1/fence', body: order, deadlineMs, parse: parseFenced }),
    grant: async (node, order, { deadlineMs }) =>
      to(node).call({ method: 'POST', path: '/v1/grant', body: order, deadlineMs, parse: parseGranted }),
    revoke: async (node, order, { deadlineMs }) =>
      to(node).call({ method: 'POST', path: '/v1/revoke', body: order, deadlineMs, parse: anything }),
    diskFacts: async (node, disk, { deadlineMs }) =>
      to(node).call({ method: 'GET', path: `/v1/disks/${disk}`, deadlineMs, parse: parseDiskFacts }),
    createDisk: async (node, disk, order, { deadlineMs }) =>
      to(node).call({ method: 'PUT', path: `/v1/disks/${disk}`, body: order, deadlineMs, parse: anything }),
    deleteDisk: async (node, disk, { term }, { deadlineMs }) =>
      to(node).call({ method: 'DELETE', path: `/v1/disks/${disk}?term=${term}`, deadlineMs, parse: anything }),
    createSharedDisk: async (node, disk, order, { deadlineMs }) =>
      to(node).call({ method: 'PUT', path: `/v1/shared-disks/${disk}`, body: order, deadlineMs, parse: anything }),
    deleteSharedDisk: async (node, disk, { term }, { deadlineMs }) =>
      to(node).call({ method: 'DELETE', path: `/v1/shared-disks/${disk}?term=${term}`, deadlineMs, parse: anything }),
  };
}
