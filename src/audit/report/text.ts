/** Formats a report as text for a terminal: coverage, hosts, clusters, ties, loss of a host, cures. */
import { counted } from '../../base/counted.ts';
import { listed } from '../../base/listed.ts';
import type { Evidence } from '../estate/estate.ts';
import type { Report, ReportHost, ReportReason } from './report.ts';
import { CONFIDENCE_WORDS } from './words.ts';

const REASONS_MAX = 12;
const HOSTS_MAX = 12;
const TIES_MAX = 60;

/** Returns the whole report. */
export function reportText(report: Report): string {
  return [
    summary(report),
    coverage(report),
    hosts(report),
    clusters(report),
    ties(report),
    losses(report),
    cures(report),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

/** Returns everything about one finding; null if no finding has that ID. */
export function explainText(report: Report, id: string): string | null {
  const wanted = id.toUpperCase();
  const gap = report.coverage.find((one) => one.id === wanted);
  if (gap !== undefined) return `${gap.id}  ${gap.platform}: ${gap.text}\n  ${gap.fix}\n`;
  const host = report.hosts.find((one) => one.id === wanted);
  if (host !== undefined) return explainHost(host);
  const cluster = report.clusters.find((one) => one.id === wanted);
  if (cluster !== undefined) {
    const vms = cluster.vms.map(({ vm, host: at }) => `  ${vm}${at === '' ? '' : ` on ${at}`}\n`).join('');
    const signs = cluster.signs.map((sign) => `  ${sign}\n`).join('');
    const { meaning } = CONFIDENCE_WORDS[cluster.confidence];
    return `${cluster.id}  ${cluster.text}\n  ${meaning}\n${vms}${signs}  ${cluster.confirm}\n${evidenceLines(cluster.evidence, '  ')}`;
  }
  const tie = report.ties.find((one) => one.id === wanted);
  if (tie !== undefined)
    return `${tie.id}  ${tie.level}: ${tie.text}\n  ${tie.confirm}\n${evidenceLines(tie.evidence, '  ')}`;
  const loss = report.losses.find((one) => one.id === wanted);
  if (loss !== undefined) {
    const named = [
      ...loss.unplaced.map((vm) => `  does not fit: ${vm}\n`),
      ...loss.bound.map((vm) => `  stays down: ${vm}\n`),
    ];
    return `${loss.id}  loss of ${loss.host}: ${loss.text}\n${named.join('')}${evidenceLines(loss.evidence, '  ')}`;
  }
  const rule = [...report.slack, ...report.notes].find((one) => one.id === wanted);
  return rule === undefined ? null : `${rule.id}  ${rule.text}\n${evidenceLines(rule.evidence, '  ')}`;
}

function explainHost(host: ReportHost): string {
  const at = host.cluster === '' ? '' : ` in cluster ${host.cluster}`;
  const moves = host.displaced === 0 ? '' : `  ${counted(host.displaced, 'VM')} of other hosts make room first\n`;
  const part = (title: string, all: readonly ReportReason[]): string =>
    all
      .map(({ text, cure, confirm, evidence }) => {
        const notes = [cure, confirm].filter((line) => line !== '').map((line) => `      ${line}\n`);
        return `  ${title}: ${text}\n${notes.join('')}${evidenceLines(evidence, '      ')}`;
      })
      .join('');
  const vms = host.vms.length === 0 ? '  no running VM is listed here\n' : `  to move: ${host.vms.join(', ')}\n`;
  return `${host.id}  ${host.host}${at}: ${verdictText(host)}\n${vms}${moves}${part('reason', host.reasons)}${part('unknown', host.doubts)}`;
}

function verdictText({ verdict }: ReportHost): string {
  return { can: 'can be drained', cannot: 'cannot be drained', 'not proved': 'not proved to be drainable' }[verdict];
}

/** Formats evidence: `file, tab vDisk, row 12, column Path: value`. */
export function evidenceText({ file, part, row, column, value }: Evidence): string {
  const where = [file, part, row === '' ? '' : `row ${row}`, column].filter((text) => text !== '').join(', ');
  return value === '' ? where : `${where}: ${value}`;
}

function evidenceLines(all: readonly Evidence[], indent: string): string {
  return all.map((one) => `${indent}see ${evidenceText(one)}\n`).join('');
}

function summary({ summary: sum }: Report): string {
  const clusters = [
    `${sum.certain} certain`,
    `${counted(sum.member, 'member')} with peers unseen`,
    `${sum.probable} probable`,
    counted(sum.collision, 'collision'),
  ];
  return (
    `${counted(sum.hosts, 'host')}, ${counted(sum.vms, 'VM')}: ${sum.can} can be drained, ${sum.cannot} cannot, ` +
    `${sum.notProved} not proved\nGuest clusters: ${clusters.join(', ')}\n`
  );
}

function coverage({ coverage: gaps, sources, ignored }: Report): string {
  const platforms = [...new Set(sources.map(({ platform }) => platform))];
  const read = `COVERAGE  ${counted(sources.length, 'file')} of ${platforms.join(', ')}\n`;
  const left = ignored.length === 0 ? '' : `  not an inventory: ${listed(ignored)}\n`;
  // Gaps with the same remedy are listed together.
  const fixes = new Map<string, string[]>();
  for (const { id, text, fix, blocks } of gaps) {
    const lines = fixes.get(fix) ?? [];
    fixes.set(fix, lines);
    lines.push(`  ${id}  ${blocks ? '' : '(note) '}${text}\n`);
  }
  const lines = [...fixes].map(([fix, group]) => `${group.join('')}      ${fix}\n`);
  return `${read}${lines.join('')}${left}`;
}

function hosts({ hosts: all }: Report): string {
  const cannot = all.filter(({ verdict }) => verdict === 'cannot');
  const can = all.filter(({ verdict }) => verdict === 'can');
  const lines = cannot.map(({ id, host, reasons }) => {
    const shown = reasons.slice(0, REASONS_MAX).map(({ text }) => `      ${text}\n`);
    const more =
      reasons.length > REASONS_MAX ? `      and ${reasons.length - REASONS_MAX} more: --explain ${id}\n` : '';
    return `  ${id}  ${host}\n${shown.join('')}${more}`;
  });
  const title = `HOSTS THAT CANNOT BE DRAINED  ${cannot.length}\n`;
  const named =
    can.length === 0
      ? ''
      : `Can be drained: ${listed(
          can.map(({ host }) => host),
          HOSTS_MAX,
        )}\n`;
  return `${title}${lines.join('')}${notProved(all)}${named}`;
}

/** Groups hosts with the same doubts: a missing tab is one doubt for all of them, and is shown with the coverage. */
function notProved(all: readonly ReportHost[]): string {
  const groups = new Map<string, ReportHost[]>();
  for (const host of all) {
    if (host.verdict !== 'not proved') continue;
    const key = doubtLines(host).join('');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [host]);
    else group.push(host);
  }
  return [...groups]
    .map(
      ([lines, group]) =>
        `  not proved: ${listed(
          group.map(({ id, host }) => `${id} ${host}`),
          HOSTS_MAX,
        )}\n${lines}`,
    )
    .join('');
}

function doubtLines({ id, doubts }: ReportHost): readonly string[] {
  const gaps = doubts.flatMap(({ gap }) => (gap === '' ? [] : [gap]));
  const own = doubts.filter(({ gap }) => gap === '');
  return [
    ...(gaps.length === 0 ? [] : [`      coverage: ${gaps.join(', ')}\n`]),
    ...own.slice(0, REASONS_MAX).map(({ text }) => `      ${text}\n`),
    ...(own.length > REASONS_MAX ? [`      and ${own.length - REASONS_MAX} more: --explain ${id}\n`] : []),
  ];
}

function clusters({ clusters: all }: Report): string {
  if (all.length === 0) return '';
  const lines = all.map(({ id, text, signs, confirm, evidence }) => {
    const [first] = evidence;
    const see = first === undefined ? '' : `      see ${evidenceText(first)}\n`;
    return `  ${id}  ${text}\n${signs.map((sign) => `      ${sign}\n`).join('')}${see}      ${confirm}\n`;
  });
  return `GUEST CLUSTERS  ${all.length}\n${lines.join('')}`;
}

function ties({ ties: all, notes }: Report): string {
  if (all.length + notes.length === 0) return '';
  const shown = all.slice(0, TIES_MAX).map(({ id, level, text, host, evidence }) => {
    const [first] = evidence;
    const see = first === undefined ? '' : `      see ${evidenceText(first)}\n`;
    return `  ${id}  ${level}: ${text}${host === '' ? '' : ` (on ${host})`}\n${see}`;
  });
  const more = all.length > TIES_MAX ? `  and ${all.length - TIES_MAX} more: --format json or html\n` : '';
  const noted = notes.slice(0, TIES_MAX).map(({ id, text }) => `  ${id}  note: ${text}\n`);
  return `TIES  ${all.length}\n${shown.join('')}${more}${noted.join('')}`;
}

function losses({ losses: all, slack }: Report): string {
  if (all.length === 0 && slack.length === 0) return '';
  const bad = all.filter(({ verdict, bound }) => verdict === 'not covered' || bound.length > 0);
  const lent = all.filter(({ verdict }) => verdict === 'covered by reserved memory');
  const unproved = all.filter(({ verdict }) => verdict === 'not proved');
  const covered = all.filter(({ verdict }) => verdict === 'covered').length;
  const lines = bad.map(({ id, host, text }) => `  ${id}  ${host}: ${text}\n`);
  const lentLine =
    lent.length === 0 ? '' : `  only by overcommitting memory: ${listed(lent.map(({ host }) => host))}\n`;
  const unprovedLine = unproved.length === 0 ? '' : `  not proved: ${listed(unproved.map(({ host }) => host))}\n`;
  const rules = slack.map(({ id, text }) => `  ${id}  ${text}\n`);
  return `LOSS OF A HOST  covered for ${covered} of ${counted(all.length, 'host')}\n${lines.join('')}${lentLine}${unprovedLine}${rules.join('')}`;
}

function cures({ cures: all }: Report): string {
  if (all.length === 0) return '';
  const lines = all.map(({ text, hosts: touched, frees, freesSoFar, downtimeMin, approvals, gib, cost }) => {
    const needs = [
      downtimeMin === 0 ? 'no downtime' : `${downtimeMin} min of downtime`,
      approvals === 0 ? 'no approval' : counted(approvals, 'approval'),
      gib === 0 ? '' : `${gib} GiB to move`,
      cost,
    ].filter((need) => need !== '');
    return `  ${text}: frees ${frees.length} of ${counted(touched, 'host')} by itself, ${freesSoFar} together with the cures above; ${needs.join(', ')}\n`;
  });
  return `CURES, cheapest first\n${lines.join('')}`;
}
