import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EstateChange } from './estate-change.ts';
import { type Model, modelOf } from './model.ts';
import { type Relaxation, relax } from './relax.ts';
import { LiveEstate } from './testing/live-estate.ts';
import { seededEstate } from './testing/seeded-estate.ts';

function apply(model: Model, change: EstateChange): void {
  if (change.kind === 'vm') model.setVm(change.vm);
  else if (change.kind === 'vm-gone') model.removeVm(change.vm);
  else if (change.kind === 'host') model.setHost(change.host);
}

/** The content of a model, by names: its numbers depend on the order of changes. */
function facts(model: Model): unknown {
  const names = (vms: Iterable<number>): string[] => [...vms].map((vm) => model.vmAt(vm).id).toSorted();
  const { apart, together, bundles, clusterOf } = model.groups;
  return {
    hosts: model.hosts.map(({ name }, host) => ({
      name,
      freeMib: model.freeMib[host],
      freeCpu: model.freeCpu[host],
      residents: names(model.residents[host] ?? []),
      arriving: names(model.arriving[host] ?? []),
    })),
    vms: names(model.vms.flatMap((vm, index) => (vm === null ? [] : [index]))),
    apart: apart.map(({ constraint, vms, most }) => ({ constraint, vms: names(vms), most })),
    together: together.map(({ constraint, vms, hard }) => ({ constraint, vms: names(vms), hard })),
    bundles: [...bundles.values()].map((vms) => names(vms).join()).toSorted(),
    clusters: names(clusterOf.keys()),
  };
}

test('after any sequence of changes a model says what one made from the last snapshot says', () => {
  for (const seed of [1, 2, 3, 4]) {
    const estate = seededEstate({ seed, hosts: 8, vms: 60, fill: 0.7, hostsPerRack: 3, guestClusters: 4, ruled: 0.5 });
    const live = new LiveEstate(estate, seed);
    const model = modelOf(estate);
    for (let change = 1; change <= 200; change += 1) {
      apply(model, live.next());
      if (change % 10 === 0) assert.deepEqual(facts(model), facts(modelOf(live.estate)));
    }
    for (const change of live.loseRack('r1')) apply(model, change);
    assert.deepEqual(facts(model), facts(modelOf(live.estate)));
  }
});

test('a copy stays as it is while the model changes, and a relaxation that is taken back leaves nothing', () => {
  const estate = seededEstate({ seed: 3, hosts: 8, vms: 60, fill: 0.7, hostsPerRack: 3, guestClusters: 4, ruled: 0.5 });
  const live = new LiveEstate(estate, 3);
  const model = modelOf(estate);
  const before = facts(model);
  const copy = model.copy();
  for (let change = 1; change <= 50; change += 1) apply(model, live.next());
  assert.notDeepEqual(facts(model), before);
  assert.deepEqual(facts(copy), before);
  const [rule] = copy.rules;
  const [cluster] = copy.clusters;
  const [vm] = estate.vms;
  const [host] = estate.hosts;
  assert(rule !== undefined && cluster !== undefined && vm !== undefined && host !== undefined);
  const relaxations: readonly Relaxation[] = [
    { kind: 'stopped', vms: [vm.id] },
    { kind: 'memory', host: host.name, mib: 1_024 },
    {
      kind: 'without',
      constraints: [
        { kind: 'memory', name: '' },
        { kind: 'vcpus', name: '' },
        { kind: 'rule', name: rule.name },
        { kind: 'guest-cluster', name: cluster.name },
      ],
    },
  ];
  for (const relaxation of relaxations) {
    const takeBack = copy.trying(() => relax(copy, relaxation));
    assert.notDeepEqual(facts(copy), before, relaxation.kind);
    takeBack();
    assert.deepEqual(facts(copy), before, relaxation.kind);
  }
});
