/** Ports that note the orders of steps, and one step of every kind: for the tests of the executor. */
import { counted } from '../../../../base/counted.ts';
import { CodedError } from '../../../../base/errors.ts';
import type { DiskId, Generation } from '../../../../base/ids.ts';
import type { VmPhase, VmRecord } from '../../../model/vm.ts';
import { MIGRATING } from '../../../plan/testing/decision-table.ts';
import {
  diskRecord,
  host,
  hostRecord,
  incarnation,
  node,
  sharedDiskRecord,
  vmRecord,
} from '../../../plan/testing/sample-records.ts';
import type { Step, StepName } from '../../../plan/vm/steps.ts';
import type { HostLink, LaunchOrder } from '../../../ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../../../ports/qmp-link.ts';
import type { GrantOrder, StorageLink } from '../../../ports/storage-link.ts';
import { MemoryStore } from '../../testing/memory-store.ts';
import { Acknowledgements } from '../acknowledgements.ts';
import { Executor } from '../executor.ts';

export const g = (n: number) => n as Generation;
export const DISK = diskRecord();
export const SEED = diskRecord({ id: 'disk-00000000005e' as DiskId, node: node(2), port: 30_001 });
export const SHARED = sharedDiskRecord({ node: node(3) });
export const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(2), reason: 'requested', avoid: [] };
export const RUNNING: VmPhase = { kind: 'running', incarnation: incarnation(2) };

/** A VM with a disk on s1, a read-only one on s2 and a shared one on s3. */
export function vmOf(phase: VmPhase, more: Partial<VmRecord['spec']> = {}): VmRecord {
  const record = vmRecord(phase);
  const seed = { disk: SEED.id, role: 'seed', bus: 'virtio' } as const;
  return {
    ...record,
    spec: {
      ...record.spec,
      disks: [...record.spec.disks, seed],
      sharedDisks: [{ disk: SHARED.id, lun: 4 }],
      ...more,
    },
  };
}

/** Ports that note every order and carry it out, unless it is one that fails. */
export class World {
  readonly store = new MemoryStore();
  readonly orders: string[] = [];
  readonly launches: LaunchOrder[] = [];
  readonly grants: GrantOrder[] = [];
  readonly notes = new Acknowledgements();
  /** Orders that begin with one of these fail. */
  readonly failing = new Set<string>();
  /** The agent's answer about a destination. */
  listens = false;
  issued = 0;
  readonly executor: Executor;

  constructor() {
    for (const n of [1, 2]) this.store.put({ kind: 'host', id: host(n), value: hostRecord(n) });
    for (const n of [1, 2, 3])
      this.store.put({
        kind: 'storage',
        id: node(n),
        value: { name: node(n), addresses: { control: '', storage: `10.1.1.${n}` }, joinedAt: 0 },
      });
    for (const disk of [DISK, SEED]) this.store.put({ kind: 'disk', id: disk.id, value: disk });
    this.store.put({ kind: 'shared-disk', id: SHARED.id, value: SHARED });
    this.executor = new Executor({
      store: this.store,
      hosts: this.#hosts(),
      storage: this.#storage(),
      qmp: this.#qmp(),
      credentials: {
        issue: async (_vm, generation) => ({ caPem: '', certPem: `g${generation} nr ${++this.issued}`, keyPem: '' }),
        targetSecret: async (account) => `secret of ${account}`,
      },
      storageTlsName: (name) => `storage:${name}`,
      networkPlan: (name) => ({ revision: 9, networks: [], drop: [name] }),
    });
  }

  perform(phase: VmPhase | VmRecord, step: Step): Promise<void> {
    return this.executor.perform('id' in phase ? phase : vmOf(phase), step, this.notes);
  }

