/**
 * Who is where during a search: after any moves, and after taking them back, the answers equal a count from scratch.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { atOnce } from './in-turns.ts';
import { Layout } from './layout.ts';
import { type Model, modelOf } from './model.ts';
import { placeAll } from './search.ts';
import { randomOf, seededEstate } from './testing/seeded-estate.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf } from './testing/small-estate.ts';

const seeds = fc.integer({ min: 1, max: 2 ** 31 });

function seededModel(seed: number): Model {
  return modelOf(seededEstate({ seed, hosts: 8, vms: 60, fill: 0.7, hostsPerRack: 2, guestClusters: 4, ruled: 0.3 }));
}

/** All leads of a model: one VM represents those that move together. */
function leadsOf(layout: Layout): number[] {
  return [...new Set([...layout.model.vms.keys()].map((vm) => layout.lead(vm)))];
}

/** All answers of a layout, counted from the places of its VMs. */
function counted(layout: Layout): { readonly free: number[]; readonly cpu: number[]; readonly residents: number[][] } {
  const { model } = layout;
  const free = [...model.freeMib];
  const cpu = [...model.freeCpu];
  const residents = model.hosts.map((): number[] => []);
  for (const vm of model.vms.keys()) {
    const [before, now] = [model.atOf[vm] ?? -1, layout.at[vm] ?? -1];
    if (before >= 0) {
      free[before] = (free[before] ?? 0) + (model.mibOf[vm] ?? 0);
      cpu[before] = (cpu[before] ?? 0) + (model.cpuOf[vm] ?? 0);
    }
    if (now >= 0) {
      free[now] = (free[now] ?? 0) - (model.mibOf[vm] ?? 0);
      cpu[now] = (cpu[now] ?? 0) - (model.cpuOf[vm] ?? 0);
    }
    if (now >= 0 && layout.lead(vm) === vm) residents[now]?.push(vm);
  }
  return { free, cpu, residents };
}

function said(layout: Layout): ReturnType<typeof counted> {
  const residents = [...layout.model.hosts.keys()].map((host) => [...layout.residents(host)].toSorted((a, b) => a - b));
  return { free: [...layout.free], cpu: [...layout.cpu], residents };
}

/** The host that a search without shelves finds: the open one that is left with the least free memory. */
function tightestByHand(layout: Layout, lead: number): number {
  let best = -1;
  for (const host of layout.model.hosts.keys()) {
    if (!layout.holds(lead, host)) continue;
    if (layout.hasWishes(lead) && !layout.pleases(lead, host)) continue;
    if (best < 0 || (layout.free[host] ?? 0) < (layout.free[best] ?? 0)) best = host;
  }
  return best;
}

test('after any moves free memory, processors and residents are those of counting, and undo takes back all of them', () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const layout = new Layout(seededModel(seed));
      const random = randomOf(seed);
      const leads = leadsOf(layout);
      const marks: { readonly mark: number; readonly state: ReturnType<typeof counted> }[] = [];
      for (let step = 0; step < 60; step++) {
        const lead = leads[Math.floor(random() * leads.length)] ?? 0;
        if (random() < 0.15) marks.push({ mark: layout.mark(), state: said(layout) });
        if (random() < 0.3) layout.take(lead);
        else layout.put(lead, Math.floor(random() * layout.model.hosts.length));
        assert.deepEqual(said(layout), counted(layout));
      }
      for (const { mark, state } of marks.toReversed()) {
        layout.undo(mark);
        assert.deepEqual(said(layout), state);
      }
      layout.undo(0);
      assert.deepEqual([...layout.at], [...layout.base]);
    }),
    { numRuns: 40 },
  );
});

test('the tightest fit is the one that looking at every host finds', () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const layout = new Layout(seededModel(seed));
      for (const lead of leadsOf(layout)) {
        const home = layout.at[lead] ?? -1;
        layout.take(lead);
        const found = layout.bestFit(lead, -1);
        const byHand = tightestByHand(layout, lead);
        // A host that pleases no wish is better than none.
        if (byHand >= 0) assert.equal(layout.free[found], layout.free[byHand]);
        else assert.ok(found < 0 || layout.holds(lead, found));
        layout.put(lead, home);
      }
    }),
    { numRuns: 40 },
  );
});

