import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Term } from '../../base/ids.ts';
import { GIVEN_OFTEN, KEPT_LONG_MS } from '../../core/plan/lead/lead-decision.ts';
import { SIGHT_LOOK_MS, Sight, type SightWorld } from './sight.ts';

/** Two control nodes, of which c1 reaches neither the host nor the storage node. */
class World {
  now = 0;
  leader = { term: 1 as Term, control: 'c1' };
  readonly machine = (name: string) => ({ name });
  readonly sight: Sight;

  constructor() {
    const node = (name: string) => ({
      name,
      machine: this.machine(name),
      process: { isRunning: true },
      changes: {},
    });
    const targets = (name: string) => new Map([[name, { machine: this.machine(name) }]]);
    const blind = (a: { name: string }, b: { name: string }): boolean =>
      [a.name, b.name].includes('c1') && !(a.name.startsWith('c') && b.name.startsWith('c'));
    const network = {
      weather: { control: { lossPercent: 0, latePercent: 0 } },
      isOpen: (_on: string, a: { name: string }, b: { name: string }) => !blind(a, b),
    };
    const world = this;
    this.sight = new Sight({
      get now() {
        return world.now;
      },
      get truth() {
        return { leader: world.leader };
      },
      network,
      etcdRepliesLostPercent: 0,
      isMember: () => true,
      controls: new Map(['c1', 'c2'].map((name) => [name, node(name)])),
      hosts: targets('h1'),
      storage: targets('s1'),
    } as unknown as SightWorld);
  }

  /** Returns how long c1 leads from now on until it is accused, in ms; null if it is not within `ms`. */
  accusedAfter(ms: number): number | null {
    const from = this.now;
    for (; this.now <= from + ms; this.now += SIGHT_LOOK_MS) if (this.sight.look() !== null) return this.now - from;
    return null;
  }
}

test('a leader that others see more than is accused after its time, whatever its term', () => {
  const world = new World();
  const first = world.accusedAfter(60_000);
  assert.ok(first !== null && first > 20_000 && first < 30_000, `${first} ms`);
});

test('a leader that gave the lead away often has more time, and not for ever', () => {
  const world = new World();
  for (let term = 1; term <= GIVEN_OFTEN + 1; term++) {
    world.leader = { term: term as Term, control: 'c1' };
    assert.equal(world.accusedAfter(5_000), null);
  }
  const late = world.accusedAfter(2 * KEPT_LONG_MS);
  assert.ok(late !== null && late > KEPT_LONG_MS && late < KEPT_LONG_MS + 30_000, `${late} ms`);
});
