/**
 * libvirt: the XML of `virsh dumpxml`, `net-dumpxml`, `pool-dumpxml` and `capabilities`, in one directory per host. The
 * XML does not name its host: the directory does. Directories with a file of capabilities are hosts, all of one
 * cluster.
 */
import { dirname } from 'node:path/posix';
import { own } from '../../../base/own.ts';
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, Identity, Nic, Reach, Vm } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader, Xml } from '../document.ts';
import { ExportSite } from '../export-site.ts';
import { numberOf } from '../formats/values.ts';
import { child, children, descendants, at as elementAt, textAt } from '../formats/xml.ts';
import { domainTies } from './domain-ties.ts';

const PLATFORM = 'libvirt';
const FIX =
  'Export into one directory per host: virsh dumpxml of every VM, net-dumpxml, pool-dumpxml and virsh capabilities (docs/operating/audit.md).';
const KINDS = ['domain', 'network', 'pool', 'capabilities'] as const;
type Kind = (typeof KINDS)[number];
/** The header of `virsh list --all` in the C locale. */
const LIST = /^\s*Id\s+Name\s+State\s*$/m;
/** Types of pools whose data other hosts can also have, under the same name. */
const SHARED_POOLS = new Set([
  'netfs',
  'iscsi',
  'iscsi-direct',
  'rbd',
  'gluster',
  'scsi',
  'mpath',
  'sheepdog',
  'vstorage',
]);
const UNIT_MIB: Readonly<Record<string, number>> = {
  b: 2 ** -20,
  bytes: 2 ** -20,
  kib: 2 ** -10,
  k: 2 ** -10,
  mib: 1,
  m: 1,
  gib: 1024,
  g: 1024,
  tib: 2 ** 20,
};

interface Found {
  readonly file: string;
  readonly directory: string;
  readonly xml: Xml;
}

/** The reader of libvirt. */
export const libvirtReader: Reader = {
  platform: PLATFORM,
  claims: (document) => kindOf(document) !== null,
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    new LibvirtReader(new ExportSite(PLATFORM, FIX, into), documents).read();
  },
};

function kindOf(document: Document): Kind | 'list' | null {
  if (document.kind === 'text') return LIST.test(document.text) ? 'list' : null;
  if (document.kind !== 'xml') return null;
  const { name, children: inner } = document.root;
  if (name === 'domstatus') return 'domain';
  const kind = KINDS.find((one) => one === name) ?? null;
  if (kind === null || kind === 'capabilities')
    return kind !== null && inner.some((one) => one.name === 'host') ? kind : null;
  return inner.some((one) => one.name === 'name') ? kind : null;
}

/** Parses memory with its unit; KiB by default. */
function memoryMib(element: Xml | undefined): number | null {
  const number = numberOf(element?.text);
  const factor = own(UNIT_MIB, (element?.attributes['unit'] ?? 'KiB').toLowerCase());
  return number === null || factor === undefined ? null : number * factor;
}

class LibvirtReader {
  readonly #site: ExportSite<Kind, Found>;
  readonly #running = new Set<string>();
  /** Directory -> number of VMs that `virsh list` reports as running. */
  readonly #lists = new Map<string, number>();

  constructor(site: ExportSite<Kind, Found>, documents: readonly Document[]) {
    this.#site = site;
    for (const document of documents) {
      const kind = kindOf(document);
      if (document.kind === 'text' && kind === 'list')
        this.#lists.set(
          dirname(document.file),
          [...document.text.matchAll(/^\s*\d+\s+\S.*\s(?:running|idle|paused|in shutdown)\s*$/gm)].length,
        );
      if (kind === null || kind === 'list' || document.kind !== 'xml') continue;
      const isStatus = document.root.name === 'domstatus';
      const xml = isStatus ? (child(document.root, 'domain') ?? document.root) : document.root;
      site.add(kind, [{ file: document.file, directory: dirname(document.file), xml }]);
    }
    for (const { xml, directory } of this.#site.of('domain')) if ('id' in xml.attributes) this.#running.add(directory);
  }

