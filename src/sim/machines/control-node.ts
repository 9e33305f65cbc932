/**
 * A simulated control node: the server's process with the code of production in it (store, campaign, controller) over
 * simulated links. It may die at any instant; started again it knows nothing but what etcd says.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { BackendContext, Leading } from '../../control/backend/context.ts';
import type { Authority } from '../../control/backend/ports.ts';
import { leadForEver } from '../../control/leadership.ts';
import { createFileLink } from '../../control/links/file-link.ts';
import { ClusterStore } from '../../control/store/cluster-store.ts';
import type { Controller, DutyLimits } from '../../core/loop/controller.ts';
import { EtcdSpaceKeeper } from '../../core/loop/lead/etcd-space-keeper.ts';
import type { CrashPoint } from '../../core/loop/vm/workflow-names.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { ELECTION, PREFIX } from '../../core/model/keys.ts';
import type { Log } from '../../core/ports/log.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { QmpSessions, type QmpSessionsOptions } from '../../core/qmp/qmp-sessions.ts';
import { observe } from '../../etcd/election.ts';
import { surroundingsOf } from '../api/surroundings.ts';
import { QUOTA_BYTES, type SimEtcd } from '../etcd/sim-etcd.ts';
import { type EtcdRoute, SimEtcdClient } from '../etcd/sim-etcd-client.ts';
import { simEtcdRoom } from '../etcd/sim-etcd-room.ts';
import type { LinksOfController } from '../faults/planted-bug.ts';
import { addressOf } from '../network/addresses.ts';
import { simHostLink, simPaths, simReach, simStorageLink } from '../network/links.ts';
import { simGuestAgents } from '../qemu/guest-agents.ts';
import { SimQmpDialer } from '../qemu/qmp-dialer.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { SimMachine, SimProcess } from './sim-machine.ts';
import type { ControlNode, Topology } from './topology.ts';

/** Has the form of a certificate and of a key. */
const PEM = '-----BEGIN SIMULATED-----\nAAAA\n-----END SIMULATED-----\n';

export interface ControlNodeOptions {
  readonly name: string;
  /** Which of the etcd members it asks first, and which monitor of a QEMU. */
  readonly index: number;
  readonly machine: SimMachine;
  readonly random: SimRandom;
  readonly topology: Topology;
  readonly etcd: SimEtcd;
  readonly routeOf: (process: SimProcess) => EtcdRoute;
  /** By what etcd holds at this instant. */
  readonly isLeader: (control: string) => boolean;
  /** Called as a transaction is sent that gives up hosts. */
  readonly onGivingUp: (hosts: readonly HostName[]) => void;
  readonly crashPoint: (process: SimProcess, ...point: Parameters<CrashPoint>) => Promise<void>;
  /** The server ended by itself. */
  readonly onFailed: (message: string) => void;
  readonly log: (process: SimProcess) => Log;
  /** Mistakes made on purpose. */
  readonly plant: (ports: LinksOfController) => LinksOfController;
  readonly plantStore: (store: ClusterStore) => void;
  readonly plantController: (controller: Controller) => void;
  readonly authority: Authority;
  readonly adminTokenSha256: string;
}

/** So little is kept, and so often looked after, that it shows within a run. */
const DUTIES: DutyLimits = {
  kept: { events: 40, tasks: 6, drains: 3, rolls: 2 },
  intervalMs: 3_000,
  patience: { intervalMs: 2_000, unnamedMs: 15_000, copyAgainMs: 4_000 },
};

/** Machines here are of a version without renewal. */
const nobodySays = (): Promise<never> =>
  Promise.reject(new CodedError('not-found', 'There is no such operation here.'));

interface Running {
  readonly process: SimProcess;
  readonly store: ClusterStore;
  readonly context: BackendContext;
  /** While it leads, as far as it knows. */
  leading: Leading | null;
  /** The leader, as far as this node knows. */
  leader: { readonly name: string; readonly address: string } | null;
}

/** See the module's comment. */
export class SimControlNode implements ControlNode {
  readonly name: string;
  readonly machine: SimMachine;
  readonly #options: ControlNodeOptions;
  #running: Running | null = null;

  constructor(options: ControlNodeOptions) {
    this.name = options.name;
    this.machine = options.machine;
    this.#options = options;
  }

  get process(): SimProcess | null {
    return this.#running?.process ?? null;
  }

  /** What it knows of the cluster; null while it is down or has not read etcd yet. */
  get store(): ClusterStore | null {
    return this.#running?.store.connected === true ? this.#running.store : null;
  }

