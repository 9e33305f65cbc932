/** Writes the tickets of a report as CSV. A cell that a spreadsheet would evaluate as a formula is written as text. */
import type { Report } from './report.ts';

const HEADER = 'ticket_key,host,vm,owner,reason,evidence,cure,downtime_min,approvals,gib,cost,confidence,also_frees';

/** Returns one line per host and reason. */
export function reportCsv({ tickets }: Report): string {
  const lines = tickets.map((ticket) =>
    [
      ticket.ticketKey,
      ticket.host,
      ticket.vm,
      ticket.owner,
      ticket.reason,
      ticket.evidence,
      ticket.cure,
      String(ticket.downtimeMin),
      String(ticket.approvals),
      String(ticket.gib),
      ticket.cost,
      ticket.confidence,
      ticket.alsoFrees.join(' '),
    ]
      .map(cell)
      .join(','),
  );
  return `${[HEADER, ...lines].join('\r\n')}\r\n`;
}

function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