  async #order(text: string): Promise<void> {
    this.orders.push(text);
    // An answer is never there at once.
    await Promise.resolve();
    if ([...this.failing].some((each) => text.startsWith(each))) throw new CodedError('unavailable', `${text} failed`);
  }

  #storage(): StorageLink {
    const unused = (): Promise<never> => Promise.reject(new Error('not expected'));
    return {
      report: unused,
      createSharedDisk: unused,
      deleteSharedDisk: unused,
      diskFacts: unused,
      fence: async (at, { term, below, disks }) => {
        await this.#order(`fence ${at} below ${below}: ${counted(disks.length, 'disk')}, term ${term}`);
        return { revoked: [] };
      },
      grant: async (at, order) => {
        this.grants.push(order);
        await this.#order(`grant ${at} ${order.generation}`);
        return { exports: [] };
      },
      revoke: (at, { generation }) => this.#order(`revoke ${at} ${generation}`),
      createDisk: (at, disk, { sizeBytes }) => this.#order(`create ${at} ${disk} ${sizeBytes}`),
      deleteDisk: (at, disk) => this.#order(`delete ${at} ${disk}`),
    };
  }

  #hosts(): HostLink {
    const unused = (): Promise<never> => Promise.reject(new Error('not expected'));
    return {
      report: unused,
      applyNetwork: unused,
      probe: unused,
      launch: async (at, order) => {
        this.launches.push(order);
        await this.#order(`launch ${at} ${order.generation}`);
        return { pid: 1, startTicks: '1', already: false, listens: this.listens };
      },
      kill: async (at, { generations }) => {
        await this.#order(`kill ${at} ${generations.join()}`);
        return { killed: [] };
      },
    };
  }

  #qmp(): QmpLink {
    const to = (what: string) => (target: QmpTarget) => this.#order(`${what} ${target.generation} at ${target.host}`);
    return {
      observe: () => Promise.reject(new Error('not expected')),
      onEvent: () => undefined,
      cont: to('cont'),
      halt: to('halt'),
      reset: to('reset'),
      powerDown: to('power-down'),
      quit: to('quit'),
      activate: to('activate'),
      cancelSend: to('cancel'),
      listen: (target, source) => this.#order(`listen ${target.generation} for ${source.generation}`),
      send: (source, destination) => this.#order(`send ${source.generation} to ${destination.generation}`),
      allowPause: (source, ms) => this.#order(`allow ${source.generation} ${ms} ms`),
      dirtyRate: () => Promise.reject(new Error('not expected')),
      blockFigures: () => Promise.reject(new Error('not expected')),
      machineFacts: () => Promise.reject(new Error('not expected')),
      plug: (target, { lun }) => this.#order(`plug ${lun} into ${target.generation}`),
      unplug: (target, disk) => this.#order(`unplug ${disk} from ${target.generation}`),
      sharedDisks: async () => [],
      certificateEndsAt: () => null,
      forget: (_vm, generation) => void this.orders.push(`forget ${generation}`),
    };
  }
}

/** One step of every kind, each in a phase in which it is decided. */
export const STEPS: { readonly [K in StepName]: readonly [VmPhase, Extract<Step, { do: K }>] } = {
  'create-disk': [STARTING, { do: 'create-disk', disk: DISK.id }],
  'delete-disk': [{ kind: 'stopped' }, { do: 'delete-disk', disk: DISK.id }],
  fence: [STARTING, { do: 'fence', below: g(2) }],
  grant: [STARTING, { do: 'grant', generation: g(2) }],
  revoke: [MIGRATING, { do: 'revoke', generation: g(2) }],
  share: [RUNNING, { do: 'share', incarnation: incarnation(2), disks: `${SHARED.id}@4` }],
  launch: [STARTING, { do: 'launch', incarnation: incarnation(2), incoming: false }],
  end: [RUNNING, { do: 'end', incarnation: incarnation(2), by: 'agent' }],
  cont: [STARTING, { do: 'cont', incarnation: incarnation(2) }],
  halt: [RUNNING, { do: 'halt', incarnation: incarnation(2) }],
  reset: [RUNNING, { do: 'reset', incarnation: incarnation(2) }],
  'power-down': [RUNNING, { do: 'power-down', incarnation: incarnation(2) }],
  listen: [MIGRATING, { do: 'listen', destination: MIGRATING.destination }],
  activate: [MIGRATING, { do: 'activate', source: MIGRATING.source, destination: MIGRATING.destination }],
  send: [MIGRATING, { do: 'send', source: MIGRATING.source, destination: MIGRATING.destination }],
  'allow-pause': [MIGRATING, { do: 'allow-pause', source: MIGRATING.source, ms: 300 }],
  'cancel-send': [MIGRATING, { do: 'cancel-send', source: MIGRATING.source }],
};
