/**
 * Writes a report as one HTML file: nothing is loaded from elsewhere, and the page's content security policy forbids
 * loading. The page is complete without its script, which only filters; a printout shows the filtered page.
 */
import { escaped } from './escape.ts';
import { pictureOf } from './picture.ts';
import type { Report, ReportHost, ReportReason } from './report.ts';
import { counted } from './sentences.ts';
import { evidenceText } from './text.ts';
import { CONFIDENCE_WORDS } from './words.ts';

const STYLE = `
:root { color-scheme: light dark; --line: #8886; --cannot: #c62828; --doubt: #b26a00; --can: #2e7d32; --tie: #6a1b9a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .5rem; }
tr { border-bottom: 1px solid var(--line); } td:first-child { white-space: nowrap; }
.cannot, .blocks { color: var(--cannot); } .not-proved, .warns { color: var(--doubt); } .can { color: var(--can); }
.see { font-size: .85em; opacity: .75; overflow-wrap: anywhere; } ul { margin: 0; padding-left: 1.1rem; }
form { position: sticky; top: 0; background: Canvas; padding: .5rem 0; display: flex; gap: 1rem; flex-wrap: wrap; }
input[type=search] { min-width: 18rem; padding: .3rem; } svg { width: 100%; height: auto; } svg text { fill: CanvasText; }
[hidden] { display: none; }
@media print { form { display: none; } body { max-width: none; font-size: 11px; } tr { break-inside: avoid; } }`;

const SCRIPT = `
const search = document.querySelector('input[type=search]');
const boxes = [...document.querySelectorAll('input[type=checkbox]')];
const rows = [...document.querySelectorAll('[data-row]')];
const apply = () => {
  const words = search.value.toLowerCase().split(/\\s+/).filter((word) => word !== '');
  const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const kind = row.dataset.row;
    row.toggleAttribute('hidden', !words.every((word) => text.includes(word)) || (kind !== '' && !shown.has(kind)));
  }
};
search.addEventListener('input', apply);
for (const box of boxes) box.addEventListener('change', apply);
document.querySelector('form').addEventListener('submit', (event) => event.preventDefault());`;

