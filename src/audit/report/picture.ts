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
const COLOURS = { can: 'var(--can)', cannot: 'var(--cannot)', 'not proved': 'var(--doubt)' } as const;

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
  let y = 0;
  const drawn: string[] = [];
  for (let first = 0; first < hosts.length; first += COLUMNS) {
    const line = hosts.slice(first, first + COLUMNS);
    let height = 0;
    for (const [column, host] of line.entries()) {
      const marked = host.vms.filter((vm) => tied.has(`${host.host}\n${vm}`) || members.has(`${host.host}\n${vm}`));
      const vms = count > PLAIN_DOTS_MAX ? marked : host.vms;
      const box = hostBox(host, vms, { x: column * (WIDTH + 8), y }, tied, places);
      drawn.push(box.text);
      height = Math.max(height, box.height);
    }
    y += height + 8;
  }
  const lines = report.clusters.map(({ id, vms }) =>
    clusterLine(
      id,
      vms.map(({ vm, host }) => places.get(`${host}\n${vm}`)),
    ),
  );
  const legend =
    '<p class="see">Box: a host, green can be drained, amber not proved, red cannot. Full dot: a VM that is tied. Line: a guest cluster.</p>';
  return `${legend}<svg viewBox="0 0 ${COLUMNS * (WIDTH + 8)} ${y}" role="img" aria-label="hosts and VMs">${drawn.join('')}${lines.join('')}</svg>`;
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
  const name = host.length > 15 ? `${host.slice(0, 14)}…` : host;
  const box = `<rect x="${x}" y="${y}" width="${WIDTH}" height="${height}" rx="3" fill="none" stroke="${COLOURS[verdict]}" stroke-width="2"/>`;
  const label = `<text x="${x + 5}" y="${y + 15}" font-size="11">${escaped(name)}</text>`;
  return {
    text: `<g><title>${escaped(`${id} ${host}: ${verdict}`)}</title>${box}${label}${dots.join('')}</g>`,
    height,
  };
}

function clusterLine(id: string, points: readonly (Point | undefined)[]): string {
  const known = points.filter((point) => point !== undefined);
  if (known.length < 2) return '';
  const path = known.map(({ x, y }) => `${x},${y}`).join(' ');
  return `<polyline points="${path}" fill="none" stroke="var(--tie)" stroke-width="1.2"><title>${escaped(id)}</title></polyline>`;
}
