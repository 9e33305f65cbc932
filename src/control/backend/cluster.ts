/** The cluster as a whole, and one control node's metrics of it. */
import type { Alarm, Cluster } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { BackupPlaceState } from '../../core/model/backup.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { ReleaseRecord } from '../../core/model/cluster-release.ts';
import { isDue } from '../../core/model/debt.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { answering, filledShare } from '../../core/plan/lead/etcd-space.ts';
import type { PoolReport } from '../../core/ports/storage-link.ts';
import { finalized, type RoleVersion } from '../../core/request/finalize.ts';
import type { Call, MetricFamily } from '../api/call.ts';
import { alarmsOf } from './alarms.ts';
import { backupStateViews } from './backups.ts';
import type { BackendContext } from './context.ts';
import { type ControlNodesBackend, leaderOf } from './control-nodes.ts';
import { clusterEvacuability, verdictOfHost } from './evacuability-views.ts';
import { indexOfStore } from './records-index.ts';
import { Summary } from './summary.ts';
import { tiesOf } from './ties.ts';

/** The only record of its kind. */
const CLUSTER = 'cluster';
const NO_ANSWER = { isLeader: false, version: null, sizeBytes: null, inUseBytes: null };

/** Totals, alarms and metrics. */
export class ClusterBackend {
  readonly #context: BackendContext;
  readonly #controlNodes: ControlNodesBackend;
  readonly #summary: Summary;

  constructor(context: BackendContext, controlNodes: ControlNodesBackend) {
    this.#context = context;
    this.#controlNodes = controlNodes;
    this.#summary = new Summary(context);
  }

