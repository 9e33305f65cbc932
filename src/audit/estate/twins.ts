/**
 * Recognises one site that was exported twice, such as a vCenter as RVTools and as vSphere JSON: its hosts would be
 * counted twice. The more complete export stays, and takes over what only the other knows.
 */
import type { Estate, Gap, Host, Network, Reach, Rule, Storage, Tie, Vm } from './estate.ts';
import { compare } from './estate-builder.ts';

/** Returns the estate with every site once. A note per merged export says so. */
export function withoutTwins(estate: Estate): Estate {
  const groups = groupsOf(estate);
  let merged = estate;
  const gone = new Set<string>();
  for (const [index, one] of groups.entries())
    for (const other of groups.slice(index + 1)) {
      if (gone.has(one.group) || gone.has(other.group)) continue;
      const hosts = commonHosts(one.hosts, other.hosts);
      if (!areTwins(one, other, hosts.size)) continue;
      const [kept, dropped] = one.gaps <= other.gaps ? [one, other] : [other, one];
      merged = merge(merged, kept.group, dropped.group, commonHosts(dropped.hosts, kept.hosts));
      gone.add(dropped.group);
    }
  return merged;
}

interface Group {
  readonly group: string;
  readonly platform: string;
  readonly hosts: readonly Host[];
  readonly vms: ReadonlySet<string>;
  /** How many gaps keep hosts of the group from being proved. */
  readonly gaps: number;
}

/** RVTools and vSphere's own JSON describe the same product. */
const familyOf = (platform: string): string => (platform === 'rvtools' ? 'vsphere' : platform);

function groupsOf(estate: Estate): readonly Group[] {
  const byGroup = Map.groupBy(estate.hosts.values(), ({ group }) => group);
  const vms = Map.groupBy(estate.vms.values(), ({ group }) => group);
  return (
    [...byGroup]
      .map(([group, hosts]) => ({
        group,
        platform: familyOf(hosts[0]?.platform ?? ''),
        hosts,
        vms: new Set((vms.get(group) ?? []).map(({ name }) => name)),
        gaps: estate.gaps.filter((gap) => gap.blocks && gap.group === group).length,
      }))
      // vSphere's own JSON before RVTools: it names disks, networks and rules by ID.
      .toSorted((a, b) => compare(b.hosts[0]?.platform ?? '', a.hosts[0]?.platform ?? '') || compare(a.group, b.group))
  );
}

/**
 * Two exports are of one site if most hosts of the smaller one are in both, and, where both have VMs, one VM at least:
 * sites may have hosts of the same short names.
 */
function areTwins(one: Group, other: Group, common: number): boolean {
  if (one.platform !== other.platform || common * 2 <= Math.min(one.hosts.length, other.hosts.length)) return false;
  return one.vms.size === 0 || other.vms.size === 0 || [...one.vms].some((name) => other.vms.has(name));
}

/** Key of a host in the first list -> key of the same host in the second. Names may lack their domain. */
function commonHosts(from: readonly Host[], to: readonly Host[]): ReadonlyMap<string, string> {
  const full = new Map(to.map((host) => [host.name.toLowerCase(), host]));
  const short = new Map([...Map.groupBy(to, ({ name }) => shortName(name))].filter(([, all]) => all.length === 1));
  const pairs = from.flatMap((host) => {
    const name = host.name.toLowerCase();
    const byShort = short.get(shortName(name))?.[0];
    const isShort = byShort !== undefined && (!name.includes('.') || !byShort.name.includes('.'));
    const twin = full.get(name) ?? (isShort ? byShort : undefined);
    return twin === undefined ? [] : [[host.key, twin.key] as const];
  });
  return new Map(pairs);
}

function shortName(name: string): string {
  return (/^[\d.]+$/.test(name) ? name : (name.split('.')[0] ?? name)).toLowerCase();
}

function merge(estate: Estate, kept: string, dropped: string, hosts: ReadonlyMap<string, string>): Estate {
  const keyOfHost = (key: string): string => hosts.get(key) ?? key;
  const twins = twinVms(estate, kept, dropped, keyOfHost);
  const vms = new Map(estate.vms);
  for (const vm of estate.vms.values()) {
    if (vm.group !== dropped) continue;
    vms.delete(vm.key);
    const twin = vms.get(twins.get(vm.key) ?? '');
    if (twin === undefined) vms.set(vm.key, moved(vm, kept, keyOfHost));
    else vms.set(twin.key, enriched(twin, vm, keyOfHost));
  }
  const left = [...estate.hosts.values()].filter(({ key }) => !hosts.has(key));
  return {
    ...estate,
    vms: sorted(vms),
    hosts: new Map(left.map((host) => [host.key, host.group === dropped ? { ...host, group: kept } : host])),
    storages: new Map([...estate.storages].map(([key, one]) => [key, reached(one, keyOfHost)])),
    networks: new Map([...estate.networks].map(([key, one]) => [key, reached(one, keyOfHost)])),
    rules: rulesOf(estate, twins),
    gaps: gapsOf(estate, kept, dropped, hosts),
  };
}

