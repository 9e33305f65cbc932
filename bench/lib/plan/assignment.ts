/**
 * States as a mixed-integer program for HiGHS which VM could be on which host while some hosts are empty: written anew
 * from docs/specs/maintenance-plan.md, with no code of the planner. The program does not consider the order of moves:
 * an assignment may exist that no sequence of moves reaches.
 */
import highsLoader from 'highs';
import type { HostName } from '../../../src/base/ids.ts';
import type { Estate, EstateHost, EstateRule, EstateVm } from '../../../src/core/maintenance/estate.ts';

/** What HiGHS says. `unknown`: not settled within the time limit. */
export type Assignment =
  | { readonly kind: 'possible'; readonly movedMib: number; readonly isOptimal: boolean }
  | { readonly kind: 'impossible' }
  | { readonly kind: 'unknown' };

/** Searches the assignment that moves the least memory. `seconds`: the time limit. */
export type Solver = (estate: Estate, hosts: readonly HostName[], seconds: number) => Assignment;

/**
 * The package's types are those of a CommonJS module; the loaded module is its ES module, whose default export is the
 * loader.
 */
const load = highsLoader as unknown as typeof highsLoader.default;

/** Loads HiGHS. A solver blocks the thread. */
export async function loadSolver(): Promise<Solver> {
  const highs = await load();
  return (estate, hosts, seconds) => {
    const program = new Program(estate, new Set(hosts));
    if (program.isImpossible) return { kind: 'impossible' };
    const solution = highs.solve(program.text(), { time_limit: seconds, random_seed: 1, mip_rel_gap: 0.001 });
    if (solution.Status === 'Infeasible') return { kind: 'impossible' };
    const isOptimal = solution.Status === 'Optimal';
    if (!isOptimal && !Number.isFinite(solution.ObjectiveValue)) return { kind: 'unknown' };
    const columns: readonly object[] = Object.values(solution.Columns);
    const isSomewhere = columns.some((column) => 'Primal' in column && Number(column.Primal) > 0.5);
    if (!isSomewhere) return { kind: 'unknown' };
    return { kind: 'possible', movedMib: Math.round(solution.ObjectiveValue), isOptimal };
  };
}

class Program {
  readonly #estate: Estate;
  readonly #open: readonly EstateHost[];
  /** The hosts that each VM may be on, by number. */
  readonly #may: ReadonlyMap<EstateVm, readonly number[]>;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #rows: string[] = [];

  constructor(estate: Estate, emptied: ReadonlySet<HostName>) {
    this.#estate = estate;
    this.#open = estate.hosts.filter(({ name, state }) => state === 'in-service' && !emptied.has(name));
    this.#numbers = new Map(estate.vms.map(({ id }, number) => [id, number]));
    this.#may = new Map(
      estate.vms.map((vm) => {
        const from = estate.hosts.find(({ name }) => name === vm.host);
        const may = [...this.#open.keys()].filter((number) => {
          const host = this.#open[number];
          return host !== undefined && (host.name === vm.host || canGo(vm, from, host));
        });
        return [vm, may];
      }),
    );
  }

  /** True when some VM may be on no host. */
  get isImpossible(): boolean {
    return [...this.#may.values()].some((hosts) => hosts.length === 0);
  }

  text(): string {
    this.#hosts();
    for (const [vm, may] of this.#may) this.#rows.push(`${may.map((host) => this.#column(vm, host)).join(' + ')} = 1`);
    for (const rule of this.#estate.rules) this.#rule(rule);
    for (const { name, members, sharesHosts } of this.#estate.guestClusters)
      if (!sharesHosts) this.#rule({ name, kind: 'apart', by: 'host', hard: true, vms: members, most: 1 });
    const moved = [...this.#may].flatMap(([vm, may]) =>
      may
        .filter((host) => this.#open[host]?.name !== vm.host)
        .map((host) => `${vm.memoryMib} ${this.#column(vm, host)}`),
    );
    const columns = [...this.#may].flatMap(([vm, may]) => may.map((host) => this.#column(vm, host)));
    const rows = this.#rows.map((row, number) => ` r${number}: ${row}`);
    return [
      'Minimize',
      ` obj: ${moved.join(' + ')}`,
      'Subject To',
      ...rows,
      'Binary',
      ` ${columns.join(' ')}`,
      'End',
    ].join('\n');
  }

  #column(vm: EstateVm, host: number): string {
    return `x${this.#numbers.get(vm.id)}_${host}`;
  }

  /** The VMs of a list on the hosts that `isThere` selects, each with a factor. */
  #sum(vms: Iterable<EstateVm>, isThere: (host: number) => boolean, factor: (vm: EstateVm) => number): string[] {
    return [...vms].flatMap((vm) =>
      (this.#may.get(vm) ?? []).filter(isThere).map((host) => `${factor(vm)} ${this.#column(vm, host)}`),
    );
  }

  #hosts(): void {
    const { policy, vms } = this.#estate;
    for (const [number, host] of this.#open.entries()) {
      const there = (one: number): boolean => one === number;
      const memory = this.#sum(vms, there, ({ memoryMib }) => memoryMib);
      if (memory.length > 0) this.#rows.push(`${memory.join(' + ')} <= ${host.memoryMib - host.claimedMib}`);
      const cpus = this.#sum(vms, there, ({ vcpus }) => vcpus);
      if (cpus.length > 0 && host.vcpus > 0)
        this.#rows.push(`${cpus.join(' + ')} <= ${Math.floor(host.vcpus * policy.vcpuOvercommit)}`);
    }
  }

  #rule({ kind, by, hard, vms, most }: EstateRule): void {
    const named = this.#estate.vms.filter(({ id }) => vms.includes(id));
    if (!hard || named.length < 2) return;
    const placeOf = ({ name, rack }: EstateHost): string => (by === 'rack' && rack !== null ? `rack ${rack}` : name);
    const home = new Set(
      named.flatMap((vm) => this.#estate.hosts.filter(({ name }) => name === vm.host).map((host) => placeOf(host))),
    );
    for (const place of new Set(this.#open.map((host) => placeOf(host)))) {
      const isThere = (number: number): boolean => {
        const host = this.#open[number];
        return host !== undefined && placeOf(host) === place;
      };
      const sums = named.map((vm) => this.#sum([vm], isThere, () => 1));
      if (kind === 'apart') {
        const all = sums.flat();
        if (all.length > most) this.#rows.push(`${all.join(' + ')} <= ${most}`);
      } else if (home.size === 1) {
        for (const [number, sum] of sums.entries()) {
          const first = sums[0] ?? [];
          if (number > 0 && sum.length + first.length > 0)
            this.#rows.push(`${[...sum, ...first.map((term) => `- ${term}`)].join(' + ').replaceAll('+ -', '-')} = 0`);
        }
      }
    }
  }
}

function canGo(vm: EstateVm, from: EstateHost | undefined, to: EstateHost): boolean {
  return (
    (vm.tie === null || vm.tie.hosts.includes(to.name)) &&
    (vm.cpuModel === 'baseline' || to.cpuModels.includes(vm.cpuModel)) &&
    vm.networks.every((network) => !to.withoutNetworks.includes(network)) &&
    vm.storage.every((node) => !to.withoutStorage.includes(node)) &&
    from !== undefined &&
    from.accelerator === to.accelerator &&
    from.release <= to.release
  );
}
