/**
 * Writes a report as one HTML file: a table per part of the report, and a picture. A printout shows what is filtered.
 */
import { counted } from '../../base/counted.ts';
import { escaped } from './escape.ts';
import { type PagePart, pageOf } from './html-page.ts';
import { pictureOf } from './picture.ts';
import type { Report, ReportGap, ReportHost, ReportReason } from './report.ts';
import { evidenceText } from './text.ts';
import { CONFIDENCE_WORDS } from './words.ts';

/** Returns the page. */
export function reportHtml(report: Report): string {
  const { summary: sum } = report;
  const title = `${counted(sum.hosts, 'host')}, ${counted(sum.vms, 'VM')}: ${sum.cannot} cannot be drained, ${sum.notProved} not proved`;
  return pageOf(title, tiles(report), [
    coverage(report),
    { id: 'picture', title: 'Picture', body: pictureOf(report) },
    hosts(report),
    clusters(report),
    ties(report),
    losses(report),
    cures(report),
  ]);
}

function tiles({ summary: sum }: Report): string {
  const tile = (count: number, one: string, many: string, kind?: string): string =>
    `<li${kind === undefined || count === 0 ? '' : ` class="${kind}"`}><b>${count}</b>${count === 1 ? one : many}</li>`;
  return `<ul class="tiles">${[
    tile(sum.cannot, 'host cannot be drained', 'hosts cannot be drained', 'cannot'),
    tile(sum.notProved, 'host is not proved', 'hosts are not proved', 'not-proved'),
    tile(sum.can, 'host can be drained', 'hosts can be drained', 'can'),
    tile(sum.blockingTies, 'tie blocks a move', 'ties block a move'),
    tile(sum.certain, 'certain guest cluster', 'certain guest clusters'),
    tile(sum.member, 'member, peers unseen', 'members, peers unseen'),
    tile(sum.probable, 'probable guest cluster', 'probable guest clusters'),
    tile(sum.collision, 'collision of disks', 'collisions of disks'),
    tile(sum.notCovered, 'host whose loss is not covered', 'hosts whose loss is not covered'),
  ].join('')}</ul>`;
}

/** A column: its heading, and how much of the width it may take. */
type Column = readonly [heading: string, width?: 'id' | 'short' | 'long'];

interface Row {
  /** A value that a checkbox of the page can hide; empty: always shown. */
  readonly kind: string;
  /** Markup per column. */
  readonly cells: readonly string[];
  readonly id?: string;
}

function table(columns: readonly Column[], rows: readonly Row[]): string {
  if (rows.length === 0) return '<p>none</p>';
  const named = ([, width]: Column): string => (width === undefined ? '' : ` class="${width}"`);
  const head = columns.map((column) => `<th scope="col"${named(column)}>${escaped(column[0])}</th>`).join('');
  const lines = rows.map(({ kind, cells, id }) => {
    const line = columns.map((column, at) => {
      const label = column[0] === '' ? '' : ` data-head="${escaped(column[0])}"`;
      return `<td${named(column)}${label}>${cells[at] ?? ''}</td>`;
    });
    return `<tr data-row="${escaped(kind)}"${id === undefined ? '' : ` id="${escaped(id)}"`}>${line.join('')}</tr>`;
  });
  return `<table><thead><tr>${head}</tr></thead><tbody>${lines.join('\n')}</tbody></table>`;
}

