/**
 * The protocol's steps, and its workflows as tables: every step that leaves the decision core, in order, with what
 * undoes it and where the point of no return lies. The executor (core/loop/vm/executor.ts) has one handler per step and
 * makes no choice.
 */
import type { ErrorCode } from '../../../base/errors.ts';
import type { DiskId, Generation, HostName, StorageName, TaskId } from '../../../base/ids.ts';
import type { Incarnation } from '../../model/vm.ts';

/** An effect to carry out. Every one is idempotent: a new leader may repeat any of them. */
export type Step =
  | { readonly do: 'create-disk'; readonly disk: DiskId }
  | { readonly do: 'delete-disk'; readonly disk: DiskId }
  /** Every storage node that holds a disk of the VM revokes all below, and acknowledges. */
  | { readonly do: 'fence'; readonly below: Generation }
  | { readonly do: 'grant'; readonly generation: Generation }
  | { readonly do: 'revoke'; readonly generation: Generation }
  | { readonly do: 'launch'; readonly incarnation: Incarnation; readonly incoming: boolean }
  | { readonly do: 'cont'; readonly incarnation: Incarnation }
  | { readonly do: 'halt'; readonly incarnation: Incarnation }
  | { readonly do: 'reset'; readonly incarnation: Incarnation }
  | { readonly do: 'power-down'; readonly incarnation: Incarnation }
  /** Ends the process: through the agent if it is alive, else through QMP. */
  | { readonly do: 'end'; readonly incarnation: Incarnation; readonly by: 'agent' | 'qmp' }
  | { readonly do: 'listen'; readonly destination: Incarnation }
  /**
   * Makes a source whose guest is paused use its disks without continuing the guest: at the end of sending, QEMU
   * releases only disks that it uses, and a guest that arrived halted and was never continued does not use its disks.
   */
  | { readonly do: 'activate'; readonly source: Incarnation; readonly destination: Incarnation }
  | { readonly do: 'send'; readonly source: Incarnation; readonly destination: Incarnation }
  /** A guest that writes faster than it is copied may be held still for longer at the end. */
  | { readonly do: 'allow-pause'; readonly source: Incarnation; readonly ms: number }
  | { readonly do: 'cancel-send'; readonly source: Incarnation }
  /**
   * A running QEMU gets exactly the shared disks that the record says: unplug, fence below, grant, plug. `disks`:
   * `sharingOf` the record.
   */
  | { readonly do: 'share'; readonly incarnation: Incarnation; readonly disks: string };

export type StepName = Step['do'];

/** The incarnation whose QEMU answers otherwise after a step, or null if none does. */
export function changedBy(step: Step): Incarnation | null {
  switch (step.do) {
    case 'launch':
    case 'cont':
    case 'halt':
    case 'reset':
    case 'power-down':
    case 'end':
      return step.incarnation;
    case 'send':
    case 'allow-pause':
    case 'cancel-send':
      return step.source;
    case 'create-disk':
    case 'delete-disk':
    case 'fence':
    case 'grant':
    case 'revoke':
    case 'share':
    case 'activate':
    // The destination gives the same answer before and after: that it waits.
    case 'listen':
      return null;
  }
}

/** An effect, or `commit:PHASE`: one transaction in etcd. */
export type WorkflowPoint = StepName | `commit:${string}`;

interface WorkflowStep {
  readonly step: WorkflowPoint;
  /** The steps that undo it if the workflow is given up after it; empty if nothing has to be undone. */
  readonly undo: readonly WorkflowPoint[];
  /** From here on the incarnation that was current before is never current again: the workflow can only be finished. */
  readonly irreversible?: true;
}

/**
 * Each workflow in its order when nothing goes wrong. Decisions (vm-decision.ts, migration-decision.ts) know a record's
 * phase and not these tables; workflows.test.ts checks them against every row: the order, the effects of giving up
 * after each step, and that no step leads back from an irreversible one. Crash stories end the leader before each step.
 */
