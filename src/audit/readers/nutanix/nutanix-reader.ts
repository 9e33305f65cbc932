/** Nutanix AHV: JSON of Prism in the versions 2, 3 and 4 of its API. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, Nic, Tie, Unknown } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite } from '../export-site.ts';
import { numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import type {
  At,
  PrismCluster,
  PrismHost,
  PrismObject,
  PrismPolicy,
  PrismTie,
  PrismVm,
  PrismVolumeGroup,
} from './prism.ts';
import { v2Object } from './v2.ts';
import { v3Object } from './v3.ts';
import { v4Object } from './v4.ts';

const PLATFORM = 'nutanix';
const FIX =
  'Export VMs, hosts, clusters and volume groups of Prism (docs/operating/audit.md); lists in full, without a filter.';

/** How to learn which hosts have a category. */
const CATEGORIES_FIX = 'Export the categories of Prism Central with their associations (docs/operating/audit.md).';

/** The reader of Nutanix. */
export const nutanixReader: Reader = {
  platform: PLATFORM,
  claims: (document) => document.kind === 'data' && document.values.some(isPrism),
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    new PrismReader(new ExportSite(PLATFORM, FIX, into), documents).read();
  },
};

/** Returns true for a list of Prism, also one of objects that no finding needs, such as subnets. */
function isPrism(value: unknown): boolean {
  const entity = objectsAt(value, 'entities')[0];
  if (entity !== undefined)
    return (
      kindOfV3(value, entity) !== '' || (valueAt(value, 'metadata') !== undefined && v2Object('', entity) !== null)
    );
  const item = objectsAt(value, 'data')[0];
  const isTyped = /^(?:vmm|clustermgmt|volumes|networking|prism)\./.test(textAtPath(item, '$objectType'));
  return item !== undefined && (isTyped || 'extId' in item);
}

function kindOfV3(list: unknown, entity: unknown): string {
  return textAtPath(entity, 'metadata', 'kind') || textAtPath(list, 'metadata', 'kind');
}

function objectsOf(file: string, list: unknown): readonly PrismObject[] {
  const entities = objectsAt(list, 'entities').map((entity) => {
    const kind = kindOfV3(list, entity);
    return kind === '' ? v2Object(file, entity) : v3Object(file, entity, kind);
  });
  const items = objectsAt(list, 'data').map((item) => v4Object(file, item));
  return [...entities, ...items].filter((one) => one !== null);
}

interface Known {
  readonly file: string;
  readonly is: PrismVolumeGroup;
}

class PrismReader {
  readonly #site: ExportSite<PrismObject['kind'], PrismObject>;
  readonly #groups = new Map<string, Known>();
  /** VM -> groups that name it as attached. */
  readonly #attached = new Map<string, string[]>();
  readonly #clusterNames = new Map<string, string>();

  constructor(site: ExportSite<PrismObject['kind'], PrismObject>, documents: readonly Document[]) {
    this.#site = site;
    for (const document of documents) {
      if (document.kind !== 'data') continue;
      for (const list of document.values) {
        const objects = objectsOf(document.file, list);
        for (const [kind, all] of Map.groupBy(objects, ({ kind: one }) => one)) site.add(kind, all);
        this.#checkPages(document.file, list, objects.length);
      }
    }
  }

