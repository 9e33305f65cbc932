/** Per VM every host, with the constraint that excludes it, before anything is moved. Pure. */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Constraint } from './constraint.ts';
import { holdOf } from './held.ts';
import { Layout, placeIn } from './layout.ts';
import type { Model } from './model.ts';

/** Why one host cannot take one VM. */
export interface Exclusion {
  readonly host: HostName;
  readonly constraint: Constraint;
  readonly words: string;
}

/** A VM without a place. */
export interface ExcludedVm {
  readonly vm: VmId;
  readonly name: string;
  /** Why it cannot be moved at all now; null: it could, if a host took it. */
  readonly held: { readonly constraint: Constraint; readonly words: string } | null;
  readonly hosts: readonly Exclusion[];
}

/** The circumstances in which hosts are excluded. */
export interface ExclusionOptions {
  /** Hosts that are being emptied, or that would be lost. */
  readonly emptied: ReadonlySet<HostName>;
  /** The VMs start from their disks; the hosts where they ran do not matter. */
  readonly isRestart: boolean;
}

/** Names for each VM the reason why no host takes it; a piece for each VM. */
export function* exclusionsOf(
  model: Model,
  vms: readonly VmId[],
  options: ExclusionOptions,
): Generator<void, ExcludedVm[]> {
  const layout = new Layout(model);
  const found: ExcludedVm[] = [];
  for (const id of vms) {
    const vm = model.vm(id);
    const reason = new Exclusions(layout, vm, options);
    const { name } = model.vmAt(vm);
    const held = options.isRestart ? null : holdOf(model, vm);
    found.push({ vm: id, name, held, hosts: [...model.hosts.keys()].map((host) => reason.of(host)) });
    yield;
  }
  return found;
}

/** Why hosts cannot take one VM. The layout is as before anything was moved. */
export class Exclusions {
  readonly #layout: Layout;
  readonly #model: Model;
  readonly #vm: number;
  readonly #emptied: ReadonlySet<HostName>;
  readonly #isRestart: boolean;

  constructor(layout: Layout, vm: number, { emptied, isRestart }: ExclusionOptions) {
    this.#layout = layout;
    this.#model = layout.model;
    this.#vm = vm;
    this.#emptied = emptied;
    this.#isRestart = isRestart;
  }

  of(host: number): Exclusion {
    const { constraint, words } = this.#stateOf(host) ?? this.#fitOf(host) ?? this.#ruleOf(host) ?? this.#roomOf(host);
    return { host: this.#model.hostAt(host).name, constraint, words };
  }

  #stateOf(host: number): Omit<Exclusion, 'host'> | null {
    const { name, state } = this.#model.hostAt(host);
    if (this.#emptied.has(name)) return { constraint: { kind: 'emptied', name }, words: 'it is being emptied' };
    if (state === 'in-service') return null;
    const words = {
      cordoned: 'cordoned',
      quarantined: 'quarantined',
      maintenance: 'in maintenance',
      silent: 'its agent does not answer',
    };
    return { constraint: { kind: 'host-state', name }, words: words[state] };
  }

  #fitOf(host: number): Omit<Exclusion, 'host'> | null {
    const { kinds, kindOf, shapeOf, atOf, vms } = this.#model;
    const tie = vms[this.#vm]?.tie ?? null;
    if (tie !== null && !tie.hosts.includes(this.#model.hostAt(host).name))
      return { constraint: { kind: 'tie', name: tie.name }, words: `tie ${tie.name}: ${tie.what}` };
    const from = this.#isRestart ? null : (kindOf[atOf[this.#vm] ?? -1] ?? null);
    return kinds.misfit(shapeOf[this.#vm] ?? -1, { from, to: kindOf[host] ?? -1 });
  }

  #ruleOf(host: number): Omit<Exclusion, 'host'> | null {
    const layout = this.#layout;
    const { groups, vms } = this.#model;
    for (const number of groups.apartOf.get(this.#vm) ?? []) {
      const group = groups.apart[number];
      if (group === undefined || !group.hard || layout.isCounted(this.#vm, host, group)) continue;
      const place = placeIn(this.#model, group, host);
      if (layout.countOf(number, place) < group.most) continue;
      const there = group.vms.filter((vm) => placeIn(this.#model, group, layout.at[vm] ?? -1) === place);
      const names = there.map((vm) => vms[vm]?.name ?? '').join(', ');
      return {
        constraint: group.constraint,
        words: `${group.byRack ? 'its rack' : 'it'} has ${names} of ${wordsOf(group.constraint)}`,
      };
    }
    for (const number of groups.togetherOf.get(this.#vm) ?? []) {
      const group = groups.together[number];
      const other = group?.vms.find((vm) => vm !== this.#vm && (layout.at[vm] ?? -1) >= 0);
      if (group === undefined || other === undefined || !group.hard) continue;
      if (placeIn(this.#model, group, layout.at[other] ?? -1) === placeIn(this.#model, group, host)) continue;
      return {
        constraint: group.constraint,
        words: `${wordsOf(group.constraint)} keeps it with ${vms[other]?.name ?? ''}`,
      };
    }
    return null;
  }

  #roomOf(host: number): Omit<Exclusion, 'host'> {
    const lead = this.#layout.lead(this.#vm);
    const [mib, needed] = [this.#layout.free[host] ?? 0, this.#layout.mib[lead] ?? 0];
    const cpusLeft = (this.#layout.cpu[host] ?? 0) - (this.#layout.vcpus[lead] ?? 0);
    if (cpusLeft < 0)
      return { constraint: { kind: 'vcpus', name: '' }, words: `${-cpusLeft} vCPUs more than its processors bear` };
    const others = mib >= needed ? 'others that must move need it' : 'no VM there can make room';
    return { constraint: { kind: 'memory', name: '' }, words: `${mib} MiB free, ${needed} MiB needed: ${others}` };
  }
}

/** A rule or a guest cluster, for people. */
function wordsOf({ kind, name }: Constraint): string {
  return kind === 'guest-cluster' ? `guest cluster ${name}` : `rule ${name}`;
}
