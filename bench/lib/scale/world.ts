/**
 * A large cluster in the simulator: the control node is production's code (election, store, controller) over simulated
 * etcd and network; hosts and storage are what it sees of them (fleet.ts).
 */

import { present } from '../../../src/base/assert.ts';
import type { VmId } from '../../../src/base/ids.ts';
import { type Backend, createBackend } from '../../../src/control/backend/backend.ts';
import type { BackendContext } from '../../../src/control/backend/context.ts';
import { leadForEver } from '../../../src/control/leadership.ts';
import { ClusterStore } from '../../../src/control/store/cluster-store.ts';
import type { Controller } from '../../../src/core/loop/controller.ts';
import { NO_IDENTITIES } from '../../../src/core/loop/testing/no-identities.ts';
import { PREFIX } from '../../../src/core/model/keys.ts';
import type { VmRecord } from '../../../src/core/model/vm.ts';
import type { Log } from '../../../src/core/ports/log.ts';
import { SILENT_GUESTS } from '../../../src/core/ports/testing/silent-guests.ts';
import { SimEtcd } from '../../../src/sim/etcd/sim-etcd.ts';
import { type EtcdRoute, SimEtcdClient } from '../../../src/sim/etcd/sim-etcd-client.ts';
import { SimMachine, type SimProcess } from '../../../src/sim/machines/sim-machine.ts';
import { SimNetwork } from '../../../src/sim/network/network.ts';
import { SimClock } from '../../../src/sim/time/sim-clock.ts';
import { SimRandom } from '../../../src/sim/time/sim-random.ts';
import { Fleet } from './fleet.ts';
import { recordsOf, type Shape } from './records.ts';

const OPS_PER_TRANSACTION = 100;
const MEMBER = 'c1';

/** A commit of one VM's record, in the order of commits. */
export interface Seen {
  readonly atMs: number;
  readonly id: VmId;
  readonly before: VmRecord | null;
  readonly after: VmRecord | null;
}

/** See the module's comment. */
export class ScaleWorld {
  readonly clock = new SimClock();
  readonly leader: SimProcess;
  readonly fleet: Fleet;
  readonly warnings = new Map<string, number>();
  readonly #random: SimRandom;
  readonly #network: SimNetwork;
  readonly #etcd: SimEtcd;
  readonly #member: SimProcess;
  readonly #witness: SimProcess;
  readonly #shape: Shape;
  readonly vms = new Map<VmId, VmRecord>();
  #controller: Controller | null = null;
  #store: ClusterStore | null = null;