  /** Finds hosts: `HOST/capabilities.xml` makes a host of its directory; other files may be in subdirectories. */
  #hostOf(directory: string): string | null {
    const before = this.#hosts.get(directory);
    if (before !== undefined) return before;
    let at = directory;
    while (!this.#site.into.hosts.has(this.#hostKey(at)) && at !== dirname(at)) at = dirname(at);
    const host = this.#site.into.hosts.has(this.#hostKey(at)) ? this.#hostKey(at) : null;
    this.#hosts.set(directory, host);
    return host;
  }

  /** Cache; valid only after all hosts are read. */
  readonly #hosts = new Map<string, string | null>();

  read(): void {
    this.#site.need([
      ['capabilities', 'hosts', 'the capabilities of the hosts (virsh capabilities)'],
      ['domain', 'vms', 'the XML of VMs (virsh dumpxml)'],
    ]);
    for (const host of this.#site.of('capabilities')) this.#host(host);
    for (const { directory, file } of this.#site.of('capabilities'))
      if (!this.#lists.has(directory))
        this.#site.gap('vms', 'column', file, 'the directory of a host', 'virsh list --all');
    for (const kind of ['network', 'pool'] as const)
      for (const [key, host] of this.#site.into.hosts) {
        if (host.platform !== PLATFORM || this.#site.of(kind).some(({ directory }) => this.#hostOf(directory) === key))
          continue;
        this.#site.gapOfHost(kind === 'network' ? 'networks' : 'storage', `the XML of ${kind}s of a host`, key);
      }
    for (const network of this.#site.of('network')) this.#network(network);
    for (const domain of this.#site.of('domain')) this.#vm(domain);
  }

  #hostKey(directory: string): string {
    return this.#site.key('host', directory);
  }

  #networkKey(host: string, name: string): string {
    return this.#site.key('network', host, name);
  }

  #host({ xml, file, directory }: Found): void {
    const host = child(xml, 'host');
    const cells = [...descendants(host ?? xml, 'cell')].map((cell) => memoryMib(child(cell, 'memory')));
    const memory =
      cells.length === 0 || cells.includes(null) ? null : cells.reduce<number>((sum, one) => sum + (one ?? 0), 0);
    const model = textAt(host, 'cpu', 'model');
    const name = directory.split('/').at(-1) ?? directory;
    if (memory === null) this.#site.gap('memory', 'column', file, 'capabilities', 'host/topology/cells/cell/memory');
    if (model === '') this.#site.gap('cpu', 'column', file, 'capabilities', 'host/cpu/model');
    const cluster = this.#site.into.cluster({
      key: this.#site.key('cluster'),
      name: 'the hosts of the export',
      ...this.#site.origin,
    });
    this.#site.into.host(
      plainHost({
        key: this.#hostKey(directory),
        name: name === '.' ? 'host' : name,
        ...this.#site.origin,
        cluster,
        memoryMib: memory,
        state: 'in service',
        cpu: model === '' ? null : model,
        cpuModel: model === '' ? null : model,
        saysRunning: this.#lists.get(directory) ?? null,
        evidence: evidence(file, 'capabilities', name, 'host/cpu/model', model),
      }),
    );
  }

  #network({ xml, file, directory }: Found): void {
    const name = textAt(xml, 'name');
    const host = this.#hostOf(directory) ?? directory;
    const forward = child(xml, 'forward');
    const peers = this.#site.of('network').filter((one) => textAt(one.xml, 'name') === name);
    const hosts = new Set(peers.flatMap((one) => this.#hostOf(one.directory) ?? []));
    this.#site.into.network({
      key: this.#networkKey(host, name),
      name,
      reach: { kind: 'hosts', hosts },
      isIsolated: forward === undefined,
      evidence: evidence(
        file,
        'network',
        name,
        'forward',
        forward === undefined ? 'none' : (forward.attributes['mode'] ?? 'nat'),
      ),
    });
  }

  #vm({ xml, file, directory }: Found): void {
    const name = textAt(xml, 'name');
    const uuid = textAt(xml, 'uuid');
    const place: At = (column, value) => evidence(file, 'domain', name, column, value);
    const host = this.#hostOf(directory);
    // No file has the ID of a running VM: the files come from /etc/libvirt, which does not say which VMs run.
    const power: Vm['power'] =
      'id' in xml.attributes ? 'running' : this.#running.has(directory) ? 'stopped' : 'unknown';
    if (host === null && power !== 'stopped')
      this.#site.gap('vms', 'join', file, 'domain', 'the directory of its host', directory);
    const disks = children(child(xml, 'devices'), 'disk');
    const model = textAt(xml, 'cpu', 'model');
    this.#site.into.vm(
      plainVm({
        key: this.#site.key(directory, uuid === '' ? name : uuid),
        uuid: power === 'running' || uuid === '' ? '' : uuid,
        name,
        ...this.#site.origin,
        host,
        hostSaid: this.#site.into.hosts.get(host ?? '')?.name ?? directory,
        power,
        memoryMib: memoryMib(child(xml, 'memory')) ?? memoryMib(child(xml, 'currentMemory')),
        cpus: numberOf(textAt(xml, 'vcpu')),
        disks: disks.flatMap((disk) => this.#disk(disk, directory, place)),
        nics: children(child(xml, 'devices'), 'interface').flatMap((nic) => this.#nic(nic, host, place)),
        ties: domainTies(xml, place),
        notes: `${textAt(xml, 'title')} ${textAt(xml, 'description')}`.trim(),
        guest: model,
        evidence: place('name', name),
      }),
    );
  }

  #disk(xml: Xml, directory: string, place: At): readonly Disk[] {
    const device = xml.attributes['device'] ?? 'disk';
    const source = child(xml, 'source');
    const isMedia = device === 'cdrom' || device === 'floppy';
    const found = this.#sourceOf(source, directory);
    if (found === null) return [];
    const at = place(`disk ${child(xml, 'target')?.attributes['dev'] ?? ''} source`, found.name);
    const permit: Disk['permit'] =
      child(source, 'reservations') !== undefined || child(xml, 'reservations') !== undefined
        ? { kind: 'reservation', evidence: place('disk/source/reservations', found.name) }
        : child(xml, 'shareable') === undefined
          ? null
          : { kind: 'shareable', evidence: place('disk/shareable', found.name) };
    return [
      plainDisk({
        label: found.name,
        identities: found.identities,
        permit: isMedia ? null : permit,
        reach: found.reach,
        isReadOnly: isMedia || child(xml, 'readonly') !== undefined,
        isMedia,
        evidence: at,
      }),
    ];
  }

  #sourceOf(
    source: Xml | undefined,
    directory: string,
  ): { name: string; identities: readonly Identity[]; reach: Reach } | null {
    if (source === undefined) return null;
    const { file = '', dev = '', pool = '', volume = '', protocol = '', name = '', dir = '' } = source.attributes;
    const local = this.#site.key('path', directory, file || dir);
    if (protocol !== '') {
      const full = `${protocol}:${name}`;
      return {
        name: full,
        identities: [{ key: this.#site.key(full), kind: 'volume', name: full }],
        reach: { kind: 'every' },
      };
    }
    if (pool !== '') {
      const found = this.#pool(pool, directory);
      const full = `${pool}/${volume}`;
      const key = found.isShared ? this.#site.key('pool', full) : this.#site.key('pool', directory, full);
      return { name: full, identities: [{ key, kind: 'volume', name: full }], reach: found.reach };
    }
    if (dev !== '') return this.#blockDevice(dev, directory);
    const path = file || dir;
    if (path === '') return null;
    const found = this.#poolOfPath(path, directory);
    const key = found.isShared ? this.#site.key('path', path) : local;
    return { name: path, identities: [{ key, kind: 'path', name: path }], reach: found.reach };
  }

  /** Returns true for a name with the identity of a LUN, which means the same on every host; `/dev/sdb` does not. */
  #blockDevice(dev: string, directory: string): { name: string; identities: readonly Identity[]; reach: Reach } {
    const found = this.#poolOfPath(dev, directory);
    const isNamed = /\/(?:by-id|by-path)\/|\/mapper\/|^\/dev\/(?:rbd|drbd)/.test(dev);
    const reach: Reach = found.isKnown ? found.reach : { kind: 'unknown' };
    const key = isNamed || found.isShared ? this.#site.key('dev', dev) : this.#site.key('dev', directory, dev);
    return { name: dev, identities: [{ key, kind: isNamed ? 'LUN' : 'path', name: dev }], reach };
  }

  #pool(name: string, directory: string): { isKnown: boolean; isShared: boolean; reach: Reach } {
    const mine = this.#poolsOf(directory).find((one) => textAt(one.xml, 'name') === name);
    return this.#reachOfPool(mine);
  }

  #pools: ReadonlyMap<string, readonly Found[]> | null = null;

  #poolsOf(directory: string): readonly Found[] {
    this.#pools ??= Map.groupBy(this.#site.of('pool'), (one) => this.#hostOf(one.directory) ?? '');
    return this.#pools.get(this.#hostOf(directory) ?? '') ?? [];
  }

  #poolOfPath(path: string, directory: string): { isKnown: boolean; isShared: boolean; reach: Reach } {
    const holds = (one: Found): boolean => {
      const target = textAt(one.xml, 'target', 'path');
      return target !== '' && (path === target || path.startsWith(`${target.replace(/\/$/, '')}/`));
    };
    const mine = this.#poolsOf(directory)
      .filter(holds)
      .toSorted((a, b) => textAt(b.xml, 'target', 'path').length - textAt(a.xml, 'target', 'path').length)[0];
    return this.#reachOfPool(mine);
  }

  #poolHosts: ReadonlyMap<string, ReadonlySet<string>> | null = null;

  #reachOfPool(pool: Found | undefined): { isKnown: boolean; isShared: boolean; reach: Reach } {
    if (pool === undefined) return { isKnown: false, isShared: false, reach: { kind: 'unknown' } };
    if (!SHARED_POOLS.has(pool.xml.attributes['type'] ?? ''))
      return { isKnown: true, isShared: false, reach: { kind: 'local' } };
    // A pool with the same name and source on another host is the same pool.
    const identity = (one: Found): string => JSON.stringify([textAt(one.xml, 'name'), elementAt(one.xml, 'source')]);
    this.#poolHosts ??= new Map(
      [...Map.groupBy(this.#site.of('pool'), identity)].map(([key, all]) => [
        key,
        new Set(all.flatMap((one) => this.#hostOf(one.directory) ?? [])),
      ]),
    );
    const hosts = this.#poolHosts.get(identity(pool)) ?? new Set();
    return { isKnown: true, isShared: true, reach: { kind: 'hosts', hosts } };
  }

  #nic(xml: Xml, host: string | null, place: At): readonly Nic[] {
    const type = xml.attributes['type'] ?? '';
    const source = child(xml, 'source')?.attributes ?? {};
    const name = source['network'] ?? source['bridge'] ?? source['dev'] ?? '';
    const at = place(`interface type ${type}`, name);
    if (name === '' || host === null || type === 'hostdev') return [{ network: null, address: '', evidence: at }];
    const key = this.#networkKey(host, type === 'network' ? name : `bridge ${name}`);
    if (type !== 'network') this.#bridge(key, name, host, at);
    else this.#site.into.network({ key, name, reach: { kind: 'unknown' }, isIsolated: false, evidence: at });
    return [{ network: key, address: '', evidence: at }];
  }

  /** Adds a bridge; its hosts are known only if a network of this host names the bridge. */
  #bridge(key: string, name: string, host: string, at: Evidence): void {
    if (this.#site.into.networks.has(key)) return;
    const there = this.#site.of('network').filter((one) => child(one.xml, 'bridge')?.attributes['name'] === name);
    const hosts = new Set(there.flatMap((one) => this.#hostOf(one.directory) ?? []));
    const reach: Reach = hosts.has(host) ? { kind: 'hosts', hosts } : { kind: 'unknown' };
    this.#site.into.network({ key, name, reach, isIsolated: false, evidence: at });
  }
}

type At = (column: string, value: unknown) => Evidence;
