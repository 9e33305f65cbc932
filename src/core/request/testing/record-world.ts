/** For tests of requests: the records of a small cluster, to which the changes of admitted requests are applied. */

import type { HostName, StorageName } from '../../../base/ids.ts';
import { freshEstate } from '../../maintenance/testing/fresh-estate.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import { PREFIX } from '../../model/keys.ts';
import { FIRST_EPOCH, readRecord } from '../../model/record-shapes.ts';
import { seenHost, silentKernel } from '../../plan/testing/sample-records.ts';
import type { Change, Entry, RequestSnapshot } from '../../ports/store.ts';
import type { Admitted, Basis, Observed } from '../basis.ts';

const MIB = 1024 ** 2;

/** The time of every request, in Unix ms. */
const ASKED_AT = 1_700_000_000_000;

const PREFIX_OF: Readonly<Record<Change['kind'], string>> = {
  vm: PREFIX.vm,
  disk: PREFIX.disk,
  host: PREFIX.host,
  storage: PREFIX.storage,
  control: PREFIX.control,
  network: PREFIX.network,
  task: PREFIX.task,
  'shared-disk': PREFIX.sharedDisk,
  'guest-cluster': PREFIX.guestCluster,
  drain: PREFIX.drain,
  roll: PREFIX.roll,
  'roll-plan': PREFIX.rollPlan,
  certificate: PREFIX.certificate,
  authority: PREFIX.authority,
  image: PREFIX.image,
  token: PREFIX.token,
  event: PREFIX.event,
};

/** See the module's comment. */
export class RecordWorld {
  readonly #tables = {
    vm: new Map<string, Entry<object>>(),
    disk: new Map<string, Entry<object>>(),
    host: new Map<string, Entry<object>>(),
    storage: new Map<string, Entry<object>>(),
    control: new Map<string, Entry<object>>(),
    network: new Map<string, Entry<object>>(),
    task: new Map<string, Entry<object>>(),
    'shared-disk': new Map<string, Entry<object>>(),
    'guest-cluster': new Map<string, Entry<object>>(),
    drain: new Map<string, Entry<object>>(),
    roll: new Map<string, Entry<object>>(),
    'roll-plan': new Map<string, Entry<object>>(),
    certificate: new Map<string, Entry<object>>(),
    authority: new Map<string, Entry<object>>(),
    image: new Map<string, Entry<object>>(),
    token: new Map<string, Entry<object>>(),
    event: new Map<string, Entry<object>>(),
  } satisfies Record<Change['kind'], Map<string, Entry<object>>>;
  readonly unreadable = new Map<string, string>();
  /** Storage nodes that do not answer. */
  readonly silent = new Set<StorageName>();
  /** Hosts whose agent does not answer. */
  readonly deadAgents = new Set<HostName>();
  /** Hosts of which every path has met silence. */
  readonly goneHosts = new Set<HostName>();
  /** Free bytes of every pool. */
  freeBytes = 1024 * MIB;
  #revision = 0;
  #drawn = 0;

  constructor(changes: readonly Change[] = []) {
    this.apply(changes);
  }

  /** Carries out changes, as one transaction. */
  apply(changes: readonly Change[]): void {
    this.#revision++;
    for (const { kind, id, value } of changes)
      if (value === null) this.#tables[kind].delete(id);
      else this.#tables[kind].set(id, { value, revision: this.#revision });
  }

  /** Carries out an admitted request, and returns its result. */
  take<T>({ changes, result }: Admitted<T>): T {
    this.apply(changes);
    return result;
  }

  /** The changes that make storage nodes. */
  storageNodes(names: readonly string[]): Change[] {
    return names.map((name, index): Change => {
      const id = name as StorageName;
      const addresses = { control: `10.8.0.${index + 1}`, storage: `10.8.1.${index + 1}` };
      return { kind: 'storage', id, value: { name: id, addresses, joinedAt: 0 } };
    });
  }

  /** The records that no control node could read, one sentence each. */
  unreadableRecords(): readonly string[] {
    return Object.entries(this.#tables).flatMap(([kind, table]) =>
      [...table].flatMap(([id, { value }]) => {
        const read = readRecord(PREFIX_OF[kind as Change['kind']] + id, JSON.stringify(value));
        return 'finding' in read ? [`${kind} ${id} ${read.finding}`] : [];
      }),
    );
  }

  /** The present basis of a request. Each identifier that is drawn is a new one. */
  basis(): Basis {
    const records = this.#snapshot();
    const index = new ClusterIndex();
    index.load(records);
    return {
      records,
      index,
      now: ASKED_AT,
      randomHex: (bytes) =>
        (++this.#drawn)
          .toString(16)
          .padStart(bytes * 2, '0')
          .slice(-bytes * 2),
    };
  }

  /** The leader's view: every machine answers, except those that the test silences. */
  observed(): Observed {
    const seeHost = (host: HostName) => {
      if (this.goneHosts.has(host)) return seenHost(1, { host, agent: 'silent', kernel: silentKernel(2, []) });
      return seenHost(1, { host, agent: this.deadAgents.has(host) ? 'silent' : 'alive' });
    };
    return {
      observer: { see: seeHost },
      estate: freshEstate(() => {
        const { records: snapshot, index } = this.basis();
        return { snapshot, index, seeHost };
      }),
      vms: { seesRunning: ({ phase }) => phase.kind === 'running' },
      dirtyRates: { of: () => null },
      storageObserver: {
        answers: (node) => !this.silent.has(node),
        isSilent: (node) => this.silent.has(node),
        report: () => ({
          pool: { totalBytes: 1024 * MIB, freeBytes: this.freeBytes },
          artifacts: [...this.#snapshot().images.values()].flatMap(({ value }) => value.disk?.sha256 ?? []),
        }),
      },
    };
  }

  #snapshot(): RequestSnapshot {
    const tables = this.#tables;
    const named = <T extends object>(table: Map<string, Entry<object>>, keysOf: (value: T) => readonly string[]) =>
      new Map(
        [...table].flatMap(([id, { value, revision }]) =>
          keysOf(value as T).map((key) => [key, { value: id, revision }] as const),
        ),
      );
    const snapshot = {
      epoch: FIRST_EPOCH,
      revision: this.#revision,
      completeRevision: this.#revision,
      vms: tables.vm,
      disks: tables.disk,
      hosts: tables.host,
      storage: tables.storage,
      controls: tables.control as never,
      networks: tables.network,
      tasks: tables.task,
      sharedDisks: tables['shared-disk'],
      guestClusters: tables['guest-cluster'],
      drains: tables.drain,
      rolls: tables.roll,
      rollPlans: tables['roll-plan'],
      certificates: tables.certificate,
      authorities: tables.authority,
      reservations: new Map(),
      images: tables.image,
      tokens: tables.token,
      vmNames: named(tables.vm, ({ name }: { name: string }) => [name]),
      diskPorts: named(tables.disk, ({ node, port }: { node: string; port: number }) => [`${node}/${port}`]),
      sharedDiskNames: named(
        tables['shared-disk'],
        ({ guestCluster, name }: { guestCluster: string | null; name: string }) => [`${guestCluster ?? '-'}/${name}`],
      ),
      networkVnis: named(tables.network, ({ vni }: { vni: number }) => [String(vni)]),
      unreadable: this.unreadable,
      lastReadable: new Map(),
      disksOf: (vm: string) =>
        [...tables.disk.values()].map(({ value }) => value).filter((disk) => (disk as { vm: string }).vm === vm),
    };
    return snapshot as unknown as RequestSnapshot;
  }
}
