/**
 * The frame of the HTML report: style, script and security policy. The policy forbids every load, so that no request
 * leaves the page. The page is complete without its script, which only filters.
 */
import { escaped } from './escape.ts';

/** Colours have a contrast of at least 4.5 to 1 on the page's background, in the light and in the dark scheme. */
const STYLE = `
:root { color-scheme: light dark; --line: #8886; --soft: #555; --page: #fff; --tile: #f4f4f6;
  --cannot: #b3261e; --doubt: #8a5000; --can: #1b6e2c; --tie: #6a1b9a; }
@media (prefers-color-scheme: dark) { :root { --line: #8888; --soft: #b5b5b5; --page: #16171a; --tile: #222429;
  --cannot: #ff8a80; --doubt: #ffb74d; --can: #81c784; --tie: #ce93d8; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1240px; padding: 1rem;
  background: var(--page); overflow-wrap: break-word; }
h1 { font-size: 1.4rem; margin: .3rem 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; border-bottom: 1px solid var(--line); }
a { color: inherit; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; overflow-wrap: anywhere; }
th, td.id, td.short { overflow-wrap: normal; }
td.id, th.id { white-space: nowrap; width: 3.2rem; }
td.short, th.short { width: 7rem; }
td.long, th.long { width: 50%; }
tbody tr { border-bottom: 1px solid var(--line); }
.cannot, .blocks { color: var(--cannot); } .not-proved, .warns { color: var(--doubt); } .can { color: var(--can); }
.see { font-size: .85em; color: var(--soft); overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; padding: 0;
  margin: .6rem 0; list-style: none; }
.tiles li { background: var(--tile); border-radius: .4rem; padding: .4rem .8rem; }
.tiles b { display: block; font-size: 1.3rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
form { position: sticky; top: 0; z-index: 1; background: var(--page); padding: .6rem 0; display: flex;
  gap: .5rem 1rem; flex-wrap: wrap; align-items: center; }
fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem .8rem; }
legend { float: left; color: var(--soft); padding: 0; margin-right: .4rem; }
input[type=search] { flex: 1 1 14rem; max-width: 24rem; padding: .35rem; font: inherit; }
.picture { overflow-x: auto; }
svg { max-width: 100%; height: auto; display: block; } svg text { fill: CanvasText; }
.key { display: inline-block; width: 1.5em; height: .9em; border-radius: 2px; vertical-align: -.1em; }
.box-can { stroke: var(--can); stroke-width: 1.5; }
.box-cannot { stroke: var(--cannot); stroke-width: 3; }
.box-not-proved { stroke: var(--doubt); stroke-width: 2; stroke-dasharray: 5 3; }
.key.box-can { border: 1.5px solid var(--can); } .key.box-cannot { border: 3px solid var(--cannot); }
.key.box-not-proved { border: 2px dashed var(--doubt); }
[hidden] { display: none !important; }
@media screen and (max-width: 700px) {
  body { padding: .6rem; }
  form { position: static; }
  svg { max-width: none; }
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tbody tr { padding: .4rem 0; }
  td, td.id, td.short, td.long { padding: .1rem 0; width: auto; }
  td[data-head]::before { content: attr(data-head) ": "; color: var(--soft); font-size: .85em; }
  td:empty { display: none; }
}
@media print {
  :root { color-scheme: light; --line: #8886; --soft: #444; --page: #fff; --tile: #fff;
    --cannot: #b3261e; --doubt: #8a5000; --can: #1b6e2c; --tie: #6a1b9a; }
  nav, form input, form fieldset { display: none; }
  form { position: static; }
  body { max-width: none; font-size: 11px; padding: 0; }
  svg, .key, circle { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .picture { overflow: visible; } svg { max-width: 100%; }
  h2 { break-after: avoid; } li, svg { break-inside: avoid; } thead { display: table-header-group; }
}`;

const SCRIPT = `
const search = document.querySelector('input[type=search]');
const boxes = [...document.querySelectorAll('input[type=checkbox]')];
const rows = [...document.querySelectorAll('[data-row]')];
const told = document.querySelector('output');
const texts = rows.map((row) => row.textContent.toLowerCase());
const apply = () => {
  const words = search.value.toLowerCase().split(/\\s+/).filter((word) => word !== '');
  const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let count = 0;
  rows.forEach((row, at) => {
    const kind = row.dataset.row;
    const fits = words.every((word) => texts[at].includes(word)) && (kind === '' || shown.has(kind));
    row.toggleAttribute('hidden', !fits);
    if (fits) count += 1;
  });
  for (const table of document.querySelectorAll('table'))
    table.toggleAttribute('hidden', table.querySelector('[data-row]:not([hidden])') === null);
  const without = boxes.filter((box) => !box.checked).map((box) => box.value);
  told.textContent = count === rows.length ? '' : count + ' of ' + rows.length + ' rows are shown' +
    (words.length === 0 ? '' : ', with: ' + words.join(' ')) +
    (without.length === 0 ? '' : ', without: ' + without.join(', '));
};
search.addEventListener('input', apply);
for (const box of boxes) box.addEventListener('change', apply);
document.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
apply();`;

const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** A part of the page: `id` is what the navigation jumps to. */
export interface PagePart {
  readonly id: string;
  readonly title: string;
  /** Markup. */
  readonly body: string;
}

/** Values of `data-row` that a checkbox can hide, by the word before the checkboxes. */
const FILTERS = { Hosts: ['cannot', 'not proved', 'can'], Ties: ['blocks', 'warns', 'informs'] } as const;

/** Returns the page; `title` is text, `head` is markup that stands below the title. */
export function pageOf(title: string, head: string, parts: readonly PagePart[]): string {
  const links = parts.map(({ id, title: name }) => `<a href="#${id}">${escaped(name)}</a>`).join('\n');
  const boxes = Object.entries(FILTERS).map(([name, values]) => {
    const inputs = values.map((value) => `<label><input type="checkbox" value="${value}" checked> ${value}</label>`);
    return `<fieldset><legend>${name}:</legend>${inputs.join(' ')}</fieldset>`;
  });
  const sections = parts.map(
    ({ id, title: name, body }) => `<section id="${id}"><h2>${escaped(name)}</h2>${body}</section>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
${head}
<nav aria-label="Parts of the report">${links}</nav>
<form role="search"><input type="search" placeholder="Search hosts, VMs, reasons" aria-label="Search">
${boxes.join('\n')}<output class="see"></output></form>
<main>
${sections.join('\n')}
</main>
<script>${SCRIPT}</script></body></html>
`;
}