test('whatever a search places holds by every hard constraint, and what it does not place stays in hand', () => {
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, inSequence) => {
      const layout = new Layout(seededModel(seed));
      const leads = [...layout.residents(0)];
      layout.close(0);
      const options = { isMovable: () => true, budget: { steps: 500 }, inSequence };
      const unplaced = atOnce(placeAll(layout, leads, options));
      for (const lead of leads) {
        const at = layout.at[lead] ?? -1;
        if (unplaced.includes(lead)) continue;
        assert.ok(at > 0, `${lead} is on ${at}`);
        layout.take(lead);
        assert.ok(layout.holds(lead, at));
        layout.put(lead, at);
      }
      for (const host of layout.model.hosts.keys()) if (layout.isOpen(host)) assert.ok((layout.free[host] ?? 0) >= 0);
      assert.deepEqual(said(layout), counted(layout));
    }),
    { numRuns: 40 },
  );
});

test('a host that is closed takes nothing; one that is reopened first of all', () => {
  const layout = new Layout(
    modelOf(estateOf({ hosts: [aHost('a'), aHost('b')], vms: [aVm('v', 'a'), aVm('w', 'b')] })),
  );
  layout.take(0);
  assert.equal(layout.bestFit(0, -1), 1, 'the tightest');
  layout.close(1);
  assert.deepEqual([layout.bestFit(0, -1), layout.tierOf(1), layout.choices(0)], [0, null, 1]);
  layout.reopen(1, { tier: 0, kind: layout.kind[1] ?? 0 });
  layout.put(1, -1);
  assert.equal(layout.bestFit(0, -1), 1, 'a host whose maintenance is over comes before one that is to be done');
});

describe('groups', () => {
  const HOSTS = [aHost('a', { rack: 'r1' }), aHost('b', { rack: 'r1' }), aHost('c', { rack: 'r2' })];
  const fits = (layout: Layout, vm: number): number[] =>
    [...layout.model.hosts.keys()].filter((host) => layout.agrees(vm, host));

  test('a guest cluster is apart by host, a rule as it says: by host or by rack, so many in each', () => {
    const vms = [aVm('x', 'a'), aVm('y', 'b'), aVm('z', 'c')];
    const members = ['x', 'y', 'z'];
    const cluster = new Layout(
      modelOf(estateOf({ hosts: HOSTS, vms, guestClusters: [aGuestCluster('sql', members)] })),
    );
    assert.deepEqual(fits(cluster, 0), [0]);
    const two = new Layout(modelOf(estateOf({ hosts: HOSTS, vms, rules: [aRule('two', members, { most: 2 })] })));
    assert.deepEqual(fits(two, 0), [0, 1, 2]);
    const racks = new Layout(modelOf(estateOf({ hosts: HOSTS, vms, rules: [aRule('r', ['x', 'z'], { by: 'rack' })] })));
    assert.deepEqual(fits(racks, 0), [0, 1]);
  });

  test('a member that is moving counts on both of its hosts', () => {
    const vms = [aVm('x', 'a'), aVm('y', 'b', { movingTo: 'c' as never })];
    const layout = new Layout(
      modelOf(estateOf({ hosts: HOSTS, vms, guestClusters: [aGuestCluster('sql', ['x', 'y'])] })),
    );
    assert.deepEqual(fits(layout, 0), [0]);
  });

  test('VMs of hard rules "together on a host" that have one in common are one; apart already, they are not', () => {
    const vms = [aVm('x', 'a'), aVm('y', 'a'), aVm('z', 'a'), aVm('w', 'c')];
    const together = (name: string, members: string[]) => aRule(name, members, { kind: 'together' });
    const rules = [together('one', ['x', 'y']), together('two', ['y', 'z']), together('broken', ['z', 'w'])];
    const layout = new Layout(modelOf(estateOf({ hosts: HOSTS, vms, rules })));
    assert.deepEqual([...layout.bundle(0)], [0, 1, 2]);
    assert.equal(layout.lead(2), 0);
    assert.equal(layout.mib[0], 3 * 4_096);
    layout.put(0, 1);
    assert.deepEqual([...layout.at], [1, 1, 1, 2]);
    assert.equal(layout.hasWishes(3), true, 'a hard rule that is broken already is a wish');
  });
});
