/** For tests: a leading backend on a real store, with hosts and storage nodes as the test defines them. */

import type { Readable } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import { parseSha256, type Sha256, type Term } from '../../base/ids.ts';
import { Controller, type ControllerPorts } from '../../core/loop/controller.ts';
import type { FileKeeper } from '../../core/loop/duties/file-keeper.ts';
import { NO_IDENTITIES } from '../../core/loop/testing/no-identities.ts';
import { PREFIX, ROOT } from '../../core/model/keys.ts';
import type { ArtifactInfo, StorageReport } from '../../core/ports/storage-link.ts';
import { SILENT_GUESTS } from '../../core/ports/testing/silent-guests.ts';
import { backupOf } from '../../etcd/backup-file.ts';
import { ETCD_QUOTA_BYTES } from '../../etcd/member.ts';
import { systemClock } from '../../os/clock.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { randomHex } from '../../os/random.ts';
import { type CertifiedKey, createAuthority } from '../../pki/authority.ts';
import { tokenSha256 } from '../../pki/join-token.ts';
import type { BackendContext } from '../backend/context.ts';
import type { ArtifactFiles } from '../backend/ports.ts';
import { ClusterAuthority } from '../cluster-authority.ts';
import { noCrashPoint } from '../crash-point.ts';
import { etcdMembers } from '../links/etcd-members.ts';
import { etcdReaders } from '../links/etcd-readers.ts';
import { createFileLink } from '../links/file-link.ts';
import { snapshotOf, writesOf } from '../store/leader-store.ts';
import { hostRecord, type RunningStore, storageRecord } from './records.ts';

export const MIB = 1024 * 1024;
export const ADMIN_TOKEN = 'gp_api_test';
export const sha = (digit: string): Sha256 => parseSha256(digit.repeat(64));

/** The state of the fake world; a test changes it. */
export interface World {
  /** Storage nodes that answer, with what they hold. */
  readonly storage: Map<string, { freeBytes: number; readonly artifacts: Set<Sha256> }>;
  /** Storage nodes that the leader has not asked yet. */
  readonly unasked: Set<string>;
  /** Hosts whose agents answer. */
  readonly hosts: Set<string>;
  leads: boolean;
  /** The leader's monotonic time in ms, where a test turns it. */
  nowMs: number | null;
  /** Takes an upload in. By default the upload is read to its end and kept. */
  takeUpload: (node: string, body: Readable, sizeBytes: number) => Promise<void>;
  readonly deletedFiles: string[];
}

export interface TestBackend {
  readonly context: BackendContext;
  readonly world: World;
  /** The leader's care for files, which a test has to call itself. */
  readonly files: () => FileKeeper;
  /** A new term of this node begins. */
  readonly elect: () => void;
}

let authority: CertifiedKey | null = null;
const ALL = { prefix: ROOT, without: PREFIX.election, takenAt: 0 };
const never = (): Promise<never> => Promise.reject(new CodedError('unavailable', 'Nothing answers in this test.'));

async function readToEnd(body: Readable): Promise<void> {
  for await (const _ of body);
}

/** A backend with host h1 (1 GiB) and storage node s1 (1 GiB free), which both answer. */
export async function startBackend({ store, client }: RunningStore): Promise<TestBackend> {
  authority ??= await createAuthority({ clusterName: 'test', daysValid: 2 });
  const world: World = {
    storage: new Map([['s1', { freeBytes: 1024 * MIB, artifacts: new Set() }]]),
    unasked: new Set(),
    hosts: new Set(['h1']),
    leads: true,
    nowMs: null,
    takeUpload: (_node, body) => readToEnd(body),
    deletedFiles: [],
  };
  const storage = storageOf(world);
  let controller = controllerOf(store, world, storage);
  await store.transact(
    [
      { key: '/gp/host/h1', value: hostRecord('h1'), expect: null },
      { key: '/gp/storage/s1', value: storageRecord('s1'), expect: null },
    ],
    null,
  );
  const context: BackendContext = {
    name: 'c1',
    version: '0.0.0',
    store,
    etcd: client,
    etcdReaders: etcdReaders(client),
    etcdMembers: etcdMembers(client),
    hosts: { log: never, figures: never },
    storage,
    // Consoles are tested with a real QEMU.
    serial: { openSerial: never },
    displays: { openDisplay: never },
    lab: null,
    guestAgents: SILENT_GUESTS,
    authority: new ClusterAuthority(authority),
    etcdEndpoints: ['https://127.0.0.1:2379'],
    adminTokenSha256: tokenSha256(ADMIN_TOKEN),
    etcdSpace: { members: [], quotaBytes: ETCD_QUOTA_BYTES, demandRoom: () => undefined },
    waitingFor: () => null,
    clock: systemClock,
    randomHex,
    controlAnswers: async () => true,
    controlClock: () => null,
    backups: { places: () => [], read: () => backupOf(client, ALL), lastKnown: () => null, ask: async () => null },
    addressAnswers: async () => 'unknown',
    askConsolePeers: async () => null,
    leading: () => (world.leads ? { term: 1, controller } : null),
    leader: () => null,
  };
  const elect = (): void => {
    controller = controllerOf(store, world, storage);
  };
  return { context, world, files: () => controller.files, elect };
}

