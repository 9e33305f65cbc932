/**
 * The rules and guest clusters of an estate by name, and which VMs they name together: the VMs and rules that a change
 * of one VM, or of one rule, may affect. Names of rules are unique, and so are those of guest clusters.
 */
import type { VmId } from '../../base/ids.ts';
import type { EstateGuestCluster, EstateRule } from './estate.ts';

/** See the module's comment. */
export class RuleBook {
  readonly #rules = new Map<string, EstateRule>();
  readonly #clusters = new Map<string, EstateGuestCluster>();
  /** By VM: how many rules and guest clusters name it. */
  readonly #named = new Map<VmId, number>();
  /** By VM: how many rules keep it together with others. */
  readonly #together = new Map<VmId, number>();
  /** For each VM: the rules that reach beyond its host: together, or by rack. */
  readonly #wide = new Map<VmId, Set<EstateRule>>();
  /** Made when first asked for after a change. */
  #inOrder: { readonly rules: readonly EstateRule[]; readonly clusters: readonly EstateGuestCluster[] } | null = null;

  /** `like`: one that this one has the content of, and does not depend on. */
  constructor(like: RuleBook | null = null) {
    if (like === null) return;
    this.#rules = new Map(like.#rules);
    this.#clusters = new Map(like.#clusters);
    this.#named = new Map(like.#named);
    this.#together = new Map(like.#together);
    this.#wide = new Map([...like.#wide].map(([vm, rules]) => [vm, new Set(rules)]));
  }

  get rules(): readonly EstateRule[] {
    return this.#ordered().rules;
  }

  get clusters(): readonly EstateGuestCluster[] {
    return this.#ordered().clusters;
  }

  rule(name: string): EstateRule | null {
    return this.#rules.get(name) ?? null;
  }

  cluster(name: string): EstateGuestCluster | null {
    return this.#clusters.get(name) ?? null;
  }

  /** Adds the rule of a name or replaces it; null: it is gone. */
  setRule(name: string, rule: EstateRule | null): void {
    const before = this.#rules.get(name);
    if (before !== undefined) this.#noteRule(before, -1);
    if (rule === null) this.#rules.delete(name);
    else {
      this.#rules.set(name, rule);
      this.#noteRule(rule, 1);
    }
    this.#inOrder = null;
  }

  /** Adds the guest cluster of a name or replaces it; null: it is gone. */
  setCluster(name: string, cluster: EstateGuestCluster | null): void {
    for (const vm of this.#clusters.get(name)?.members ?? []) count(this.#named, vm, -1);
    if (cluster === null) this.#clusters.delete(name);
    else this.#clusters.set(name, cluster);
    for (const vm of cluster?.members ?? []) count(this.#named, vm, 1);
    this.#inOrder = null;
  }

  /** Returns true if a rule or a guest cluster names the VM. */
  names(id: VmId): boolean {
    return this.#named.has(id);
  }

  /** Returns true if a rule keeps the VM together with others. */
  isTogether(id: VmId): boolean {
    return this.#together.has(id);
  }

  /**
   * The VMs whose places depend on where this one is, beyond its own host: those that a rule keeps together with it, or
   * apart by rack. (A rule that keeps VMs apart by host matters only on the hosts where they are.)
   */
  dependentOn(id: VmId): ReadonlySet<VmId> {
    return new Set([...(this.#wide.get(id) ?? [])].flatMap(({ vms }) => vms));
  }

  #ordered() {
    this.#inOrder ??= { rules: [...this.#rules.values()], clusters: [...this.#clusters.values()] };
    return this.#inOrder;
  }

  #noteRule(rule: EstateRule, by: 1 | -1): void {
    for (const vm of rule.vms) {
      count(this.#named, vm, by);
      if (rule.kind === 'together') count(this.#together, vm, by);
      if (rule.kind === 'apart' && rule.by === 'host') continue;
      const wide = this.#wide.get(vm) ?? new Set();
      if (by === 1) this.#wide.set(vm, wide.add(rule));
      else if (wide.delete(rule) && wide.size === 0) this.#wide.delete(vm);
    }
  }
}

function count(counts: Map<VmId, number>, vm: VmId, by: 1 | -1): void {
  const left = (counts.get(vm) ?? 0) + by;
  if (left > 0) counts.set(vm, left);
  else counts.delete(vm);
}