  async get(): Promise<Cluster> {
    const { store, version } = this.#context;
    const byVerdict = await this.#summary.byVerdict();
    const controls = await this.#controlNodes.all();
    const hosts = [...store.hosts.values()].map(({ value }) => value);
    const storageObserver = this.#context.leading()?.controller.storageObserver;
    const standing = [...store.storage.values()].filter(({ value }) => value.lost === undefined);
    const storage = standing.map(({ value }) => storageObserver?.answers(value.name) === true);
    const index = indexOfStore(store);
    return {
      version,
      release: store.releases.get(CLUSTER)?.value.release ?? null,
      lab: this.#context.lab !== null,
      revision: String(store.completeRevision),
      leader: leaderOf(this.#context)?.name ?? null,
      term: this.#context.leading()?.term ?? null,
      controlNodes: { total: controls.length, alive: controls.filter(({ state }) => state === 'alive').length },
      storageNodes: { total: storage.length, alive: storage.filter((answers) => answers).length },
      hosts: { total: hosts.length, alive: hosts.filter((host) => this.#answers(host)).length },
      evacuability: clusterEvacuability(this.#context),
      vms: { total: store.vms.size, byVerdict },
      memoryUsedBytes: hosts.reduce((sum, host) => sum + index.committedBytes(host.name), 0),
      memoryTotalBytes: hosts.reduce((sum, host) => sum + host.capacity.memoryBytes, 0),
      etcd: etcdView(this.#context),
      backups: backupStateViews(this.#context),
      alarms: [...alarmsOf(this.#context)],
    };
  }

  /**
   * Raises the release of the cluster to this server's. CodedError 'conflict' while a machine runs another one, or does
   * not answer and say which, and where a release would be skipped. It may be repeated.
   */
  async finalize({ principal }: Pick<Call, 'principal'>): Promise<Cluster> {
    const { store, clock, version } = this.#context;
    const known = store.releases.get(CLUSTER);
    const request = { version, cluster: known?.value.release ?? null, roles: await this.#roleVersions() };
    const release = finalized(request);
    if (release !== known?.value.release) {
      const key = PREFIX.release + CLUSTER;
      const now = clock.wallMs();
      const message = `${principal.name} raised the release of the cluster to ${release}.`;
      const nobody = { vm: null, vmName: null, host: null, generation: null };
      const outcome = await store.transact(
        [
          { key, value: { release, since: now } satisfies ReleaseRecord, expect: known?.revision ?? 0 },
          store.eventWrite({ at: now, kind: 'cluster-finalized', ...nobody, message }),
        ],
        null,
      );
      if (outcome.kind !== 'committed')
        throw new CodedError('conflict', 'Somebody else changed the release at the same time.', {
          advice: 'Look at it with "gp cluster show", and try again.',
        });
    }
    return this.get();
  }

  /** The version of every role of every machine; unknown for a role that does not answer. */
  async #roleVersions(): Promise<readonly RoleVersion[]> {
    const { store } = this.#context;
    const observer = this.#context.leading()?.controller.storageObserver;
    const controls = await this.#controlNodes.all();
    return [
      ...Array.from(store.hosts.values(), ({ value }) => ({
        ...{ role: 'host', name: value.name, version: this.#answers(value) ? (value.release?.agent ?? null) : null },
      })),
      ...Array.from(store.storage.values()).flatMap(({ value: { name, lost } }) => {
        const version = observer?.answers(name) === true ? (observer.report(name)?.version ?? null) : null;
        return lost === undefined ? [{ role: 'storage node', name, version }] : [];
      }),
      ...controls.map(({ name, state, version }) => ({
        ...{ role: 'control node', name, version: state === 'alive' ? version : null },
      })),
    ];
  }

  #answers({ name }: HostRecord): boolean {
    return this.#context.leading()?.controller.observer.see(name).agent === 'alive';
  }

  /** A follower leaves out what only the leader observes. */
  async metrics(): Promise<readonly MetricFamily[]> {
    const memory = process.memoryUsage();
    const gauge = (name: string, help: string, samples: MetricFamily['samples']): MetricFamily => ({
      name: `groundplane_${name}`,
      help,
      type: 'gauge',
      samples,
    });
    // Before the samples of all VMs, whose text is made in the last turn.
    const ties = await this.#tieMetrics();
    const alarms = countedByKind(alarmsOf(this.#context));
    const vms = await this.#summary.vmSamples();
    return [
      gauge('leader', 'Whether this control node leads.', [
        { labels: {}, value: this.#context.leading() === null ? 0 : 1 },
      ]),
      gauge('process_resident_bytes', 'Resident memory of the server.', [{ labels: {}, value: memory.rss }]),
      gauge('vm_info', 'One sample per VM; the value is its generation.', vms),
      gauge('etcd_quota_bytes', 'Size of the database above which etcd refuses writes.', [
        { labels: {}, value: this.#context.etcdSpace.quotaBytes },
      ]),
      gauge(
        'etcd_size_bytes',
        'Size of the database of an etcd member, which the quota limits.',
        this.#etcdSizes('sizeBytes'),
      ),
      gauge('etcd_in_use_bytes', 'Part of the database that records and history use.', this.#etcdSizes('inUseBytes')),
      gauge(
        'backup_last_timestamp_seconds',
        'Time of the newest backup of the records at a place of this control node; 0: there is none.',
        this.#backupSamples(({ lastAt }) => (lastAt ?? 0) / 1_000),
      ),
      gauge(
        'backup_failed',
        'Whether the last attempt at a backup there failed.',
        this.#backupSamples(({ failure }) => (failure === null ? 0 : 1)),
      ),
      gauge('alarms', 'Present alarms, by kind.', alarms),
      gauge('unreadable_records', 'Values in etcd that are no records of their kind.', [
        { labels: {}, value: this.#context.store.unreadable.size },
      ]),
      ...ties,
      ...this.#hostMetrics(),
      ...this.#poolMetrics(),
    ];
  }

  #etcdSizes(what: 'sizeBytes' | 'inUseBytes'): MetricFamily['samples'] {
    return answering(this.#context.etcdSpace.members).map((member) => ({
      labels: { member: member.endpoint },
      value: member[what],
    }));
  }

  #backupSamples(of: (state: BackupPlaceState) => number): MetricFamily['samples'] {
    return this.#context.backups.places().map((state) => ({ labels: { place: state.place }, value: of(state) }));
  }

  /** Ties and debts; a follower would have to look at every VM. */
  async #tieMetrics(): Promise<MetricFamily[]> {
    if (this.#context.leading() === null) return [];
    const now = this.#context.clock.wallMs();
    const ties = await tiesOf(this.#context);
    const debts = ties.flatMap(({ owed }) => owed?.debt ?? []);
    const gauge = (name: string, help: string, value: number): MetricFamily => ({
      name: `groundplane_${name}`,
      help,
      type: 'gauge',
      samples: [{ labels: {}, value }],
    });
    return [
      gauge('ties_unsigned', 'Ties without a signature.', ties.length - debts.length),
      gauge('debts', 'Debts that somebody signed for.', debts.length),
      gauge('debts_due', 'Debts whose date has passed.', debts.filter((debt) => isDue(debt, now)).length),
    ];
  }

  /** Only the leader observes hosts: a follower says nothing about them, rather than that they are dead. */
  #hostMetrics(): MetricFamily[] {
    const observer = this.#context.leading()?.controller.observer;
    if (observer === undefined) return [];
    const hosts = [...this.#context.store.hosts.values()].map(({ value: { name } }) => name);
    const gauge = (name: string, help: string, of: (host: HostName) => number | null): MetricFamily => ({
      name: `groundplane_${name}`,
      help,
      type: 'gauge',
      samples: hosts.flatMap((host) => {
        const value = of(host);
        return value === null ? [] : [{ labels: { host }, value }];
      }),
    });
    const verdict = (host: HostName) => verdictOfHost(this.#context, host);
    const isYes = (answer: { readonly kind: 'can' | 'cannot' } | undefined): number | null =>
      answer === undefined ? null : answer.kind === 'can' ? 1 : 0;
    return [
      gauge('host_agent_alive', 'Whether the agent of a host answers.', (host) =>
        observer.see(host).agent === 'alive' ? 1 : 0,
      ),
      gauge('host_drainable', 'Whether a host can be drained now.', (host) => isYes(verdict(host)?.drain)),
      gauge('host_losable', 'Whether a host may be lost now.', (host) => isYes(verdict(host)?.loss)),
      gauge('host_drain_seconds', 'How long a drain of a host would take now.', (host) => {
        const drain = verdict(host)?.drain;
        return drain?.kind === 'can' ? drain.wave.durationMs / 1_000 : null;
      }),
    ];
  }

  /** Metrics of the pools whose nodes have reported to this leader. */
  #poolMetrics(): MetricFamily[] {
    const observer = this.#context.leading()?.controller.storageObserver;
    if (observer === undefined) return [];
    const pools = [...this.#context.store.storage.values()].flatMap(({ value: { name } }) => {
      const pool = observer.report(name)?.pool;
      return pool === undefined ? [] : [{ labels: { node: name }, pool }];
    });
    const gauge = (name: string, help: string, of: (pool: PoolReport) => number): MetricFamily => ({
      name: `groundplane_storage_${name}`,
      help,
      type: 'gauge',
      samples: pools.map(({ labels, pool }) => ({ labels, value: of(pool) })),
    });
    return [
      gauge('pool_bytes', 'Size of the pool of a storage node.', (pool) => pool.totalBytes),
      gauge('pool_free_bytes', 'Room left in the pool of a storage node.', (pool) => pool.freeBytes),
    ];
  }
}

function etcdView({ etcdSpace: { members, quotaBytes } }: BackendContext): Cluster['etcd'] {
  return {
    members: members.map((member) => {
      const answers = !('unreachable' in member);
      const { isLeader, version, sizeBytes, inUseBytes } = answers ? member : NO_ANSWER;
      return { endpoint: member.endpoint, answers, leader: isLeader, version, sizeBytes, inUseBytes };
    }),
    quotaBytes,
    usedPercent: Math.round(filledShare({ members, quotaBytes }) * 100),
  };
}

function countedByKind(alarms: readonly Alarm[]): MetricFamily['samples'] {
  const counts = new Map<string, number>();
  for (const { kind } of alarms) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, value]) => ({ labels: { kind }, value }));
}