  /** The surroundings of the API's backend there; null like the store. */
  get context(): BackendContext | null {
    return this.store === null ? null : (this.#running?.context ?? null);
  }

  /** While it leads, as far as it knows. */
  get controller(): Controller | null {
    return this.#running?.leading?.controller ?? null;
  }

  /** Starts the server where the machine is up and none runs. */
  start(): void {
    if (!this.machine.up || this.#running !== null) return;
    const { name, index, etcd, routeOf, random, topology, log, onFailed } = this.#options;
    const process = this.machine.spawn(`server ${name}`);
    const client = new SimEtcdClient({ etcd, route: routeOf(process), clock: process, first: index });
    const store = new ClusterStore(client, (bytes) => random.hex(bytes), log(process));
    this.#options.plantStore(store);
    this.#watchVerdicts(store);
    const { adminTokenSha256, authority } = this.#options;
    const etcdSpace = new EtcdSpaceKeeper({
      clock: process,
      room: simEtcdRoom(etcd, routeOf(process)),
      quotaBytes: QUOTA_BYTES,
      log: log(process),
      leads: () => (running.leading !== null ? true : running.leader === null ? null : false),
    });
    const context = surroundingsOf({
      ...{ name, process, store, etcdSpace, etcd: client, random, topology, authority, adminTokenSha256 },
      leading: () => running.leading,
      leader: () => running.leader,
    });
    const running: Running = { process, store, context, leading: null, leader: null };
    this.#running = running;
    etcdSpace.start();
    const dialer = new SimQmpDialer(topology, { control: name, process });
    const qmp = new NotedSessions({ dialer, clock: process, monitor: index }, ({ vm, generation }) =>
      topology.note({ kind: 'cont', vm, generation, stale: !this.#options.isLeader(name) }),
    );
    process.onEnd(() => {
      etcdSpace.stop();
      client.crash();
      qmp.close();
      if (this.#running === running) this.#running = null;
    });
    const { signal } = new AbortController();
    const failed = (error: unknown): void => {
      log(process).warn('the server ends', { error: messageOf(error) });
      if (!process.isAlive) return;
      process.end();
      onFailed(messageOf(error));
    };
    const lead = (): void => {
      this.#lead({ running, client, qmp, signal }).catch(failed);
      observe(client, ELECTION, {
        signal,
        onLeader: (record) => {
          running.leader = record === undefined ? null : (JSON.parse(record.value) as Running['leader']);
        },
      }).catch(failed);
    };
    let isReady = false;
    store
      .follow({
        signal,
        onReady: () => {
          if (!isReady) lead();
          isReady = true;
        },
      })
      .catch(failed);
  }

  #watchVerdicts(store: ClusterStore): void {
    const transact = store.transact.bind(store);
    store.transact = (writes, guard, unchanged) => {
      // People who declare a host lost, or let one join, judge nothing.
      const lost = (guard === null ? [] : writes).flatMap(({ key, value }) => {
        if (!key.startsWith(PREFIX.host) || value === null) return [];
        const name = key.slice(PREFIX.host.length) as HostName;
        const before = store.hosts.get(name)?.value.quarantine ?? null;
        return before === null && (value as HostRecord).quarantine !== null ? [name] : [];
      });
      if (lost.length > 0) this.#options.onGivingUp(lost);
      return transact(writes, guard, unchanged);
    };
  }

  async #lead(parts: {
    readonly running: Running;
    readonly client: SimEtcdClient;
    readonly qmp: QmpSessions;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { running, client, qmp, signal } = parts;
    const { process, store } = running;
    const { name, topology, crashPoint, plant } = this.#options;
    const caller = { control: name, process };
    const log = this.#options.log(process);
    const ports: LinksOfController = {
      clock: process,
      randomHex: (bytes) => this.#options.random.hex(bytes),
      log,
      hosts: simHostLink(topology, caller),
      storage: simStorageLink(topology, caller),
      files: createFileLink(running.context.storage),
      paths: simPaths(topology, caller),
      reach: simReach(topology, caller),
      qmp,
      guestAgents: simGuestAgents(topology, process),
      credentials: {
        issue: async () => ({ caPem: PEM, certPem: PEM, keyPem: PEM }),
        targetSecret: async (account) => `secret-of-${account.replace(':', '-')}`,
      },
      identities: { read: nobodySays, give: nobodySays },
      certifier: this.#options.authority,
      storageTlsName: (node) => node,
      crashPoint: (...point) => crashPoint(process, ...point),
      duties: DUTIES,
    };
    await leadForEver({
      etcd: client,
      store,
      log,
      value: JSON.stringify({ name, address: addressOf('control', name) }),
      ports: plant(ports),
      signal,
      onLead: (leading) => {
        running.leading = leading;
        if (leading === null) qmp.close();
        else this.#options.plantController(leading.controller);
      },
    });
  }
}

/** Sessions whose orders to continue a guest are told to the trace. */
class NotedSessions extends QmpSessions {
  readonly #note: (target: QmpTarget) => void;

  constructor(options: QmpSessionsOptions, note: (target: QmpTarget) => void) {
    super(options);
    this.#note = note;
  }

  override cont(target: QmpTarget): Promise<void> {
    this.#note(target);
    return super.cont(target);
  }
}