function storageOf(world: World): ArtifactFiles {
  return {
    openArtifact: never,
    putArtifact: async (node, { sha256, sizeBytes, body }): Promise<ArtifactInfo> => {
      try {
        await world.takeUpload(node, body, sizeBytes);
      } finally {
        body.destroy();
      }
      world.storage.get(node)?.artifacts.add(sha256);
      return { sha256, sizeBytes, virtualSizeBytes: null };
    },
    deleteArtifact: async (node, sha256) => {
      world.deletedFiles.push(`${node} ${sha256.slice(0, 1)}`);
      world.storage.get(node)?.artifacts.delete(sha256);
    },
  };
}

const NO_QMP: ControllerPorts['qmp'] = {
  observe: async () => ({ kind: 'unknown' }),
  cont: never,
  halt: never,
  reset: never,
  powerDown: never,
  quit: never,
  listen: never,
  send: never,
  allowPause: never,
  dirtyRate: never,
  blockFigures: never,
  machineFacts: never,
  activate: never,
  cancelSend: never,
  plug: never,
  unplug: never,
  sharedDisks: never,
  onEvent: () => undefined,
  certificateEndsAt: () => null,
  forget: () => undefined,
};

/** A real controller that was never started, with its observers' answers replaced. */
function controllerOf(store: RunningStore['store'], world: World, files: ArtifactFiles): Controller {
  const controller = new Controller({
    clock: { wallMs: () => Date.now(), monotonicMs: () => world.nowMs ?? monotonicMs(), after: () => () => undefined },
    randomHex,
    log: { info: () => undefined, warn: () => undefined },
    store: {
      term: 1 as Term,
      snapshot: snapshotOf(store),
      leads: () => true,
      commit: async ({ changes }) => {
        const snapshot = snapshotOf(store);
        const writes = changes.flatMap((change) => writesOf(change, snapshot));
        return (await store.transact(writes, null)).kind === 'committed' ? 'committed' : 'conflict';
      },
      onChange: () => undefined,
      onCommit: () => undefined,
    },
    hosts: { report: never, launch: never, kill: never, applyNetwork: never, probe: never },
    files: createFileLink(files),
    guestAgents: SILENT_GUESTS,
    storage: {
      report: never,
      fence: never,
      grant: never,
      revoke: never,
      createDisk: never,
      deleteDisk: never,
      createSharedDisk: never,
      deleteSharedDisk: never,
      diskFacts: never,
    },
    qmp: NO_QMP,
    paths: { list: () => [], probe: never },
    ...NO_IDENTITIES,
    reach: { self: 'c1', peers: () => [], tryFrom: never },
    lead: { giveAway: () => undefined, keptMs: 0 },
    credentials: { issue: never, targetSecret: never },
    storageTlsName: (name) => name,
    crashPoint: noCrashPoint,
  });
  controller.observer.see = (host) => ({
    host,
    agent: world.hosts.has(host) ? 'alive' : 'silent',
    agentAgeMs: 1,
    agentError: null,
    kernel: { kind: 'reachable', via: 'direct', ageMs: 1 },
    occupiedSlots: [],
  });
  // There is no estate here: every change passes its judgement.
  controller.estate.judge = async () => [];
  controller.estate.expect = () => undefined;
  controller.storageObserver.answers = (node) => world.storage.has(node);
  controller.storageObserver.isSilent = (node) => !world.storage.has(node) && !world.unasked.has(node);
  controller.storageObserver.report = (node): StorageReport | null => {
    const pool = world.storage.get(node);
    if (pool === undefined) return null;
    const { freeBytes, artifacts } = pool;
    return { node, pool: { totalBytes: 2048 * MIB, freeBytes }, artifacts: [...artifacts], disks: [] };
  };
  return controller;
}
