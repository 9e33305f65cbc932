/** Computes all findings about an estate. Pure: the same estate gives the same findings in the same order. */
import type { Estate, Network } from '../estate/estate.ts';
import { type Cure, type CureItem, cureItems, cures } from './cures.ts';
import { type DrainFinding, judgeDrains, TargetCache } from './drain.ts';
import { EstateIndex } from './estate-index.ts';
import { type ClusterFinding, findGuestClusters } from './guest-clusters.ts';
import { judgeLosses, type LossFinding, rulesWithoutSlack, type SlackFinding } from './loss.ts';
import { Rooms } from './room.ts';
import { findTies, type TieFinding } from './ties.ts';

export interface Analysis {
  readonly estate: Estate;
  readonly drains: readonly DrainFinding[];
  readonly clusters: readonly ClusterFinding[];
  readonly ties: readonly TieFinding[];
  readonly losses: readonly LossFinding[];
  readonly slack: readonly SlackFinding[];
  /** Networks without an uplink and without VMs. */
  readonly quietNetworks: readonly Network[];
  readonly cureItems: readonly CureItem[];
  readonly cures: readonly Cure[];
}

/** Judges an estate. */
export function analyse(estate: Estate): Analysis {
  const index = new EstateIndex(estate);
  const targets = new TargetCache(index);
  const rooms = new Rooms(index);
  const drains = judgeDrains(index, targets, rooms);
  const items = cureItems(drains);
  return {
    estate,
    drains,
    clusters: findGuestClusters(index),
    ties: findTies(index, targets),
    losses: judgeLosses(index, rooms),
    slack: rulesWithoutSlack(index),
    quietNetworks: [...estate.networks.values()].filter(
      ({ key, isIsolated }) => isIsolated && index.vmsPerNetwork.get(key) === undefined,
    ),
    cureItems: items,
    cures: cures(items),
  };
}
