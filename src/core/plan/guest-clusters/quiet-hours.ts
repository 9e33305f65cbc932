/**
 * The quiet hours of guest clusters: weekly windows in which no drain moves a member. Pure. The answer for a record is
 * kept until the next change, because every drain asks for each of its members each second.
 */

import type { VmId } from '../../../base/ids.ts';
import { parseTimeWindow, type TimeWindow, type WindowState, windowState } from '../../maintenance/time-window.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { DrainRecord } from '../../model/drain.ts';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import type { VmRecord } from '../../model/vm.ts';

interface Known {
  readonly windows: readonly TimeWindow[];
  readonly at: number;
  readonly state: WindowState;
}

/** Records never change: what follows from one is made once. */
const KNOWN = new WeakMap<GuestClusterRecord, Known>();

/**
 * Whether a guest cluster has quiet hours at a time (Unix ms), and until when; null: it has none. `until` is null if no
 * end is known. A window that this version cannot read (a zone that it does not know) holds nothing back.
 */
function quietAt(cluster: GuestClusterRecord, now: number): { readonly until: number | null } | null {
  const { quiet = [] } = cluster;
  if (quiet.length === 0) return null;
  const known = KNOWN.get(cluster);
  const isKnown = known !== undefined && now >= known.at && now < (known.state.changesAt ?? known.at);
  const windows = known?.windows ?? quiet.flatMap(windowOf);
  // The hour that comes twice when summer time ends is quiet both times.
  const state = isKnown ? known.state : windowState(windows, now, 'second');
  if (!isKnown) KNOWN.set(cluster, { windows, at: now, state });
  return state.isInside ? { until: state.changesAt } : null;
}

/** Why a drain moves no member of a guest cluster now, in words for people; null: its hours are not quiet. */
function quietObstacle(cluster: GuestClusterRecord, now: number): string | null {
  const quiet = quietAt(cluster, now);
  if (quiet === null) return null;
  const until = quiet.until === null ? '' : ` until ${new Date(quiet.until).toISOString()}`;
  return `Guest cluster ${cluster.name} has quiet hours${until}.`;
}

/** Why a drain does not move a VM now; null: its guest cluster's hours are not quiet, or the drain overrides them. */
export function drainObstacle(
  vm: VmRecord,
  {
    drain,
    index,
    now,
  }: { readonly drain: Pick<DrainRecord, 'quietOverride'>; readonly index: ClusterIndex; readonly now: number },
): string | null {
  if (drain.quietOverride !== undefined) return null;
  const cluster = index.guestClusterOf(vm);
  return cluster === null ? null : quietObstacle(cluster, now);
}

/** The reasons why quiet hours delay moves of these VMs now, a sentence for each guest cluster. */
export function quietObstacles(vms: Iterable<VmId>, index: ClusterIndex, now: number): readonly string[] {
  const clusters = new Set<GuestClusterRecord>();
  for (const id of vms) {
    const vm = index.vm(id);
    const cluster = vm === null ? null : index.guestClusterOf(vm);
    if (cluster !== null) clusters.add(cluster);
  }
  return [...clusters].flatMap((cluster) => quietObstacle(cluster, now) ?? []);
}

function windowOf(text: string): readonly TimeWindow[] {
  const read = parseTimeWindow(text);
  return 'window' in read ? [read.window] : [];
}
