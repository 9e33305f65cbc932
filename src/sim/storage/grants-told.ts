/**
 * Which grants of a storage node are new. A daemon that died is started again with what is still granted by the same
 * life of its service, or was taken over by it: that is no new grant, and only new ones are told to the trace.
 */
import type { Grant } from '../../core/ports/disk-backend.ts';
import type { StorageNote } from './sim-storage-node.ts';

/** Of one node. */
export class GrantsTold {
  readonly #tell: (entry: StorageNote) => void;
  readonly #served = new Map<string, Set<number>>();

  constructor(tell: (entry: StorageNote) => void) {
    this.#tell = tell;
  }

  /** A life of the service begins, with daemons and a target that serve this. */
  begin(grants: readonly Pick<Grant, 'vm' | 'generation'>[]): void {
    this.#served.clear();
    for (const { vm, generation } of grants) this.#servedOf(vm).add(generation);
  }

  /** Something of the node's, to be told unless it is no news. */
  note(entry: StorageNote): void {
    if (entry.kind === 'restarted') this.#served.clear();
    else {
      const ofVm = this.#servedOf(entry.vm);
      if (entry.kind === 'granted' && ofVm.has(entry.generation)) return;
      if (entry.kind === 'granted') ofVm.add(entry.generation);
      if (entry.kind === 'let-go') ofVm.clear();
      if (entry.kind === 'revoked') ofVm.delete(entry.generation);
      if (entry.kind === 'fenced') for (const one of ofVm) if (one < entry.below) ofVm.delete(one);
    }
    this.#tell(entry);
  }

  #servedOf(vm: string): Set<number> {
    const served = this.#served.get(vm) ?? new Set();
    this.#served.set(vm, served);
    return served;
  }
}
