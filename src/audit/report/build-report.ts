/**
 * Makes a report of findings. Findings are numbered in their order, so that two runs over the same files give the same
 * numbers.
 */
import type { Gap, Vm } from '../estate/estate.ts';
import type { Analysis } from '../findings/analysis.ts';
import { type CureItem, type Prices, priceOf } from '../findings/cures.ts';
import type { Doubt, Reason } from '../findings/reasons.ts';
import type { Naming } from './naming.ts';
import type {
  Report,
  ReportCluster,
  ReportGap,
  ReportHost,
  ReportLoss,
  ReportReason,
  ReportTicket,
  ReportTie,
} from './report.ts';
import { clusterText, cureText, doubtText, evidenceOf, gapText, lossText, reasonText, signTexts } from './sentences.ts';
import { CONFIRM_CLUSTER, TIE_WORDS } from './words.ts';

export interface ReportOptions {
  readonly naming: Naming;
  readonly prices: Prices | null;
  /** If false, groups with the lowest confidence are left out. */
  readonly withHints: boolean;
  readonly ignored: readonly string[];
}

/** Builds the report. */
export function buildReport(analysis: Analysis, options: ReportOptions): Report {
  const maker = new Maker(analysis, options);
  const hosts = maker.hosts();
  const clusters = maker.clusters();
  const ties = maker.ties();
  const losses = maker.losses();
  const of = (confidence: string): number => clusters.filter((one) => one.confidence === confidence).length;
  const verdicts = (verdict: string): number => hosts.filter((one) => one.verdict === verdict).length;
  return {
    format: 'groundplane audit 1',
    summary: {
      hosts: hosts.length,
      vms: [...analysis.estate.vms.values()].filter(({ isTemplate }) => !isTemplate).length,
      can: verdicts('can'),
      cannot: verdicts('cannot'),
      notProved: verdicts('not proved'),
      certain: of('certain'),
      member: of('member'),
      probable: of('probable'),
      collision: of('collision'),
      blockingTies: ties.filter(({ level }) => level === 'blocks').length,
      notCovered: losses.filter(({ verdict }) => verdict === 'not covered').length,
    },
    sources: analysis.estate.sources.map(({ platform, file }) => ({ platform, file: options.naming.file(file) })),
    ignored: options.ignored.map((file) => options.naming.file(file)),
    coverage: maker.coverage(),
    hosts,
    clusters,
    ties,
    losses,
    slack: maker.slack(),
    notes: maker.notes(),
    cures: maker.cures(),
    tickets: maker.tickets(),
  };
}

class Maker {
  readonly #analysis: Analysis;
  readonly #options: ReportOptions;
  readonly #naming: Naming;
  readonly #gaps: readonly Gap[];

  constructor(analysis: Analysis, options: ReportOptions) {
    this.#analysis = analysis;
    this.#options = options;
    this.#naming = options.naming;
    this.#gaps = analysis.estate.gaps.toSorted((a, b) => Number(b.blocks) - Number(a.blocks));
  }

