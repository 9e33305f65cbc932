/**
 * The history of a cluster, in order: commits, orders as they were carried out, and observations. The checkers of this
 * folder judge it without knowing how it was decided; the simulated world records it, and a real one may.
 */
import type { DiskId, Generation, HostName, StorageName, Term, VmId } from '../../base/ids.ts';
import type { Change } from '../ports/store.ts';

/** One happening. `at`: ms since the trace began. */
export type TraceEntry = { readonly at: number } & (
  | {
      readonly kind: 'commit';
      /** The writer: a leader, by its term, or a person through the API. */
      readonly by: Term | 'people';
      readonly changes: readonly Change[];
    }
  /**
   * The cluster was restored from a snapshot: from here on its records are these, and no others. What happened before
   * has happened nevertheless: to disks, to storage nodes and to generations that were given.
   */
  | { readonly kind: 'restored'; readonly changes: readonly Change[] }
  /** A storage service has revoked everything of `vm` below `below`. */
  | { readonly kind: 'fenced'; readonly node: StorageName; readonly vm: VmId; readonly below: Generation }
  /**
   * A storage service serves a generation. `knownAt`: the time from which its knowledge may be out of date: when the
   * order was sent (or the term of its sender was over), or etcd was read.
   */
  | {
      readonly kind: 'granted';
      readonly node: StorageName;
      readonly vm: VmId;
      readonly generation: Generation;
      readonly knownAt: number;
    }
  | { readonly kind: 'revoked'; readonly node: StorageName; readonly vm: VmId; readonly generation: Generation }
  /**
   * Storage was granted a list without any disk of a VM: it serves no generation of the VM, and may be granted the same
   * generations again.
   */
  | { readonly kind: 'let-go'; readonly node: StorageName; readonly vm: VmId }
  /** A storage service came back: it grants nothing until it does so again, one by one. */
  | { readonly kind: 'restarted'; readonly node: StorageName }
  /** A leader ordered a QEMU to run its guest; `stale`: by one that was deposed and did not know yet. */
  | { readonly kind: 'cont'; readonly vm: VmId; readonly generation: Generation; readonly stale: boolean }
  /** A QEMU with a network card begins on a host that drops the tunnels of these addresses. */
  | {
      readonly kind: 'launched';
      readonly host: HostName;
      readonly vm: VmId;
      readonly generation: Generation;
      readonly drops: readonly string[];
    }
  /** A QEMU's run state in QMP's words, `ended`, or `aborted` after a failed assertion in QEMU. */
  | { readonly kind: 'status'; readonly vm: VmId; readonly generation: Generation; readonly status: string }
  /**
   * An attempt of control node `by` to reach a host ended. `met`: its kernel or agent answered; null: the path itself
   * did not work.
   */
  | {
      readonly kind: 'probe';
      readonly by: string;
      readonly host: HostName;
      readonly path: string;
      readonly met: boolean | null;
    }
  /**
   * Since when packets of control node `from` have been reaching a host's kernel and returning on this path without
   * interruption, in ms since the trace began; null: they do not. This is the truth, which nobody in the cluster knows;
   * recorded before each `gives-up`.
   */
  | {
      readonly kind: 'path';
      readonly from: string;
      readonly host: HostName;
      readonly path: string;
      readonly since: number | null;
    }
  /** Control node `by` sends a transaction that gives up a host (quarantines it). */
  | { readonly kind: 'gives-up'; readonly by: string; readonly host: HostName }
  /** A guest's write reached a disk. `sequence`: the block, counted from 1; a guest writes one after the other. */
  | {
      readonly kind: 'write';
      readonly vm: VmId;
      readonly disk: DiskId;
      readonly generation: Generation;
      readonly sequence: number;
    }
  /** A guest was told that its write is on the disk. */
  | {
      readonly kind: 'acknowledged';
      readonly vm: VmId;
      readonly disk: DiskId;
      readonly generation: Generation;
      readonly sequence: number;
    }
  /** A guest acknowledged the notice of a move to the agent of its host. */
  | { readonly kind: 'notice-acknowledged'; readonly vm: VmId; readonly number: number }
  /** The ready-check of a member of a guest cluster succeeded in this incarnation's guest. */
  | { readonly kind: 'ready'; readonly vm: VmId; readonly generation: Generation }
  /** A guest that boots, or who looks when all is over, reads the disk: blocks 1 to `found` are there. */
  | {
      readonly kind: 'booted';
      readonly vm: VmId;
      readonly disk: DiskId;
      readonly generation: Generation;
      readonly found: number;
    }
);

/** A broken invariant. `rule`: its name in docs/specs/generations.md. */
export interface Violation {
  readonly rule: string;
  readonly at: number;
  readonly what: string;
}

/**
 * Judges one entry of the trace after the other; the answer says what is wrong with it, or null. The checker remembers
 * what it needs of earlier entries.
 */
export type Checker = (entry: TraceEntry) => string | null;
