/**
 * Decides when the leader looks again at a VM that runs quietly. Guarantees: each VM has its own instant within the
 * interval, so that looks do not come in waves; there are at most about LOOKS_PER_S_MAX looks a second, however many
 * VMs there are. Events cause additional looks, which are not counted here.
 */
import type { VmId } from '../../../base/ids.ts';

const INTERVAL_MS_MIN = 5_000;
/** Each look asks a QEMU. Changes of a QEMU, and the end of its connection, arrive as events, whatever the interval. */
const LOOKS_PER_S_MAX = 2_000;

/** The time between two looks at one of `vms` VMs, in ms: 5 s up to 10,000 of them, 10 s for 20,000. */
export function steadyIntervalMs(vms: number): number {
  return Math.max(INTERVAL_MS_MIN, (1_000 * vms) / LOOKS_PER_S_MAX);
}

/**
 * The time in ms before the next look of a VM that has to be looked at in `againInMs` at the latest, at `now`
 * (monotonic ms). Where that is at least the interval, its next instant, or the one after where the next is sooner than
 * half an interval.
 */
export function msUntilLook(id: VmId, againInMs: number, now: number, intervalMs: number): number {
  if (againInMs < intervalMs) return againInMs;
  // FNV-1a, and a last mixing of its bits: ids that differ in one digit are far apart.
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  const instant = (((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32) * intervalMs;
  const left = intervalMs - ((now + intervalMs - instant) % intervalMs);
  return left < intervalMs / 2 ? left + intervalMs : left;
}