  coverage(): readonly ReportGap[] {
    return this.#gaps.map((gap, index) => ({
      id: `V${index + 1}`,
      platform: gap.platform,
      text: gapText(gap, this.#naming),
      fix: gap.fix,
      blocks: gap.blocks,
    }));
  }

  hosts(): readonly ReportHost[] {
    return this.#analysis.drains.map(({ host, verdict, reasons, doubts, vms, displaced }, index) => ({
      id: `H${index + 1}`,
      host: this.#naming.name('host', host.name),
      cluster: this.#cluster(host.cluster),
      platform: host.platform,
      verdict,
      vms: vms.map((vm) => this.#vm(vm)),
      reasons: reasons.map((reason) => this.#reason(reason)),
      doubts: doubts.map((doubt) => this.#doubt(doubt)),
      displaced,
    }));
  }

  clusters(): readonly ReportCluster[] {
    const shown = this.#analysis.clusters.filter(({ confidence }) => confidence !== 'hint' || this.#options.withHints);
    return shown.map((finding, index) => ({
      id: `C${index + 1}`,
      confidence: finding.confidence,
      vms: finding.vms.map((vm) => ({ vm: this.#vm(vm), host: this.#hostOf(vm) })),
      text: clusterText(finding, this.#naming),
      signs: [...signTexts(finding, this.#naming), ...this.#togetherNow(finding.vms)],
      confirm: CONFIRM_CLUSTER[finding.confidence],
      evidence: finding.evidence.map((one) => this.#naming.evidence(one)),
    }));
  }

  /** Returns members of a cluster that are now on one host, and would be lost together. */
  #togetherNow(vms: readonly Vm[]): readonly string[] {
    const [host, ...others] = new Set(vms.map((vm) => vm.host));
    const isOne = vms.length > 1 && others.length === 0 && typeof host === 'string';
    return isOne ? [`all of them are on ${this.#host(host)} now, whose loss takes all of them`] : [];
  }

  ties(): readonly ReportTie[] {
    return this.#analysis.ties.map(({ level, vm, reason }, index) => ({
      id: `T${index + 1}`,
      level,
      kind: reason.kind === 'tie' ? reason.tie.kind : reason.kind,
      vm: this.#vm(vm),
      host: this.#hostOf(vm),
      text: reasonText(reason, this.#naming),
      confirm: confirmOf(reason),
      evidence: evidenceOf(reason).map((one) => this.#naming.evidence(one)),
    }));
  }

  losses(): readonly ReportLoss[] {
    return this.#analysis.losses.map((finding, index) => ({
      id: `L${index + 1}`,
      host: this.#naming.name('host', finding.host.name),
      cluster: this.#cluster(finding.host.cluster),
      verdict: finding.verdict,
      text: lossText(finding),
      bound: finding.bound.map((vm) => this.#vm(vm)),
      unplaced: finding.unplaced.map((vm) => this.#vm(vm)),
      evidence: finding.evidence.map((one) => this.#naming.evidence(one)),
    }));
  }

  slack(): Report['slack'] {
    return this.#analysis.slack.map(({ rule, members, hosts }, index) => ({
      id: `R${index + 1}`,
      text: `rule "${this.#naming.name('rule', rule.name)}" keeps ${members} VMs apart on ${hosts} hosts: none of the hosts can be out of service`,
      evidence: [this.#naming.evidence(rule.evidence)],
    }));
  }

  notes(): Report['notes'] {
    return this.#analysis.quietNetworks.map(({ name, evidence }, index) => ({
      id: `N${index + 1}`,
      text: `network "${this.#naming.name('network', name)}" does not leave its host; no VM of the export is on it`,
      evidence: [this.#naming.evidence(evidence)],
    }));
  }

  cures(): Report['cures'] {
    return this.#analysis.cures.map((cure) => ({
      text: cureText(cure.kind, cure.items),
      items: cure.items,
      hosts: cure.hosts.length,
      frees: cure.frees.map((host) => this.#host(host)),
      freesSoFar: cure.freesSoFar,
      downtimeMin: cure.downtimeMin,
      approvals: cure.approvals,
      gib: cure.gib,
      cost: this.#cost(cure),
    }));
  }

  tickets(): readonly ReportTicket[] {
    const hostsOf = new Map<string, Set<string>>();
    for (const { key, host } of this.#analysis.cureItems) hostsOf.set(key, (hostsOf.get(key) ?? new Set()).add(host));
    const numbers = new Map<string, number>();
    return this.#analysis.cureItems.map((item) => {
      const number = numbers.get(item.key) ?? numbers.size + 1;
      numbers.set(item.key, number);
      return this.#ticket(item, `GP-${number}`, hostsOf.get(item.key) ?? new Set());
    });
  }

  #ticket(item: CureItem, ticketKey: string, hosts: ReadonlySet<string>): ReportTicket {
    const [evidence] = evidenceOf(item.reason).map((one) => this.#naming.evidence(one));
    return {
      ticketKey,
      host: this.#host(item.host),
      vm: item.vm === null ? '' : this.#vm(item.vm),
      owner: item.vm === null ? '' : this.#naming.name('owner', item.vm.owner),
      reason: reasonText(item.reason, this.#naming),
      evidence:
        evidence === undefined
          ? ''
          : Object.values(evidence)
              .filter((text) => text !== '')
              .join(' / '),
      cure: item.kind,
      downtimeMin: item.downtimeMin,
      approvals: item.approvals,
      gib: item.gib,
      cost: this.#cost(item),
      confidence: 'certain',
      alsoFrees: [...hosts].filter((host) => host !== item.host).map((host) => this.#host(host)),
    };
  }

  #cost(cost: CureItem | Analysis['cures'][number]): string {
    const { prices } = this.#options;
    return prices === null ? '' : `${priceOf(cost, prices)} ${prices.currency}`;
  }

  #vm(vm: Vm): string {
    return this.#naming.name('vm', vm.name);
  }

  #host(key: string): string {
    return this.#naming.name('host', this.#analysis.estate.hosts.get(key)?.name ?? '');
  }

  #hostOf(vm: Vm): string {
    return this.#naming.name('host', this.#analysis.estate.hosts.get(vm.host ?? '')?.name ?? vm.hostSaid);
  }

  #cluster(key: string | null): string {
    return key === null ? '' : this.#naming.name('cluster', this.#analysis.estate.clusters.get(key)?.name ?? '');
  }

  #reason(reason: Reason): ReportReason {
    const item = this.#cures.get(reason);
    return {
      text: reasonText(reason, this.#naming),
      vm: 'vm' in reason ? this.#vm(reason.vm) : '',
      cure: item?.kind ?? '',
      confirm: confirmOf(reason),
      gap: '',
      evidence: evidenceOf(reason).map((one) => this.#naming.evidence(one)),
    };
  }

  #doubt(doubt: Doubt): ReportReason {
    const fix = doubt.kind === 'gap' ? doubt.gap.fix : doubt.kind === 'unknown' ? doubt.unknown.fix : '';
    return {
      text: doubtText(doubt, this.#naming),
      vm: 'vm' in doubt ? this.#vm(doubt.vm) : '',
      cure: fix,
      confirm: '',
      gap: doubt.kind === 'gap' ? `V${this.#gaps.indexOf(doubt.gap) + 1}` : '',
      evidence: evidenceOf(doubt).map((one) => this.#naming.evidence(one)),
    };
  }

  get #cures(): ReadonlyMap<Reason, CureItem> {
    this.#known ??= new Map(this.#analysis.cureItems.map((item) => [item.reason, item]));
    return this.#known;
  }

  #known: Map<Reason, CureItem> | null = null;
}

function confirmOf(reason: Reason): string {
  switch (reason.kind) {
    case 'tie':
      return TIE_WORDS[reason.tie.kind].confirm;
    case 'storage':
    case 'media':
      return 'Look at the storage: which hosts have it mounted.';
    case 'network':
      return 'Look at the uplinks of the network on this host and on the others.';
    case 'no common host':
      return 'Look at the storage, networks and rules of the VM together.';
    case 'rule':
    case 'together':
      return 'Ask who made the rule and why.';
    default:
      return 'Look at the memory of the hosts of the cluster.';
  }
}