export const WORKFLOWS: Readonly<Record<'start' | 'stop' | 'migrate' | 'recover', readonly WorkflowStep[]>> = {
  start: [
    { step: 'commit:starting', undo: ['commit:stopping'] },
    // A fence only ever takes from generations that ended.
    { step: 'fence', undo: [] },
    // The fence of the next generation.
    { step: 'grant', undo: ['fence'] },
    { step: 'launch', undo: ['end'] },
    { step: 'cont', undo: ['end'] },
    { step: 'commit:running', undo: ['commit:stopping'] },
  ],
  // A stop that was asked for is carried out.
  stop: [
    { step: 'commit:stopping', undo: [] },
    { step: 'power-down', undo: [] },
    { step: 'end', undo: [], irreversible: true },
    { step: 'fence', undo: [] },
    { step: 'commit:stopped', undo: ['commit:starting'] },
  ],
  migrate: [
    { step: 'commit:migrating', undo: ['commit:unwinding'] },
    { step: 'grant', undo: ['revoke'] },
    // The destination listens from its launch on. Where nobody knows that it does (a launch repeated by a new leader),
    // `listen` follows.
    { step: 'launch', undo: ['end'] },
    // A source whose guest is paused is first told to `activate` its disks: the tables are for running guests.
    { step: 'send', undo: ['cancel-send'] },
    // Both sides are paused and complete; after this transaction only the destination may run, so only forward is left.
    { step: 'commit:switching', undo: [], irreversible: true },
    { step: 'fence', undo: [] },
    { step: 'cont', undo: [] },
    { step: 'end', undo: [] },
    { step: 'commit:running', undo: [] },
  ],
  recover: [
    // After this transaction the old generation is never admitted again, though its QEMU may still run, cut off.
    { step: 'commit:starting', undo: ['commit:stopping'], irreversible: true },
    { step: 'fence', undo: [] },
    { step: 'grant', undo: ['fence'] },
    { step: 'launch', undo: ['end'] },
    { step: 'cont', undo: ['end'] },
    { step: 'commit:running', undo: ['commit:stopping'] },
  ],
};

/** The effects that the leader had acknowledged in this term. Lost with the leader; every step may then be repeated. */
export interface Acknowledged {
  /** Every storage node with a disk of the VM's own revoked all below this; 0 for none. */
  readonly fencedBelow: number;
  /**
   * The same for each node that held a shared disk of the VM at the time: the set of nodes may change while the VM
   * exists.
   */
  readonly sharedFences: ReadonlyMap<StorageName, number>;
  /** The generation that was last given its shared disks, and which (`sharingOf`). */
  readonly shared: { readonly generation: Generation; readonly disks: string } | null;
  /**
   * The generation that was last continued after its migration, and how long after the commit of phase switching, in
   * ms.
   */
  readonly continued: { readonly generation: Generation; readonly afterMs: number } | null;
  readonly granted: ReadonlySet<Generation>;
  readonly launched: ReadonlySet<Generation>;
  /**
   * The generation that this leader began and has never told to run, with the time of its launch by the leader's
   * monotonic clock (null: not yet). Its guest has not run, so nothing can be lost with it.
   */
  readonly neverContinued: ReadonlyMap<Generation, number | null>;
  readonly listening: ReadonlySet<Generation>;
  /** Destinations of migrations whose halted source has been told to use its disks. */
  readonly activated: ReadonlySet<Generation>;
  readonly sent: ReadonlySet<Generation>;
  readonly revoked: ReadonlySet<Generation>;
  readonly ended: ReadonlySet<Generation>;
  /** Generations whose process did not end despite repeated orders. */
  readonly resisted: ReadonlySet<Generation>;
  /**
   * Since when the guest of a migration's source has been paused for the end of the migration, by the leader's
   * monotonic clock in ms.
   */
  readonly standingSince: number | null;
  /** When a generation's power button was last pressed, by the leader's monotonic clock in ms. */
  readonly poweredDown: ReadonlyMap<Generation, number>;
  /** The task whose reset was carried out. */
  readonly reset: TaskId | null;
  /** A guest paused by a disk error: since when, and when it was last continued (the leader's monotonic clock, ms). */
  readonly diskError: { readonly since: number; readonly continuedAt: number | null } | null;
  /** The last step that failed, and when by the leader's monotonic clock in ms. */
  readonly failure: StepFailure | null;
}

/** The acknowledgements of a leader at the beginning of its term: none. */
export const NOTHING_ACKNOWLEDGED: Acknowledged = {
  fencedBelow: 0,
  sharedFences: new Map(),
  shared: null,
  continued: null,
  granted: new Set(),
  launched: new Set(),
  neverContinued: new Map(),
  listening: new Set(),
  activated: new Set(),
  sent: new Set(),
  revoked: new Set(),
  ended: new Set(),
  resisted: new Set(),
  standingSince: null,
  poweredDown: new Map(),
  reset: null,
  diskError: null,
  failure: null,
};

export interface StepFailure {
  readonly step: Step;
  readonly message: string;
  /** The error code of the refusal or failure, if it was a CodedError. */
  readonly code: ErrorCode | null;
  readonly at: number;
  /** How often this step failed in a row. */
  readonly count: number;
  readonly host: HostName | null;
}