/** Marks commands, which texts have between backticks. */
function withCode(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

function see(all: ReportReason['evidence']): string {
  return all.map((one) => `<div class="see">${escaped(evidenceText(one))}</div>`).join('');
}

/** Gaps with one remedy are one row. */
function coverage({ coverage: gaps, sources, ignored }: Report): PagePart {
  const groups = new Map<string, ReportGap[]>();
  for (const gap of gaps) {
    const key = JSON.stringify([gap.platform, gap.blocks, gap.fix]);
    const group = groups.get(key) ?? [];
    groups.set(key, group);
    group.push(gap);
  }
  const rows = [...groups.values()].flatMap((group): readonly Row[] => {
    const [first] = group;
    if (first === undefined) return [];
    const texts = group.map(({ id, text }) => `<li id="${id}">${id}: ${escaped(text)}</li>`).join('');
    const effect = first.blocks ? 'hosts are not proved because of it' : 'note';
    return [{ kind: '', cells: [escaped(first.platform), `<ul>${texts}</ul>`, withCode(first.fix), effect] }];
  });
  const platforms = [...new Set(sources.map(({ platform }) => platform))];
  const read = platforms.map((platform) => {
    const files = sources.filter((one) => one.platform === platform).map(({ file }) => file);
    return `${platform}: ${files.slice(0, FILES_MAX).join(', ')}${files.length > FILES_MAX ? ` and ${files.length - FILES_MAX} more` : ''}`;
  });
  const left = ignored.length === 0 ? '' : `<p class="see">Not an inventory: ${escaped(ignored.join(', '))}</p>`;
  const body = `${read.map((line) => `<p class="see">${escaped(line)}</p>`).join('')}${left}`;
  const columns = [['platform', 'short'], ['what is missing', 'long'], ['what to do'], ['effect', 'short']] as const;
  return { id: 'coverage', title: 'Coverage', body: `${body}${table(columns, rows)}` };
}

/** The most files that are named per platform. */
const FILES_MAX = 40;

function hosts({ hosts: all }: Report): PagePart {
  const order = ['cannot', 'not proved', 'can'];
  const sorted = all.toSorted((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict));
  const rows = sorted.map((host) => ({
    kind: host.verdict,
    id: host.id,
    cells: [host.id, escaped(host.host), escaped(host.cluster), verdict(host), reasons(host)],
  }));
  const columns = [['', 'id'], ['host'], ['cluster'], ['drain', 'short'], ['why', 'long']] as const;
  return { id: 'hosts', title: 'Hosts that cannot be drained, and the others', body: table(columns, rows) };
}

function verdict({ verdict: word, vms }: ReportHost): string {
  const moves = vms.length === 0 ? 'no running VM listed' : `${counted(vms.length, 'VM')} to move`;
  return `<strong class="${word.replace(' ', '-')}">${word}</strong><div class="see">${moves}</div>`;
}

function reasons({ reasons: all, doubts, displaced }: ReportHost): string {
  const gaps = [...new Set(doubts.flatMap(({ gap }) => (gap === '' ? [] : [gap])))];
  const links = gaps.map((gap) => `<a href="#${gap}">${gap}</a>`).join(', ');
  const items = [
    ...[...all, ...doubts.filter(({ gap }) => gap === '')].map(
      ({ text, evidence }) => `<li>${escaped(text)}${see(evidence)}</li>`,
    ),
    ...(links === '' ? [] : [`<li>missing in the export: ${links}</li>`]),
    ...(displaced === 0 ? [] : [`<li>${counted(displaced, 'VM')} of other hosts make room first</li>`]),
  ];
  return items.length === 0 ? '' : `<ul>${items.join('')}</ul>`;
}

function clusters({ clusters: all }: Report): PagePart {
  const rows = all.map(({ id, confidence, text, vms, signs, confirm, evidence }) => {
    const members = vms
      .map(({ vm, host }) => `<li>${escaped(vm)}${host === '' ? '' : ` on ${escaped(host)}`}</li>`)
      .join('');
    const told = signs.map((sign) => `<li>${escaped(sign)}</li>`).join('');
    const meaning = `<div class="see">${escaped(`${CONFIDENCE_WORDS[confidence].meaning} ${confirm}`)}</div>`;
    const finding = `${escaped(text)}${meaning}${told === '' ? '' : `<ul>${told}</ul>`}${see(evidence)}`;
    return { kind: '', id, cells: [id, finding, `<ul>${members}</ul>`] };
  });
  return { id: 'clusters', title: 'Guest clusters', body: table([['', 'id'], ['finding', 'long'], ['VMs']], rows) };
}

function ties({ ties: all, notes }: Report): PagePart {
  const rows = all.map(({ id, level, text, host, confirm, evidence }) => ({
    kind: level,
    id,
    cells: [
      id,
      `<span class="${level}">${level}</span>`,
      `${escaped(text)}<div class="see">${escaped(confirm)}</div>${see(evidence)}`,
      escaped(host),
    ],
  }));
  const told = notes.map(({ id, text, evidence }) => ({
    kind: '',
    id,
    cells: [id, 'note', `${escaped(text)}${see(evidence)}`, ''],
  }));
  const columns = [['', 'id'], ['effect', 'short'], ['what', 'long'], ['host']] as const;
  return { id: 'ties', title: 'Ties', body: table(columns, [...rows, ...told]) };
}

function losses({ losses: all, slack }: Report): PagePart {
  const rows = all.map(({ id, host, cluster, verdict: word, text }) => ({
    kind: '',
    id,
    cells: [id, escaped(host), escaped(cluster), escaped(word), escaped(text)],
  }));
  const rules = slack.map(({ id, text, evidence }) => ({
    kind: '',
    id,
    cells: [id, '', '', 'rule', `${escaped(text)}${see(evidence)}`],
  }));
  const columns = [['', 'id'], ['host'], ['cluster'], ['verdict', 'short'], ['what happens', 'long']] as const;
  return { id: 'losses', title: 'Loss of a host', body: table(columns, [...rows, ...rules]) };
}

function cures({ cures: all }: Report): PagePart {
  const isPriced = all.some(({ cost }) => cost !== '');
  const rows = all.map((cure) => ({
    kind: '',
    cells: [
      escaped(cure.text),
      `${cure.frees.length} of ${cure.hosts}`,
      String(cure.freesSoFar),
      String(cure.downtimeMin),
      String(cure.approvals),
      String(cure.gib),
      ...(isPriced ? [escaped(cure.cost)] : []),
    ],
  }));
  const columns: readonly Column[] = [
    ['what', 'long'],
    ['frees by itself', 'short'],
    ['with the cures above', 'short'],
    ['minutes of downtime', 'short'],
    ['approvals', 'short'],
    ['GiB to move', 'short'],
    ...(isPriced ? ([['cost', 'short']] as const) : []),
  ];
  return { id: 'cures', title: 'Cures, cheapest first', body: table(columns, rows) };
}
