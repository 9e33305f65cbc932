/** Rules of clusters: VMs apart or together, and groups of VMs that must run on groups of hosts. */

import type { Tie } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { ExportSite } from '../export-site.ts';
import { flagOf } from '../formats/values.ts';
import { type ManagedObject, pick, pickList, pickText, refOf } from './managed-objects.ts';

/** Adds rules to the estate; returns the mandatory VM-host rules as ties, by VM ID. */
export function readRules(
  clusters: readonly ManagedObject[],
  site: ExportSite<never, never>,
): ReadonlyMap<string, readonly Tie[]> {
  const limits = new Map<string, Tie[]>();
  for (const cluster of clusters) {
    const configuration = pick(cluster.fields, 'configurationEx') ?? pick(cluster.fields, 'configuration');
    if (configuration === undefined) {
      site.gap('rules', 'column', cluster.file, cluster.type, 'configurationEx');
      continue;
    }
    const groups = new Map(pickList(configuration, 'group').map((group) => [pickText(group, 'name'), group]));
    for (const rule of pickList(configuration, 'rule'))
      if (flagOf(pick(rule, 'enabled')) !== false) readRule(cluster, rule, groups, site, limits);
  }
  return limits;
}

function readRule(
  cluster: ManagedObject,
  rule: unknown,
  groups: ReadonlyMap<string, unknown>,
  site: ExportSite<never, never>,
  limits: Map<string, Tie[]>,
): void {
  const name = pickText(rule, 'name');
  const type = pickText(rule, '_typeName');
  const place = evidence(cluster.file, 'configurationEx.rule', name, 'type', type);
  const vmGroup = groups.get(pickText(rule, 'vmGroupName'));
  if (vmGroup !== undefined) {
    const affine = groups.get(pickText(rule, 'affineHostGroupName'));
    const anti = groups.get(pickText(rule, 'antiAffineHostGroupName'));
    const all = pickList(cluster.fields, 'host').map((host) => site.key(refOf(host)));
    const named = new Set(pickList(affine ?? anti, 'host').map((host) => site.key(refOf(host))));
    const hosts = affine === undefined ? new Set(all.filter((host) => !named.has(host))) : named;
    const isMandatory = flagOf(pick(rule, 'mandatory')) === true;
    for (const vm of pickList(vmGroup, 'vm')) {
      const tie: Tie = isMandatory
        ? { kind: 'pinned', effect: 'limits', subject: name, hosts, evidence: place }
        : { kind: 'pinned', effect: 'informs', subject: name, evidence: place };
      limits.set(refOf(vm), [...(limits.get(refOf(vm)) ?? []), tie]);
    }
    return;
  }
  const vms = pickList(rule, 'vm').map((vm) => site.key(refOf(vm)));
  if (vms.length < 2) return;
  // PowerCLI omits the type: a rule whose name contains anti, separate or apart is an anti-affinity rule.
  const isApart = /AntiAffinity/i.test(type) || (type === '' && /anti|separat|apart/i.test(name));
  site.into.rule({
    key: site.key(`${cluster.id} ${name}`),
    name,
    kind: isApart ? 'apart' : 'together',
    isHard: isApart,
    vms,
    perHost: 1,
    evidence: place,
  });
}
