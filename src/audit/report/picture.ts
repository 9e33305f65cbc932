/** Draws hosts as boxes with their VMs as dots, and lines between the members of guest clusters. */
import { escaped } from './escape.ts';
import type { Report, ReportHost } from './report.ts';

const COLUMNS = 10;
const WIDTH = 112;
const DOT = 9;
const DOTS_PER_ROW = 10;
/** The most dots of VMs without ties; all other VMs are drawn. */
const PLAIN_DOTS_MAX = 4000;
const HOSTS_MAX = 1200;
const NAME_MAX = 16;
const GAP = 8;
/** How far the arcs between members hang below them, for neighbouring clusters. */
const ARC_MIN = 14;
const ARC_STEP = 9;
const ARC_DEPTHS = 5;
/** Room for the thickest line around a box. */
const MARGIN = 2;

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Returns an SVG, or a sentence if there is nothing to draw, or too much. */
export function pictureOf(report: Report): string {
  const { hosts } = report;
  if (hosts.length === 0) return '<p>No host is in the files.</p>';
  if (hosts.length > HOSTS_MAX)
    return `<p>${hosts.length} hosts are too many for a picture; the tables below have all.</p>`;
  const tied = new Set(report.ties.filter(({ level }) => level === 'blocks').map(({ vm, host }) => `${host}\n${vm}`));
  const members = new Set(report.clusters.flatMap(({ vms }) => vms.map(({ vm, host }) => `${host}\n${vm}`)));
  const count = hosts.reduce((sum, { vms }) => sum + vms.length, 0);
  const places = new Map<string, Point>();
  let y = MARGIN;
  const drawn: string[] = [];
  for (let first = 0; first < hosts.length; first += COLUMNS) {
    const line = hosts.slice(first, first + COLUMNS);
    let height = 0;
    for (const [column, host] of line.entries()) {
      const marked = host.vms.filter((vm) => tied.has(`${host.host}\n${vm}`) || members.has(`${host.host}\n${vm}`));
      const vms = count > PLAIN_DOTS_MAX ? marked : host.vms;
      const box = hostBox(host, vms, { x: MARGIN + column * (WIDTH + GAP), y }, tied, places);
      drawn.push(box.text);
      height = Math.max(height, box.height);
    }
    y += height + GAP;
  }
  y += ARC_MIN + ARC_DEPTHS * ARC_STEP;
  const lines = report.clusters.map(({ id, vms }, number) =>
    clusterLine(
      id,
      number,
      vms.map(({ vm, host }) => places.get(`${host}\n${vm}`)),
    ),
  );
  const width = Math.min(hosts.length, COLUMNS) * (WIDTH + GAP) + MARGIN;
  const label = `${hosts.length} hosts with their VMs; the tables below say the same in words`;
  const left = count > PLAIN_DOTS_MAX ? ONLY_MARKED : '';
  return `${LEGEND}${left}<div class="picture"><svg width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" role="img" aria-label="${label}">${drawn.join('')}${lines.join('')}</svg></div>`;
}

const LEGEND = `<p class="see">A box is a host: <span class="key box-can"></span> can be drained,
<span class="key box-not-proved"></span> not proved, <span class="key box-cannot"></span> cannot be drained.
A dot is a VM that runs, a full dot a VM with a tie that blocks. A line connects the members of a guest cluster.</p>`;

const ONLY_MARKED =
  '<p class="see">VMs without a tie that blocks and without a guest cluster are left out of the picture.</p>';

/** Returns a host's name without its domain, shortened to the width of a box. */
function shortName(host: string): string {
  const name = /^[\d.]+$/.test(host) ? host : (host.split('.')[0] ?? host);
  return name.length > NAME_MAX ? `${name.slice(0, NAME_MAX - 1)}…` : name;
}

function hostBox(
  { id, host, verdict }: ReportHost,
  vms: readonly string[],
  { x, y }: Point,
  tied: ReadonlySet<string>,
  places: Map<string, Point>,
): { readonly text: string; readonly height: number } {
  const height = 22 + Math.ceil(vms.length / DOTS_PER_ROW) * (DOT + 1) + 4;
  const dots = vms.map((vm, index) => {
    const at = {
      x: x + 8 + (index % DOTS_PER_ROW) * (DOT + 1),
      y: y + 26 + Math.floor(index / DOTS_PER_ROW) * (DOT + 1),
    };
    places.set(`${host}\n${vm}`, at);
    const fill = tied.has(`${host}\n${vm}`) ? 'var(--tie)' : 'none';
    return `<circle cx="${at.x}" cy="${at.y}" r="3.5" fill="${fill}" stroke="currentColor" stroke-width=".6"><title>${escaped(vm)}</title></circle>`;
  });
  const box = `<rect x="${x}" y="${y}" width="${WIDTH}" height="${height}" rx="3" fill="none" class="box-${verdict.replace(' ', '-')}"/>`;
  const label = `<text x="${x + 5}" y="${y + 15}" font-size="11">${escaped(shortName(host))}</text>`;
  return {
    text: `<g><title>${escaped(`${id} ${host}: ${verdict}`)}</title>${box}${label}${dots.join('')}</g>`,
    height,
  };
}

/** Each cluster's arcs have a depth of their own, so that clusters over the same hosts can be told apart. */
function clusterLine(id: string, number: number, points: readonly (Point | undefined)[]): string {
  const known = points.filter((point) => point !== undefined).toSorted((a, b) => a.x - b.x || a.y - b.y);
  if (known.length < 2) return '';
  const depth = ARC_MIN + (number % ARC_DEPTHS) * ARC_STEP;
  const arcs = known.slice(1).map((to, index) => {
    const from = known[index] ?? to;
    return `Q${(from.x + to.x) / 2} ${Math.max(from.y, to.y) + depth} ${to.x} ${to.y}`;
  });
  const path = `M${known[0]?.x} ${known[0]?.y}${arcs.join('')}`;
  return `<path d="${path}" fill="none" stroke="var(--tie)" stroke-width="1.2"><title>${escaped(id)}</title></path>`;
}