const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** Returns the page. */
export function reportHtml(report: Report): string {
  const { summary: sum } = report;
  const title = `${counted(sum.hosts, 'host')}, ${counted(sum.vms, 'VM')}: ${sum.cannot} cannot be drained, ${sum.notProved} not proved`;
  const parts = [
    coverage(report),
    picture(report),
    hosts(report),
    clusters(report),
    ties(report),
    losses(report),
    cures(report),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
<form><input type="search" placeholder="Search hosts, VMs, reasons" aria-label="Search">
${['cannot', 'not proved', 'can'].map(checkbox).join('')}${['blocks', 'warns', 'informs'].map(checkbox).join('')}</form>
${parts.join('\n')}
<script>${SCRIPT}</script></body></html>
`;
}

function checkbox(value: string): string {
  return `<label><input type="checkbox" value="${value}" checked> ${value}</label>`;
}

function section(title: string, body: string): string {
  return `<section><h2>${escaped(title)}</h2>${body}</section>`;
}

function table(head: readonly string[], rows: readonly string[]): string {
  if (rows.length === 0) return '<p>none</p>';
  const cells = head.map((name) => `<th>${escaped(name)}</th>`).join('');
  return `<table><thead><tr>${cells}</tr></thead><tbody>${rows.join('\n')}</tbody></table>`;
}

function row(kind: string, cells: readonly string[]): string {
  return `<tr data-row="${escaped(kind)}">${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

function see(all: ReportReason['evidence']): string {
  return all.map((one) => `<div class="see">${escaped(evidenceText(one))}</div>`).join('');
}

function coverage({ coverage: gaps, sources, ignored }: Report): string {
  const rows = gaps.map(({ id, platform, text, fix, blocks }) =>
    row('', [
      id,
      escaped(platform),
      `${escaped(text)}<div class="see">${escaped(fix)}</div>`,
      blocks ? 'keeps hosts from being proved' : 'note',
    ]),
  );
  const files = sources.map(({ platform, file }) => `${platform}: ${file}`).join(', ');
  const left = ignored.length === 0 ? '' : `<p class="see">Not an inventory: ${escaped(ignored.join(', '))}</p>`;
  return section(
    'Coverage',
    `<p class="see">${escaped(files)}</p>${left}${table(['', 'platform', 'what is missing', 'effect'], rows)}`,
  );
}

function picture(report: Report): string {
  return section('Hosts, VMs and what ties them', pictureOf(report));
}

function hosts({ hosts: all }: Report): string {
  const order = ['cannot', 'not proved', 'can'];
  const sorted = all.toSorted((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict));
  const rows = sorted.map((host) =>
    row(host.verdict, [host.id, escaped(host.host), escaped(host.cluster), verdict(host), reasons(host)]),
  );
  return section('Hosts that cannot be drained', table(['', 'host', 'cluster', 'drain', 'why'], rows));
}

function verdict({ verdict: word }: ReportHost): string {
  return `<span class="${word.replace(' ', '-')}">${word}</span>`;
}

function reasons({ reasons: all, doubts }: ReportHost): string {
  const items = [...all, ...doubts].map(({ text, evidence }) => `<li>${escaped(text)}${see(evidence)}</li>`);
  return items.length === 0 ? '' : `<ul>${items.join('')}</ul>`;
}

function clusters({ clusters: all }: Report): string {
  const rows = all.map(({ id, confidence, text, vms, signs, confirm, evidence }) => {
    const members = vms
      .map(({ vm, host }) => `<li>${escaped(vm)}${host === '' ? '' : ` on ${escaped(host)}`}</li>`)
      .join('');
    const told = signs.map((sign) => `<li>${escaped(sign)}</li>`).join('');
    const meaning = `<div class="see">${escaped(CONFIDENCE_WORDS[confidence])}. ${escaped(confirm)}</div>`;
    return row('', [id, `${escaped(text)}${meaning}<ul>${told}</ul>${see(evidence)}`, `<ul>${members}</ul>`]);
  });
  return section('Guest clusters', table(['', 'finding', 'VMs'], rows));
}

function ties({ ties: all, notes }: Report): string {
  const rows = all.map(({ id, level, text, host, confirm, evidence }) =>
    row(level, [
      id,
      `<span class="${level}">${level}</span>`,
      `${escaped(text)}<div class="see">${escaped(confirm)}</div>${see(evidence)}`,
      escaped(host),
    ]),
  );
  const told = notes.map(({ id, text, evidence }) => row('', [id, 'note', `${escaped(text)}${see(evidence)}`, '']));
  return section('Ties', table(['', 'effect', 'what', 'host'], [...rows, ...told]));
}

function losses({ losses: all, slack }: Report): string {
  const rows = all.map(({ id, host, cluster, verdict: word, text }) =>
    row('', [id, escaped(host), escaped(cluster), escaped(word), escaped(text)]),
  );
  const rules = slack.map(({ id, text, evidence }) =>
    row('', [id, '', '', 'rule', `${escaped(text)}${see(evidence)}`]),
  );
  return section('Loss of a host', table(['', 'host', 'cluster', 'verdict', 'what happens'], [...rows, ...rules]));
}

function cures({ cures: all }: Report): string {
  const rows = all.map((cure) =>
    row('', [
      escaped(cure.text),
      `${cure.frees.length} of ${cure.hosts}`,
      String(cure.freesSoFar),
      String(cure.downtimeMin),
      String(cure.approvals),
      String(cure.gib),
      escaped(cure.cost),
    ]),
  );
  return section(
    'Cures, cheapest first',
    table(['what', 'frees hosts', 'with all above', 'downtime in minutes', 'approvals', 'GiB to move', 'cost'], rows),
  );
}
