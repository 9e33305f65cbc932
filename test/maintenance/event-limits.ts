/**
 * Judges moves by the cluster's events alone, whoever planned them: it knows nothing of plans, drains or records. A VM
 * moves from its event `migrating` to `migrated`, or until it is back where it was; a VM of a host that was killed is
 * down from its event `lost` to `running`.
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
  /** Hosts that were killed on purpose: a VM that was there, or on its way from or to there, may be lost. */
  readonly killed?: readonly string[];
}

/** What became of the VMs. */
export interface Told {
  /** How often each VM has arrived somewhere. */
  readonly arrived: ReadonlyMap<string, number>;
  /** VMs that were lost with a host that was killed. */
  readonly lost: ReadonlySet<string>;
  /** Where each VM is after the last event. */
  readonly at: ReadonlyMap<string, string>;
}

interface Move {
  readonly from: string;
  readonly to: string;
}

/** Events by which a guest was restarted, or may have been. */
const DISTURBED = new Set(['lost', 'crashed', 'launch-failed', 'starting', 'stopping', 'stopped', 'reset']);

/** Fails unless the events, oldest first, kept the limits at every instant. */
export function assertLimits(events: readonly Event[], limits: EventLimits): Told {
  const followed = new Followed(limits);
  for (const event of events) followed.take(event);
  return followed;
}

/** Fails if one of these VMs was restarted. */
export function assertUndisturbed(events: readonly Event[], vms: readonly string[]): void {
  const found = events.filter(({ vm, kind }) => vm !== null && vms.includes(vm) && DISTURBED.has(kind));
  assert.deepEqual(
    found.map(({ kind, message }) => `${kind}: ${message}`),
    [],
  );
}

/**
 * Fails if more hosts than `most` were out of service at once, from the beginning of the drain of each to its return.
 * Returns the hosts in the order in which they came back.
 */
export function assertAway(events: readonly Event[], most: number): readonly string[] {
  const away = new Set<string>();
  const back: string[] = [];
  for (const { kind, host, at, message } of events) {
    if (host === null) continue;
    if (kind === 'drain-started') away.add(host);
    if (kind === 'drain-cancelled') away.delete(host);
    if (kind === 'host-undrained') {
      assert.ok(away.delete(host), `${host} came back without having been away: ${at} ${message}`);
      back.push(host);
    }
    assert.ok(away.size <= most, `${[...away].join(' and ')} were away at once: ${at} ${message}`);
  }
  assert.deepEqual([...away], [], 'every host is back');
  return back;
}

/** Fails if a VM arrived twice while the same hosts were being emptied: a move that was repeated. */
export function assertMovedOnce(events: readonly Event[]): void {
  let drain = '';
  let arrived = new Set<string>();
  for (const { kind, vm, at, message } of events) {
    if (kind === 'drain-started') {
      drain = message;
      arrived = new Set();
    }
    if (kind !== 'migrated' || vm === null) continue;
    assert.ok(!arrived.has(vm), `${vm} moved twice (${drain}): ${at} ${message}`);
    arrived.add(vm);
  }
}

class Followed implements Told {
  readonly arrived = new Map<string, number>();
  readonly lost = new Set<string>();
  readonly at: Map<string, string>;
  readonly #limits: EventLimits;
  readonly #moving = new Map<string, Move>();
  /** Lost, and not running again yet. */
  readonly #down = new Set<string>();

  constructor(limits: EventLimits) {
    this.#limits = limits;
    this.at = new Map(limits.before);
  }

  take(event: Event): void {
    const { kind, vm, message } = event;
    if (vm === null) return;
    const when = `${event.at} ${message}`;
    if (kind === 'migrating') this.#leave(vm, moveOf(message), when);
    if (kind === 'migrated') this.#arrive(vm, when);
    // The first event of this kind says that the move is being undone, the second that it was.
    if (kind === 'migration-undone' && message.includes(' stays on ')) this.#moving.delete(vm);
    if (kind === 'lost') this.#lose(vm, when);
    const [, next] = / Generation \d+ starts on ([^\s,]+)\.$/.exec(message) ?? [];
    if (next !== undefined) this.at.set(vm, next);
    if (kind === 'running') this.#down.delete(vm);
    this.#assertInstant(when);
  }

  #leave(vm: string, move: Move, when: string): void {
    assert.equal(move.from, this.at.get(vm) ?? move.from, `${vm} leaves a host that it is not on: ${when}`);
    for (const [name, members] of Object.entries(this.#limits.guestClusters)) {
      if (!members.includes(vm)) continue;
      const down = members.filter((member) => this.#down.has(member));
      assert.deepEqual(down, [], `${vm} of ${name} moves while another member is down: ${when}`);
    }
    this.#moving.set(vm, move);
  }

  #arrive(vm: string, when: string): void {
    const move = this.#moving.get(vm) ?? assert.fail(`${vm} arrived without having left: ${when}`);
    this.at.set(vm, move.to);
    this.#moving.delete(vm);
    this.arrived.set(vm, (this.arrived.get(vm) ?? 0) + 1);
  }

  #lose(vm: string, when: string): void {
    const { killed = [] } = this.#limits;
    const places = [this.at.get(vm), this.#moving.get(vm)?.from, this.#moving.get(vm)?.to];
    assert.ok(
      places.some((host) => host !== undefined && killed.includes(host)),
      `${vm} was lost, and ${places.join(', ')} was not killed: ${when}`,
    );
    this.#moving.delete(vm);
    this.#down.add(vm);
    this.lost.add(vm);
  }

  #assertInstant(when: string): void {
    const { parallel, guestClusters } = this.#limits;
    const load = new Map<string, number>();
    for (const { from, to } of this.#moving.values())
      for (const host of [from, to]) load.set(host, (load.get(host) ?? 0) + 1);
    for (const [host, count] of load) assert.ok(count <= parallel, `${count} moves at once at ${host}: ${when}`);
    for (const [name, members] of Object.entries(guestClusters)) {
      const out = members.filter((member) => this.#moving.has(member));
      assert.ok(out.length <= 1, `${out.join(' and ')} of ${name} move at once: ${when}`);
      const places = members.flatMap((member) =>
        [this.at.get(member), this.#moving.get(member)?.to].filter((host) => host !== undefined),
      );
      assert.equal(new Set(places).size, places.length, `two members of ${name} on one host: ${when}`);
    }
  }
}

function moveOf(message: string): Move {
  const [, from, to] = / migrates from (\S+) to ([^\s,]+)/.exec(message) ?? [];
  return from === undefined || to === undefined ? assert.fail(`no move: ${message}`) : { from, to };
}
