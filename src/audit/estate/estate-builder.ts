/** Collects an estate. Names are kept as the exports write them; all collections are ordered by key, not by file. */
import type { Cluster, Estate, Evidence, Gap, GuestLun, Host, Network, Platform, Rule, Storage, Vm } from './estate.ts';

/** A gap whose remaining fields have defaults. */
export type GapInput = Pick<Gap, 'platform' | 'aspect' | 'kind' | 'file' | 'fix' | 'group'> &
  Partial<Pick<Gap, 'part' | 'column' | 'count' | 'example' | 'blocks' | 'hosts'>>;

/** Collects objects from readers. A second object with the key of an earlier one is ignored. */
export class EstateBuilder {
  readonly clusters = new Map<string, Cluster>();
  readonly hosts = new Map<string, Host>();
  readonly storages = new Map<string, Storage>();
  readonly networks = new Map<string, Network>();
  readonly vms = new Map<string, Vm>();
  readonly #rules: Rule[] = [];
  readonly #luns: GuestLun[] = [];
  readonly #gaps = new Map<string, Gap>();
  readonly #sources = new Map<string, { platform: Platform; file: string }>();

  cluster(cluster: Cluster): string {
    if (!this.clusters.has(cluster.key)) this.clusters.set(cluster.key, cluster);
    return cluster.key;
  }

  host(host: Host): void {
    const before = this.hosts.get(host.key);
    if (before === undefined) this.hosts.set(host.key, host);
    if (before !== undefined ? before.name !== host.name : host.name === '') this.#nameless(host, 'hosts');
  }

  storage(storage: Storage): void {
    if (!this.storages.has(storage.key)) this.storages.set(storage.key, storage);
  }

  network(network: Network): void {
    if (!this.networks.has(network.key)) this.networks.set(network.key, network);
  }

  vm(vm: Vm): void {
    const before = this.vms.get(vm.key);
    if (before === undefined) this.vms.set(vm.key, vm);
    const isSame = before?.name === vm.name && before.hostSaid === vm.hostSaid;
    if (before !== undefined ? !isSame : vm.name === '') this.#nameless(vm, 'vms');
  }

  /** Reports objects with equal keys, which hide each other: the export lacks their names or IDs. */
  #nameless({ platform, group, evidence: { file, part } }: Host | Vm, aspect: 'hosts' | 'vms'): void {
    const fix = 'Export it again with all fields; of two exports of one estate give only the newer.';
    this.gap({ platform, group, aspect, kind: 'value', file, part, column: 'name or id', count: 1, fix });
  }

  rule(rule: Rule): void {
    this.#rules.push(rule);
  }

  guestLun(lun: GuestLun): void {
    this.#luns.push(lun);
  }

  source(platform: Platform, file: string): void {
    this.#sources.set(`${platform} ${file}`, { platform, file });
  }

  /**
   * Records what an export does not say; the gap blocks unless the reader says otherwise. Gaps in one column are
   * merged.
   */
  gap(gap: GapInput): void {
    const whole: Gap = { part: '', column: '', count: 0, example: '', blocks: true, hosts: null, ...gap };
    const key = [whole.platform, whole.group, whole.aspect, whole.kind, whole.file, whole.part, whole.column].join('|');
    const before = this.#gaps.get(key);
    this.#gaps.set(key, before === undefined ? whole : merged(before, whole));
  }

  /** Returns the estate, each collection in the order of its keys. */
  estate(): Estate {
    return {
      clusters: inOrder(this.clusters),
      hosts: inOrder(this.hosts),
      storages: inOrder(this.storages),
      networks: inOrder(this.networks),
      vms: inOrder(this.vms),
      rules: this.#rules.toSorted((a, b) => compare(a.key, b.key)),
      guestLuns: this.#luns.toSorted((a, b) => compare(a.name, b.name)),
      gaps: [...this.#gaps].toSorted(([a], [b]) => compare(a, b)).map(([, gap]) => gap),
      sources: [...this.#sources].toSorted(([a], [b]) => compare(a, b)).map(([, source]) => source),
    };
  }
}

/** Compares by UTF-16 code units: the same order on every machine, whatever its locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Builds evidence; empty parts may be omitted. */
export function evidence(file: string, part: string, row: string, column: string, value: unknown): Evidence {
  return { file, part, row, column, value: shortened(value) };
}

function merged(before: Gap, gap: Gap): Gap {
  return {
    ...before,
    count: before.count === 0 || gap.count === 0 ? 0 : before.count + gap.count,
    blocks: before.blocks || gap.blocks,
    hosts: before.hosts === null || gap.hosts === null ? null : new Set([...before.hosts, ...gap.hosts]),
  };
}

const VALUE_MAX = 300;

function shortened(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? '' : (JSON.stringify(value) ?? '');
  return text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text;
}

function inOrder<T>(map: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
  return new Map([...map].toSorted(([a], [b]) => compare(a, b)));
}
