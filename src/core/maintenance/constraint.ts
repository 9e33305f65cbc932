/** Constraints of plans by name: the reasons that exclude hosts or hold VMs. No I/O. */

/** One constraint. Equal constraints have equal `kind` and `name`; `name` is empty if there is one of the kind. */
export interface Constraint {
  readonly kind: ConstraintKind;
  readonly name: string;
}

export type ConstraintKind =
  /** The host is emptied by this very plan. */
  | 'emptied'
  /** The host is cordoned, in maintenance, quarantined, or its agent is silent; `name`: the host. */
  | 'host-state'
  | 'rule'
  /** Members of the guest cluster share no host. */
  | 'guest-cluster'
  /** The guest cluster allows no more disturbed members; its heartbeat tolerates no longer pause. */
  | 'disturbed'
  | 'pause'
  | 'tie'
  | 'cpu-model'
  | 'network'
  | 'storage'
  | 'accelerator'
  | 'release'
  /** The VM cannot be moved now (`unsettled`), or moves already; `name`: the VM. */
  | 'unsettled'
  | 'moving'
  | 'memory'
  | 'vcpus'
  | 'room-for-loss';

/** A text that is equal for equal constraints. */
export function keyOf({ kind, name }: Constraint): string {
  return name === '' ? kind : `${kind} ${name}`;
}
