/**
 * The places where a known mistake can be made on purpose: each replaces a part of the simulated cluster, never a line
 * of production.
 */
import type { ClusterStore } from '../../control/store/cluster-store.ts';
import type { Controller, ControllerPorts } from '../../core/loop/controller.ts';
import type { StorageServiceOptions } from '../../core/storage/storage-service.ts';
import type { Truth } from '../judge/truth.ts';
import type { SimStorageMistakes } from '../storage/sim-daemon.ts';
import type { Swarm } from './swarm.ts';

/** What a controller stands on, but for its hand on etcd. */
export type LinksOfController = Omit<ControllerPorts, 'store' | 'lead'>;

/** A mistake. */
export interface PlantedBug {
  /** For the command line. */
  readonly name: string;
  /** What is wrong, in words. */
  readonly says: string;
  /**
   * One of these rules, at least, must be found broken; `L1-converges` stands for a cluster that is not in order at the
   * end.
   */
  readonly rules: readonly string[];
  /** The runs in which it shows; absent: those that every seed draws. */
  readonly swarm?: (seed: number) => Swarm;
  /** Replaces what a controller stands on. */
  readonly plant?: (ports: LinksOfController, cluster: { readonly truth: Truth }) => LinksOfController;
  /** Changes a control node's hand on etcd. */
  readonly plantStore?: (store: ClusterStore) => void;
  /** Changes what a leader keeps, as its term begins. */
  readonly plantController?: (controller: Controller) => void;
  readonly storageMistakes?: SimStorageMistakes;
  readonly plantStorage?: (parts: StorageServiceOptions, cluster: { readonly truth: Truth }) => StorageServiceOptions;
  /** Forgets what it keeps of a run: another one begins. */
  readonly reset?: () => void;
}