  constructor(shape: Shape, seed: number) {
    this.#shape = shape;
    this.#random = new SimRandom(seed);
    this.#network = new SimNetwork(this.clock, this.#random.fork('network'));
    this.fleet = new Fleet(this.clock, this.#network, shape);
    const machine = new SimMachine(MEMBER, this.clock);
    this.#member = machine.spawn('etcd');
    this.leader = machine.spawn('server');
    this.#witness = machine.spawn('witness');
    this.#etcd = new SimEtcd({ members: [MEMBER], clock: this.clock, random: this.#random.fork('etcd') });
  }

  get controller(): Controller | null {
    return this.#controller;
  }

  /** Returns the API backend of the control node that leads. */
  backend(): Backend {
    const [store, controller] = [present(this.#store, 'store'), present(this.#controller, 'controller')];
    const context = {
      ...{ name: MEMBER, version: '0', store, clock: this.leader, leader: () => null },
      leading: () => ({ term: 1, controller }),
      controlAnswers: async () => true,
      controlClock: () => null,
      etcdSpace: { members: [], quotaBytes: 1, demandRoom: () => undefined },
      backups: { places: () => [] },
      randomHex: (bytes: number) => this.#random.hex(bytes),
    };
    // Only orders and consoles use the missing parts of the context.
    return createBackend(context as unknown as BackendContext);
  }

  /** Puts all records into etcd. */
  async fill(): Promise<number> {
    const client = this.#client(this.#witness);
    let keys = 0;
    let ops: { put: string; value: string }[] = [];
    const flush = async (): Promise<void> => {
      await this.#drive(client.txn({ compare: [], success: ops }));
      ops = [];
    };
    for (const [put, value] of recordsOf(this.#shape)) {
      keys++;
      if (ops.push({ put, value }) === OPS_PER_TRANSACTION) await flush();
    }
    if (ops.length > 0) await flush();
    return keys;
  }

  /** Starts the server: it reads all records, is elected, and leads. */
  lead(): void {
    const { leader, fleet } = this;
    const { signal } = new AbortController();
    const client = this.#client(leader);
    const store = new ClusterStore(client, (bytes) => this.#random.hex(bytes));
    this.#store = store;
    const ports = {
      clock: leader,
      randomHex: (bytes: number) => this.#random.hex(bytes),
      log: this.#log(),
      hosts: fleet.hostLink(leader),
      storage: fleet.storageLink(leader),
      // This fleet has no images.
      files: { copy: () => ({ done: Promise.resolve(), cancel: () => undefined }), remove: async () => undefined },
      qmp: fleet.qmpLink(leader),
      paths: fleet.paths(leader),
      ...NO_IDENTITIES,
      reach: { self: MEMBER, peers: () => [], tryFrom: async () => null },
      credentials: { issue: async () => ({ caPem: '', certPem: '', keyPem: '' }), targetSecret: async () => '' },
      storageTlsName: (node: string) => node,
      guestAgents: SILENT_GUESTS,
      crashPoint: async () => undefined,
    };
    const onReady = (): void => {
      void leadForEver({
        etcd: client,
        store,
        log: this.#log(),
        value: JSON.stringify({ name: MEMBER, address: MEMBER }),
        ports,
        signal,
        onLead: (leading) => {
          this.#controller = leading?.controller ?? null;
        },
      });
    };
    let isReady = false;
    void store.follow({
      signal,
      onReady: () => {
        if (!isReady) onReady();
        isReady = true;
      },
    });
  }

  /** Tells `onSeen` of every change of a VM from now on, as etcd applies it. */
  async witness(onSeen: (seen: Seen) => void): Promise<void> {
    const client = this.#client(this.#witness);
    const { entries, revision } = await this.#drive(client.list(PREFIX.vm));
    for (const { value } of entries) this.#note(JSON.parse(value) as VmRecord);
    void client.watch(PREFIX.vm, {
      fromRevision: revision + 1,
      onEvents: (events) => {
        for (const event of events) {
          const id = event.key.slice(PREFIX.vm.length) as VmId;
          const before = this.vms.get(id) ?? null;
          const after = event.type === 'put' ? (JSON.parse(event.kv.value) as VmRecord) : null;
          if (after === null) this.vms.delete(id);
          else this.vms.set(id, after);
          onSeen({ atMs: this.clock.monotonicMs(), id, before, after });
        }
      },
    });
  }

  #note(vm: VmRecord): void {
    this.vms.set(vm.id, vm);
  }

  /** Lets time pass until a promise of somebody in the world is settled. */
  async #drive<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const end = (): void => {
      isOver = true;
    };
    promise.then(end, end);
    await this.clock.run(this.clock.monotonicMs() + 60_000, () => isOver);
    return promise;
  }

  #client(process: SimProcess): SimEtcdClient {
    return new SimEtcdClient({ etcd: this.#etcd, route: this.#routeOf(process), clock: process });
  }

  #routeOf(process: SimProcess): EtcdRoute {
    const { machine } = this.#member;
    const hop = { network: 'control' as const, to: machine, process: () => this.#member };
    return {
      call: (member, deadlineMs, serve) =>
        this.#network.call(process, [hop], { deadlineMs, what: member }, () => serve()),
      tell: (_member, deliver) =>
        this.#network.send('control', process.machine, machine, () => this.#member.run(deliver)),
      push: (_member, deliver) => this.#network.send('control', machine, process.machine, () => process.run(deliver)),
    };
  }

  #log(): Log {
    const count = (message: string): void => void this.warnings.set(message, (this.warnings.get(message) ?? 0) + 1);
    return { info: () => undefined, warn: count };
  }
}
