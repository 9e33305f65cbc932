/**
 * The surroundings of the API's backend (control/backend/context.ts) in a simulated control node: its store, and its
 * ports over simulated networks.
 *
 * Left out: etcd's users, and consoles that are open through other control nodes.
 */
import { Readable } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseGeneration, parseVmId, type StorageName, type Term } from '../../base/ids.ts';
import { VERSION } from '../../base/version.ts';
import type { BackendContext, Leading } from '../../control/backend/context.ts';
import type {
  ArtifactFiles,
  Authority,
  Displays,
  EtcdRoom,
  HostLogs,
  SerialPorts,
} from '../../control/backend/ports.ts';
import type { ClusterStore } from '../../control/store/cluster-store.ts';
import { PREFIX, ROOT } from '../../core/model/keys.ts';
import type { MachineFigures } from '../../core/ports/host-link.ts';
import type { Etcd } from '../../etcd/api.ts';
import { backupOf, pagesOf } from '../../etcd/backup-file.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { Topology } from '../machines/topology.ts';
import type { Hop } from '../network/network.ts';
import { simGuestAgents } from '../qemu/guest-agents.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import type { SimRandom } from '../time/sim-random.ts';
import { SimDisplay } from './sim-display.ts';
import { SimSerial } from './sim-serial.ts';

/** One life of a simulated server, as far as requests need it. */
export interface SimServer {
  readonly name: string;
  readonly process: SimProcess;
  readonly store: ClusterStore;
  readonly etcd: Etcd;
  readonly etcdSpace: EtcdRoom;
  readonly random: SimRandom;
  readonly topology: Topology;
  readonly authority: Authority;
  readonly adminTokenSha256: string;
  readonly leading: () => Leading | null;
  readonly leader: () => { readonly name: string; readonly address: string } | null;
}

/** A simulated server has just made a backup, and keeps none. */
const LOCAL_BACKUPS = { place: 'local', where: '/backups', failure: null, backups: [] } as const;
const ANSWER_MS = 500;
const SERIAL_MS = 2_000;
/** How many of a hundred reads of a file return other content than was stored. */
const MISREAD_PERCENT = 25;

/** An authority that certifies nobody: for runs in which machines join without certificates. */
export const NO_AUTHORITY: Authority = {
  certPem: '',
  keyPem: '',
  ...{ caPem: '', pinPem: '', bundle: '', issuer: '', keyOf: () => null },
  makeNext: async () => {
    throw new CodedError('unavailable', 'This simulated cluster has no certificate authority.');
  },
  certify: async () => {
    throw new CodedError('unavailable', 'This simulated cluster has no certificate authority.');
  },
};

/** Returns the surroundings of one life of a server. */
export function surroundingsOf(server: SimServer): BackendContext {
  const { name, process, store, etcd, etcdSpace, random, topology, authority, adminTokenSha256, leading, leader } =
    server;
  return {
    ...{ name, version: VERSION, store, etcd, etcdSpace, authority, adminTokenSha256, leading, leader },
    clock: process,
    randomHex: (bytes) => random.hex(bytes),
    etcdMembers: { add: async (node) => [node], remove: async () => undefined },
    etcdReaders: { allow: async () => undefined, revoke: async () => undefined },
    etcdEndpoints: [...topology.controls.keys()].map((member) => `https://${member}:2379`),
    hosts: logsOf(server),
    storage: filesOf(server),
    serial: serialPortsOf(server),
    displays: displaysOf(server),
    lab: null,
    guestAgents: simGuestAgents(topology, process),
    waitingFor: () => (store.connected ? null : 'etcd, which it has not read yet'),
    controlAnswers: (control) => answers(server, control.name),
    controlClock: () => null,
    backups: {
      places: () => [{ ...LOCAL_BACKUPS, lastAt: process.wallMs(), since: process.wallMs() }],
      read: () => backupOf(pagesOf(etcd), { prefix: ROOT, without: PREFIX.election, takenAt: process.wallMs() }),
      lastKnown: () => null,
      ask: async () => null,
    },
    addressAnswers: async () => 'unknown',
    askConsolePeers: async () => null,
  };
}

async function answers({ name, process, topology }: SimServer, control: string): Promise<boolean> {
  if (control === name) return true;
  const node = topology.controls.get(control);
  if (node === undefined) return false;
  const hop: Hop = { network: 'control', to: node.machine, process: () => node.process };
  const how = { deadlineMs: ANSWER_MS, what: `The control node ${control}` };
  return topology.network.call(process, [hop], how, (listener) => listener !== null).catch(() => false);
}

