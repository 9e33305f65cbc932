/**
 * Judges moves by the cluster's events alone, whoever planned them: it knows nothing of plans, drains or records. A VM
 * moves from its event `migrating` to `migrated` or `migration-undone`.
 */
import assert from 'node:assert/strict';
import type { Event } from '../../src/api/views.ts';

/** The limits at every instant. */
export interface EventLimits {
  /** Moves at once from and to one host. */
  readonly parallel: number;
  /** Members of each guest cluster: one of them moves at a time, and no two are on one host. */
  readonly guestClusters: Readonly<Record<string, readonly string[]>>;
  /** The hosts of VMs before the first event. */
  readonly before: ReadonlyMap<string, string>;
}

interface Move {
  readonly from: string;
  readonly to: string;
}

/** Events by which a guest was restarted, or may have been. */
const DISTURBED = new Set(['lost', 'crashed', 'launch-failed', 'starting', 'stopping', 'stopped', 'reset']);

/** Fails unless the events, oldest first, kept the limits at every instant. Returns how often each VM has arrived. */
export function assertLimits(events: readonly Event[], limits: EventLimits): ReadonlyMap<string, number> {
  const at = new Map(limits.before);
  const moving = new Map<string, Move>();
  const arrived = new Map<string, number>();
  for (const event of events) {
    const { kind, vm, message } = event;
    if (vm === null) continue;
    if (kind === 'migrating') moving.set(vm, moveOf(message));
    if (kind === 'migration-undone') moving.delete(vm);
    if (kind === 'migrated') {
      const move = moving.get(vm) ?? assert.fail(`${vm} arrived without having left: ${message}`);
      at.set(vm, move.to);
      moving.delete(vm);
      arrived.set(vm, (arrived.get(vm) ?? 0) + 1);
    }
    assertInstant({ at, moving }, limits, `${event.at} ${message}`);
  }
  return arrived;
}

/** Fails if one of these VMs was restarted. */
export function assertUndisturbed(events: readonly Event[], vms: readonly string[]): void {
  const found = events.filter(({ vm, kind }) => vm !== null && vms.includes(vm) && DISTURBED.has(kind));
  assert.deepEqual(
    found.map(({ kind, message }) => `${kind}: ${message}`),
    [],
  );
}

function moveOf(message: string): Move {
  const [, from, to] = / migrates from (\S+) to ([^\s,]+)/.exec(message) ?? [];
  return from === undefined || to === undefined ? assert.fail(`no move: ${message}`) : { from, to };
}

function assertInstant(
  { at, moving }: { readonly at: ReadonlyMap<string, string>; readonly moving: ReadonlyMap<string, Move> },
  { parallel, guestClusters }: EventLimits,
  when: string,
): void {
  const load = new Map<string, number>();
  for (const { from, to } of moving.values()) for (const host of [from, to]) load.set(host, (load.get(host) ?? 0) + 1);
  for (const [host, count] of load) assert.ok(count <= parallel, `${count} moves at once at ${host}: ${when}`);
  for (const [name, members] of Object.entries(guestClusters)) {
    const out = members.filter((member) => moving.has(member));
    assert.ok(out.length <= 1, `${out.join(' and ')} of ${name} move at once: ${when}`);
    const places = members.flatMap((member) =>
      [at.get(member), moving.get(member)?.to].filter((host) => host !== undefined),
    );
    assert.equal(new Set(places).size, places.length, `two members of ${name} on one host: ${when}`);
  }
}