function sorted(vms: ReadonlyMap<string, Vm>): ReadonlyMap<string, Vm> {
  return new Map([...vms].toSorted(([a], [b]) => compare(a, b)));
}

/** VM of the dropped export -> the same VM in the kept one: by UUID, otherwise by name and host. */
function twinVms(
  estate: Estate,
  kept: string,
  dropped: string,
  keyOfHost: (key: string) => string,
): ReadonlyMap<string, string> {
  const all = [...estate.vms.values()];
  const place = (vm: Vm): string => JSON.stringify([vm.name, vm.host === null ? '' : keyOfHost(vm.host)]);
  const only = (field: (vm: Vm) => string): ReadonlyMap<string, Vm> =>
    new Map(
      [
        ...Map.groupBy(
          all.filter(({ group }) => group === kept),
          field,
        ),
      ].flatMap(([key, found]) =>
        key !== '' && found.length === 1 && found[0] !== undefined ? [[key, found[0]] as const] : [],
      ),
    );
  const [byUuid, byPlace] = [only(({ uuid }) => uuid.toLowerCase()), only(place)];
  return new Map(
    all.flatMap((vm) => {
      if (vm.group !== dropped) return [];
      const twin = byUuid.get(vm.uuid.toLowerCase()) ?? byPlace.get(place(vm));
      return twin === undefined ? [] : [[vm.key, twin.key] as const];
    }),
  );
}

/** A VM that only the dropped export has. */
function moved(vm: Vm, group: string, keyOfHost: (key: string) => string): Vm {
  const host = vm.host === null ? null : keyOfHost(vm.host);
  return { ...vm, group, host, ties: vm.ties.map((tie) => retied(tie, keyOfHost)) };
}

/** Adds ties of kinds that the kept export does not know, such as the PCI devices that RVTools leaves out. */
function enriched(vm: Vm, twin: Vm, keyOfHost: (key: string) => string): Vm {
  const known = new Set(vm.ties.map(({ kind }) => kind));
  const further = twin.ties.filter(({ kind }) => !known.has(kind)).map((tie) => retied(tie, keyOfHost));
  return {
    ...vm,
    ties: [...vm.ties, ...further],
    owner: vm.owner || twin.owner,
    notes: vm.notes || twin.notes,
    guest: vm.guest || twin.guest,
  };
}

function retied(tie: Tie, keyOfHost: (key: string) => string): Tie {
  return tie.hosts === undefined ? tie : { ...tie, hosts: new Set([...tie.hosts].map(keyOfHost)) };
}

function reached<T extends Storage | Network>(one: T, keyOfHost: (key: string) => string): T {
  if (one.reach.kind !== 'hosts') return one;
  const reach: Reach = { kind: 'hosts', hosts: new Set([...one.reach.hosts].map(keyOfHost)) };
  return { ...one, reach };
}

/** Rules name VMs of the kept export; a rule that both exports have is one rule. */
function rulesOf(estate: Estate, twins: ReadonlyMap<string, string>): readonly Rule[] {
  const known = new Map<string, Rule>();
  for (const rule of estate.rules) {
    const vms = rule.vms.map((key) => twins.get(key) ?? key);
    const same = JSON.stringify([rule.kind, rule.name, vms.toSorted(compare)]);
    const before = known.get(same);
    if (before === undefined || (rule.isHard && !before.isHard)) known.set(same, { ...rule, vms });
  }
  return [...known.values()];
}

/**
 * Anything missing in the dropped export is no gap, unless that export contradicts itself: a VM on a host that nobody
 * lists.
 */
function gapsOf(estate: Estate, kept: string, dropped: string, hosts: ReadonlyMap<string, string>): readonly Gap[] {
  const files = estate.sources.filter(({ platform }) => platform === platformOf(estate, dropped));
  const gaps = estate.gaps.map((gap) => {
    if (gap.group !== dropped) return gap;
    return { ...gap, group: kept, blocks: gap.blocks && gap.kind === 'join', hosts: null };
  });
  const note: Gap = {
    platform: platformOf(estate, kept),
    group: kept,
    aspect: 'hosts',
    kind: 'twin',
    file: files[0]?.file ?? '',
    part: platformOf(estate, dropped),
    column: '',
    count: hosts.size,
    example: '',
    fix: 'Nothing needs to be done if both are of one day; otherwise give only the newer.',
    blocks: false,
    hosts: null,
  };
  return [...gaps, note];
}

function platformOf(estate: Estate, group: string): Gap['platform'] {
  const host = [...estate.hosts.values()].find((one) => one.group === group);
  return host?.platform ?? 'vsphere';
}
