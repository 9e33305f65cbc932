/** A storage service on a node in memory, with an etcd that answers as the test says: for the service's tests. */

import { CodedError } from '../../../base/errors.ts';
import { parseGeneration, parseStorageName, parseVmId, type Term, type VmId } from '../../../base/ids.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import type { Grant } from '../../ports/disk-backend.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import type { ClusterView, History, VmView } from '../cluster-view.ts';
import { FencingLedger } from '../fencing-ledger.ts';
import type { HistoryMemory } from '../history-guard.ts';
import { StorageService } from '../storage-service.ts';
import { diskId, FakeNode } from './fake-node.ts';

export const VM = parseVmId('vm-00000000000a');
export const OTHER = parseVmId('vm-00000000000b');
export const PORT = 30_001;
export const g = parseGeneration;
export const TERM = 5 as Term;

/** A VM's generation on a disk. */
export const granted = (generation: number, vm: VmId = VM): Grant => ({
  vm,
  generation: g(generation),
  readOnly: false,
});

/** The content of etcd: disk 1 belongs to VM, and these generations are admitted. */
export function viewOf(admitted: readonly number[], more: Partial<VmView> = {}): ClusterView {
  const floor = admitted.length === 0 ? (more.highest ?? 0) + 1 : Math.min(...admitted);
  const vm = {
    floor,
    highest: Math.max(0, ...admitted),
    admitted: admitted.map(g),
    readOnlyDisks: new Set<never>(),
    sharedDisks: [],
    ...more,
  };
  return {
    history: { epoch: 0, id: '', revision: 1 },
    epoch: FIRST_EPOCH,
    disks: new Map([[diskId(1), { vm: VM, port: PORT }]]),
    vms: new Map([[VM, vm]]),
    unreadableVms: new Set(),
  };
}

/** The node's memory of histories, as its disk keeps it. */
class FakeMemory implements HistoryMemory {
  known: History | null = null;
  read = async (): Promise<History | null> => this.known;
  write = async (history: History): Promise<void> => {
    this.known = history;
  };
}

/** Etcd answers with `view`; null: it cannot be reached. */
export class ServiceWorld {
  readonly clock = new ManualClock();
  readonly node = new FakeNode();
  readonly ledger = new FencingLedger();
  readonly service: StorageService;
  readonly memory = new FakeMemory();
  view: ClusterView | null;
  reads = 0;

  constructor(view: ClusterView | null) {
    this.view = view;
    this.node.disks.set(diskId(1), { vm: VM, sizeBytes: 100 });
    this.node.disks.set(diskId(2), { vm: OTHER, sizeBytes: 100 });
    this.service = new StorageService({
      name: parseStorageName('s1'),
      version: '0.1.0',
      clock: this.clock,
      log: { info: () => undefined, warn: () => undefined },
      disks: this.node.backend,
      target: this.node.targetBackend,
      ledger: this.ledger,
      history: this.memory,
      readCluster: async () => {
        this.reads++;
        if (this.view === null) throw new CodedError('unavailable', 'etcd does not answer');
        return this.view;
      },
    });
  }

  /** Starts the service and lets its first round end. */
  async start(): Promise<this> {
    await this.service.start();
    await this.clock.advance(0);
    return this;
  }

  grant(generation: number, more: { readonly vm?: VmId; readonly port?: number; readonly term?: Term } = {}) {
    const { vm = VM, port = PORT, term = TERM } = more;
    const disks = [{ disk: vm === OTHER ? diskId(2) : diskId(1), port, readOnly: false }];
    return this.service.grant({ term, vm, generation: g(generation), disks });
  }

  fence(below: number, term: Term = TERM) {
    return this.service.fence({ term, vm: VM, below: g(below), disks: [] });
  }

  revoke(generation: number, term: Term = TERM) {
    return this.service.revoke({ term, vm: VM, generation: g(generation), disks: [] });
  }
}

/** A refusal with this code. */
export const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;