/** Logs of guests that say that they boot, and nothing else; figures of guests that are calm. */
function logsOf({ process, topology }: SimServer): HostLogs {
  const asked = <T>(
    { host, query, deadlineMs }: { readonly host: HostName; readonly query: string; readonly deadlineMs: number },
    answer: (qemu: QemuProcess | undefined) => T,
  ): Promise<T> => {
    const parameters = new URLSearchParams(query);
    const [vm, generation] = [
      parseVmId(parameters.get('vm') ?? ''),
      parseGeneration(Number(parameters.get('generation') ?? Number.NaN)),
    ];
    const node = topology.hosts.get(host);
    if (node === undefined) throw new CodedError('not-found', `Host ${host} is not in the cluster.`);
    const hop: Hop = { network: 'control', to: node.machine, process: () => node.agent?.process ?? null };
    return topology.network.call(process, [hop], { deadlineMs, what: `The agent of ${host}` }, (listener) => {
      if (listener === null) throw new CodedError('unavailable', `Nobody listens on ${host}.`);
      return answer(qemuOn(node.qemus(), vm, generation));
    });
  };
  return {
    log: (host, query, deadlineMs) =>
      asked({ host, query, deadlineMs }, (qemu) =>
        qemu === undefined ? '' : `Booting\nWelcome to ${qemu.order.vmName}\n`,
      ),
    figures: (host, query, deadlineMs) => asked({ host, query, deadlineMs }, figuresOf),
  };
}

/** A guest takes a tenth of a processor and a quarter of a GiB, and talks a little over its only card. */
function figuresOf(qemu: QemuProcess | undefined): MachineFigures {
  if (qemu === undefined) throw new CodedError('not-found', 'It does not run here.');
  const ms = Math.round(qemu.process.machine.wallMs) % 1_000_000_000;
  return {
    cpuMs: Math.round(ms / 10),
    residentBytes: 2 ** 28,
    nics: [{ mac: '52:54:00:00:00:00', receivedBytes: 3 * ms, sentBytes: ms }],
  };
}

function qemuOn(qemus: readonly QemuProcess[], vm: string, generation: number): QemuProcess | undefined {
  return qemus.find(({ order, process }) => order.vm === vm && order.generation === generation && process.isAlive);
}

/** Serial ports of guests. What a client and a guest say to each other takes no simulated time. */
function serialPortsOf({ process, topology }: SimServer): SerialPorts {
  return {
    openSerial: async ({ vm, generation, host }) => {
      const node = topology.hosts.get(host as HostName);
      const qemu = node === undefined ? undefined : qemuOn(node.qemus(), vm, generation);
      if (node === undefined || qemu === undefined)
        throw new CodedError('unavailable', `The serial port of ${vm} on ${host} cannot be reached.`);
      const hop: Hop = { network: 'control', to: node.machine, process: () => qemu.process };
      const how = { deadlineMs: SERIAL_MS, what: `The serial port of ${vm}` };
      const serial = await topology.network.call(process, [hop], how, () => SimSerial.open(qemu));
      if (serial === null) throw new CodedError('unavailable', `The serial port of ${vm} serves another client.`);
      return serial;
    },
  };
}

/** Displays of guests. What a viewer and a guest say to each other takes no simulated time. */
function displaysOf({ process, topology }: SimServer): Displays {
  return {
    openDisplay: async ({ vm, generation, host }) => {
      const node = topology.hosts.get(host as HostName);
      const qemu = node === undefined ? undefined : qemuOn(node.qemus(), vm, generation);
      if (node === undefined || qemu === undefined)
        throw new CodedError('unavailable', `The display of ${vm} on ${host} cannot be reached.`);
      const hop: Hop = { network: 'control', to: node.machine, process: () => qemu.process };
      const how = { deadlineMs: SERIAL_MS, what: `The display of ${vm}` };
      return topology.network.call(process, [hop], how, () => new SimDisplay(qemu));
    },
  };
}

/** Files on storage nodes. */
function filesOf({ process, topology, random }: SimServer): ArtifactFiles {
  const onNode = <T>(
    name: StorageName,
    deadlineMs: number,
    serve: (node: SimStorageNode) => T | Promise<T>,
  ): Promise<T> => {
    const node = topology.storage.get(name);
    if (node === undefined) throw new CodedError('not-found', `Storage node ${name} is not in the cluster.`);
    const hop: Hop = { network: 'control', to: node.machine, process: () => node.listener };
    return topology.network.call(process, [hop], { deadlineMs, what: `Storage node ${name}` }, (listener) => {
      if (listener === null) throw new CodedError('unavailable', `Nobody listens on ${name}.`);
      return serve(node);
    });
  };
  return {
    putArtifact: async (name, { sha256, kind, sizeBytes, body }, { deadlineMs }) => {
      try {
        return await onNode(name, deadlineMs, ({ pool }) =>
          pool.files.put({ sha256, sizeBytes, isDisk: kind.startsWith('disk-'), content: body }),
        );
      } finally {
        body.destroy();
      }
    },
    openArtifact: (name, sha256, { deadlineMs }) =>
      onNode(name, deadlineMs, ({ pool }) => {
        const content = Buffer.from(pool.files.read(sha256));
        // A disk now and then reads wrong bytes.
        if (random.chance(MISREAD_PERCENT)) content.fill(0, 0, 1);
        return Readable.from([content], { objectMode: false });
      }),
    deleteArtifact: (name, sha256, term, deadlineMs) =>
      onNode(name, deadlineMs, ({ orders }) => {
        if (orders === null) throw new CodedError('unavailable', `Nobody listens on ${name}.`);
        return orders.deleteArtifact(sha256, { term: term as Term });
      }),
  };
}
