/** Lookups over an estate that several findings share, each computed once. */
import type { Estate, Gap, Host, Rule, Vm } from '../estate/estate.ts';

/** Lookups over an estate; they leave out templates. */
export class EstateIndex {
  readonly estate: Estate;
  readonly hostsOf: ReadonlyMap<string, readonly Host[]>;
  readonly vmsOn: ReadonlyMap<string, readonly Vm[]>;
  readonly rulesOf: ReadonlyMap<string, readonly Rule[]>;
  readonly hostsPerGroup: ReadonlyMap<string, number>;
  readonly vmsPerNetwork: ReadonlyMap<string, ReadonlySet<string>>;

  constructor(estate: Estate) {
    this.estate = estate;
    const hosts = [...estate.hosts.values()];
    const vms = [...estate.vms.values()].filter(({ isTemplate }) => !isTemplate);
    this.hostsOf = grouped(hosts, ({ cluster }) => cluster);
    this.vmsOn = grouped(vms, ({ host }) => host);
    this.hostsPerGroup = new Map([...grouped(hosts, ({ group }) => group)].map(([group, all]) => [group, all.length]));
    const rules = new Map<string, Rule[]>();
    for (const rule of estate.rules)
      for (const vm of rule.vms) {
        const own = rules.get(vm) ?? [];
        rules.set(vm, own);
        own.push(rule);
      }
    this.rulesOf = rules;
    const networks = new Map<string, Set<string>>();
    for (const vm of vms)
      for (const { network } of vm.nics) {
        if (network === null) continue;
        const there = networks.get(network) ?? new Set();
        networks.set(network, there.add(vm.key));
      }
    this.vmsPerNetwork = networks;
  }

  readonly #inService = new Map<string, readonly Host[]>();
  readonly #others = new Map<string, readonly Host[]>();
  readonly #covering = new WeakMap<ReadonlySet<string>, Map<string, boolean>>();
  readonly #words = new Map<string, string | null>();

  /** Returns the hosts of a cluster that accept VMs, or may accept them: unknown states count as in service. */
  inService(cluster: string): readonly Host[] {
    return known(this.#inService, cluster, () =>
      (this.hostsOf.get(cluster) ?? []).filter(({ state }) => state !== 'out of service'),
    );
  }

  /** Returns the other in-service hosts of a host's cluster. */
  othersOf({ key: host, cluster }: Host): readonly Host[] {
    if (cluster === null) return [];
    return known(this.#others, host, () => this.inService(cluster).filter(({ key }) => key !== host));
  }

  /** Returns true if `hosts` includes every in-service host of the cluster. */
  hasWholeCluster(cluster: string, hosts: ReadonlySet<string>): boolean {
    let byCluster = this.#covering.get(hosts);
    if (byCluster === undefined) {
      byCluster = new Map();
      this.#covering.set(hosts, byCluster);
    }
    return known(byCluster, cluster, () => this.inService(cluster).every(({ key }) => hosts.has(key)));
  }

  /** Returns the common processor of a cluster's in-service hosts, or null if they are not known to have the same. */
  commonCpu(cluster: string, field: 'cpu' | 'cpuModel'): string | null {
    return known(this.#words, `${field} ${cluster}`, () => {
      const hosts = this.inService(cluster);
      const word = hosts[0]?.[field] ?? null;
      return hosts.every((host) => host[field] === word && host.state === 'in service') ? word : null;
    });
  }

  /** Returns the VMs that must leave the host before it is taken out of service. */
  toMove(host: string): readonly Vm[] {
    return (this.vmsOn.get(host) ?? []).filter(({ power }) => power === 'running' || power === 'unknown');
  }

  /** Returns the gaps because of which the host cannot be called drainable. */
  gapsFor(host: Host): readonly Gap[] {
    return this.estate.gaps.filter(
      ({ blocks, group, hosts }) => blocks && group === host.group && (hosts === null || hosts.has(host.key)),
    );
  }
}

function known<T>(cache: Map<string, T>, key: string, make: () => T): T {
  const before = cache.get(key);
  if (before !== undefined) return before;
  const made = make();
  cache.set(key, made);
  return made;
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string | null): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    if (key === null) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
