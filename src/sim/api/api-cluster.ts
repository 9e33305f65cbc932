/**
 * A simulated cluster whose API answers in real time: the backend of production over simulated etcd, networks and
 * machines. For tests of the API, the command and the client, and for work on whatever uses the API.
 *
 * Guarantees: nothing fails by itself; when `start` resolves, a control node leads and sees every host and storage node
 * alive, and the cluster has the network and the image of a cluster that `gp up` made.
 */

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { present } from '../../base/assert.ts';
import { parseSha256 } from '../../base/ids.ts';
import { VERSION } from '../../base/version.ts';
import type { Call } from '../../control/api/call.ts';
import { type Backend, createBackend } from '../../control/backend/backend.ts';
import type { Authority, LabLink } from '../../control/backend/ports.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { SimCluster } from '../cluster.ts';
import { calmSwarm } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import { addressOf } from '../network/addresses.ts';
import { People } from '../people/people.ts';
import { LabFaults } from '../stories/lab-faults.ts';
import { PacedTime } from '../time/paced-time.ts';
import { NO_AUTHORITY } from './surroundings.ts';

export interface ApiClusterOptions {
  /** The administrator's token. */
  readonly adminToken: string;
  /** Default: 1 control node, 1 storage node, 3 hosts with 4 GiB each. */
  readonly controls?: number;
  readonly storageNodes?: number;
  readonly hosts?: number;
  readonly hostMemoryBytes?: number;
  readonly seed?: number;
  /** Simulated ms in one real ms, default 1. */
  readonly speed?: number;
  /** Certifies joiners; by default nobody can join. */
  readonly authority?: Authority;
  /** Faults can be injected through the API. */
  readonly hasLab?: boolean;
  /** Every line of the simulation's log. */
  readonly log?: (line: string) => void;
}

const START_MS = 30_000;
const GIB = 2 ** 30;
const KERNEL = Buffer.from('kernel of the image tiny');
const CALL: Call = { principal: { name: 'admin' }, signal: new AbortController().signal };

/** The simulated lab as the backend sees it. */
function labLinkOf(lab: LabFaults | null): LabLink | null {
  if (lab === null) return null;
  return {
    call: async ({ verb, target }) => {
      if (verb === 'status') return lab.status();
      if (verb === 'faults') return lab.faults();
      lab.inject(verb, target);
      return null;
    },
  };
}

/** See the module's comment. */
export class ApiCluster {
  readonly sim: SimCluster;
  readonly #backends = new WeakMap<object, Backend>();
  /** Faults as `gp lab` has them; null unless asked for. */
  readonly lab: LabFaults | null;
  #time: PacedTime | null = null;

  private constructor(options: ApiClusterOptions) {
    const { adminToken, controls = 1, storageNodes = 1, hosts = 3, hostMemoryBytes = 4 * GIB, seed = 1 } = options;
    this.sim = new SimCluster({
      swarm: { ...calmSwarm(seed, 0), controls, storageNodes, hosts, hostMemoryBytes },
      log: options.log ?? null,
      bug: null,
      authority: options.authority ?? NO_AUTHORITY,
      adminTokenSha256: createHash('sha256').update(adminToken).digest('hex'),
    });
    this.lab = options.hasLab === true ? new LabFaults(this.sim, this.sim.random.fork('lab')) : null;
  }

  /** Starts a cluster; an Error if it does not come up. */
  static async start(options: ApiClusterOptions): Promise<ApiCluster> {
    const cluster = new ApiCluster(options);
    await cluster.#found();
    cluster.#time = new PacedTime({
      clock: cluster.sim.clock,
      speed: options.speed ?? 1,
      onFailed: (error) => {
        throw error;
      },
    });
    return cluster;
  }

  /** The control node that leads. */
  get leader(): SimControlNode {
    return present(this.sim.leader, 'a leader');
  }

  /** The other control nodes. */
  get followers(): readonly SimControlNode[] {
    return [...this.sim.controls.values()].filter((node) => node !== this.leader);
  }

  /** Returns the backend of a control node's server: the leader's by default. */
  backend(node: SimControlNode = this.leader): Backend {
    const context = present(node.context, `the server of ${node.name}`);
    const backend = this.#backends.get(context) ?? createBackend({ ...context, lab: labLinkOf(this.lab) });
    this.#backends.set(context, backend);
    return backend;
  }

  /** The VMs as etcd holds them, by name. */
  get vms(): ReadonlyMap<string, VmRecord> {
    return new Map([...this.sim.truth.tables.vm.values()].map((vm) => [vm.name, vm]));
  }

  /** Time stands still; the cluster is of no more use. */
  stop(): void {
    this.#time?.stop();
  }

  async #found(): Promise<void> {
    const { sim } = this;
    await this.#until(() => sim.leader?.controller != null && sim.leader.context !== null, 'a leader');
    const context = present(this.leader.context, 'the server of the leader');
    const { store, clock } = context;
    const announced = [...sim.controls.keys()].map((name) => ({
      key: PREFIX.control + name,
      value: { name, address: addressOf('control', name), startedAt: clock.wallMs(), version: VERSION },
      expect: 0,
    }));
    await this.#settled(store.transact(announced, null), 'the control nodes');
    await this.#settled(new People(sim).join(context), 'the joining of hosts and storage nodes, and the network');
    await this.#until(() => {
      const controller = sim.leader?.controller;
      return (
        controller != null &&
        [...sim.hosts.keys()].every((host) => controller.observer.see(host).agent === 'alive') &&
        [...sim.storage.keys()].every((node) => controller.storageObserver.answers(node))
      );
    }, 'hosts and storage nodes');
    await this.#settled(this.#furnish(), 'the image');
  }

  /** The image of a cluster that `gp up` made. */
  async #furnish(): Promise<void> {
    const backend = this.backend();
    const sha256 = parseSha256(createHash('sha256').update(KERNEL).digest('hex'));
    const { length: sizeBytes } = KERNEL;
    const body = Readable.from([KERNEL], { objectMode: false });
    await backend.artifacts.put({ sha256, kind: 'kernel', sizeBytes, dataBytes: sizeBytes, body }, CALL);
    const defaults = { memoryBytes: GIB / 2, vcpus: 1, blankDiskBytes: GIB / 16 };
    await backend.images.put('tiny', { direct: { kernel: sha256 }, defaults });
  }

  async #settled<T>(promise: Promise<T>, what: string): Promise<T> {
    let isSettled = false;
    const noted = promise.finally(() => {
      isSettled = true;
    });
    noted.catch(() => undefined);
    await this.#until(() => isSettled, what);
    return noted;
  }

  async #until(isSo: () => boolean, what: string): Promise<void> {
    const { clock } = this.sim;
    const endsAt = clock.monotonicMs() + START_MS;
    while (!isSo() && clock.monotonicMs() < endsAt) {
      await clock.run(clock.monotonicMs() + 10, isSo);
      // Streams and files take turns of the real event loop.
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (!isSo()) throw new Error(`The simulated cluster did not start: no ${what}.`);
  }
}