  /** Reports a list of which the export has only one page. */
  #checkPages(file: string, list: unknown, count: number): void {
    const counts = ['total_matches', 'totalAvailableResults', 'grand_total_entities'] as const;
    const total = counts.map((name) => numberOf(valueAt(list, 'metadata', name))).find((one) => one !== null) ?? null;
    if (count > 0 && total !== null && total > count)
      this.#site.gap('vms', 'column', file, 'the list', `what follows the first ${count} of ${total}`);
  }

  read(): void {
    const needed = [
      ['vm', 'vms', 'the list of VMs'],
      ['host', 'hosts', 'the list of hosts'],
    ] as const;
    this.#site.need(needed, 'some');
    for (const { is } of this.#only('cluster')) this.#clusterNames.set(is.id, is.name);
    for (const { is, file } of this.#only('volume group')) {
      this.#groups.set(is.id, { is, file });
      for (const vm of is.vms) {
        const groups = this.#attached.get(vm) ?? [];
        this.#attached.set(vm, groups);
        groups.push(is.id);
      }
    }
    for (const { is, file } of this.#only('host')) this.#host(is, file);
    for (const { is, file } of this.#only('vm')) this.#vm(is, file);
    for (const { is, file } of this.#only('policy')) this.#policy(is, file);
  }

  #only<K extends PrismObject['kind']>(kind: K): readonly Extract<PrismObject, { kind: K }>[] {
    return this.#site.of(kind) as readonly Extract<PrismObject, { kind: K }>[];
  }

  #cluster({ id, name }: PrismCluster): string | null {
    if (id === '') return null;
    const known = this.#clusterNames.get(id) ?? (name || id);
    return this.#site.into.cluster({ ...this.#site.origin, key: this.#site.key('cluster', id), name: known });
  }

  #host(host: PrismHost, file: string): void {
    for (const [aspect, column] of host.lacks) this.#site.gap(aspect, 'column', file, 'host', column);
    this.#site.into.host(
      plainHost({
        ...this.#site.origin,
        key: this.#hostKey(host.id),
        name: host.name,
        cluster: this.#cluster(host.cluster),
        memoryMib: host.memoryMib,
        state: host.state,
        // AHV gives guests the features of the cluster's oldest processor.
        cpu: '',
        cpuModel: host.cpuModel || null,
        saysRunning: host.running,
        evidence: evidence(file, 'host', host.name, host.said[0], host.said[1]),
      }),
    );
  }

  #vm(vm: PrismVm, file: string): void {
    const at: At = (column, value) => evidence(file, 'VM', vm.name, column, value);
    const runs = vm.power === 'running' || vm.power === 'unknown';
    const host = this.#site.into.hosts.has(this.#hostKey(vm.host)) ? this.#hostKey(vm.host) : null;
    if (runs && host === null) this.#site.gap('vms', vm.host === '' ? 'column' : 'join', file, 'VM', 'host', vm.host);
    const named = new Set(vm.disks.map(({ group }) => group));
    const further = (this.#attached.get(vm.id) ?? []).filter((group) => !named.has(group));
    this.#site.into.vm(
      plainVm({
        ...this.#site.origin,
        key: this.#site.key('vm', vm.id),
        uuid: vm.id,
        name: vm.name,
        host,
        hostSaid: vm.hostName,
        power: vm.power,
        memoryMib: vm.memoryMib,
        cpus: vm.cpus,
        disks: [
          ...vm.disks.map((disk) => this.#disk(disk.group, disk.label, disk.bytes, at(disk.column, disk.group))),
          ...further.map((group) => this.#disk(group, group, null, this.#attachment(group, vm.name))),
        ],
        nics: vm.nics.map(({ subnet, name }) => this.#nic(subnet, name, at)),
        ties: vm.ties.map((tie) => this.#tie(tie, at)),
        unknowns: runs ? vm.lacks.map(([aspect, column]) => ({ aspect, evidence: at(column, ''), fix: FIX })) : [],
        notes: vm.notes,
        evidence: at('name', vm.name),
      }),
    );
  }

  /**
   * Applies a policy to the VMs of its categories. Which hosts have a category is told only by the list of categories
   * with their associations: without it, nobody can say where the VMs of a policy may run.
   */
  #policy({ id, name, kind, vmCategories, hostCategories }: PrismPolicy, file: string): void {
    const wanted = new Set(vmCategories);
    const vms = this.#only('vm')
      .filter(({ is }) => (is.categories ?? []).some((category) => wanted.has(category)))
      .map(({ is }) => this.#site.key('vm', is.id));
    const said = evidence(file, 'policy', name, kind === 'apart' ? 'categories' : 'hostCategories', hostCategories);
    if (kind === 'apart') {
      // AHV spreads the VMs as well as it can, and migrates them onto one host rather than not at all.
      const rule = { key: this.#site.key('policy', id), name, kind, isHard: false, vms, perHost: 1, evidence: said };
      if (vms.length > 1) this.#site.into.rule(rule);
      return;
    }
    const categories = this.#only('category').filter(({ is }) => hostCategories.includes(is.id));
    const isKnown = new Set(categories.map(({ is }) => is.id)).size === new Set(hostCategories).size;
    const hosts = new Set(categories.flatMap(({ is }) => is.hosts.map((host) => this.#hostKey(host))));
    for (const key of vms) {
      const vm = this.#site.into.vms.get(key);
      if (vm === undefined) continue;
      const tie: Tie = { kind: 'pinned', effect: 'limits', subject: name, hosts, evidence: said };
      const unknown: Unknown = { aspect: 'rules', evidence: said, fix: CATEGORIES_FIX };
      const told = isKnown ? { ties: [...vm.ties, tie] } : { unknowns: [...vm.unknowns, unknown] };
      this.#site.into.vms.set(key, { ...vm, ...told });
    }
  }

  #attachment(group: string, vm: string): Evidence {
    const known = this.#groups.get(group);
    return evidence(known?.file ?? '', 'volume group', known?.is.name ?? group, 'attachment_list', vm);
  }

  #tie({ kind, effect, subject, column, value, hosts }: PrismTie, at: At): Tie {
    const tie = { kind, effect, subject, evidence: at(column, value) };
    return hosts === undefined ? tie : { ...tie, hosts: new Set(hosts.map((host) => this.#hostKey(host))) };
  }

  #disk(group: string, label: string, bytes: number | null, place: Evidence): Disk {
    const known = this.#groups.get(group);
    const name = known?.is.name || group;
    const said = known?.is.said ?? ['', ''];
    const permit: Disk['permit'] =
      known?.is.isShared === true
        ? { kind: 'shared volume group', evidence: evidence(known.file, 'volume group', name, said[0], said[1]) }
        : null;
    return plainDisk({
      label,
      identities: group === '' ? [] : [{ key: this.#site.key('volume group', group), kind: 'volume group', name }],
      permit,
      sizeGib: bytes === null ? null : bytes / 2 ** 30,
      evidence: place,
    });
  }

  #nic(id: string, name: string, at: At): Nic {
    const place = at('subnet', name || id);
    if (id === '') return { network: null, address: '', evidence: place };
    // A subnet is a network of the whole cluster.
    const key = this.#site.key('subnet', id);
    this.#site.into.network({ key, name: name || id, reach: { kind: 'every' }, isIsolated: false, evidence: place });
    return { network: key, address: '', evidence: place };
  }

  #hostKey(id: string): string {
    return this.#site.key('host', id);
  }
}
