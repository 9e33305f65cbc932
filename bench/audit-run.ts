/**
 * One measurement of `npm run bench -- audit`, in a process of its own so that its memory is its own: `node
 * bench/audit-run.ts PATH` makes the report as the command does and prints one JSON object.
 */
import { audit } from '../src/audit/audit.ts';
import { reportText } from '../src/audit/report/text.ts';

/** The JSON object that the process prints. */
export interface AuditRun {
  /** Milliseconds since the process started. */
  readonly totalMs: number;
  /** Processor time of all threads. */
  readonly cpuMs: number;
  readonly peakRssMib: number;
  readonly reportBytes: number;
  readonly hosts: number;
  readonly vms: number;
  readonly certain: number;
  readonly cannot: number;
  readonly can: number;
}

const [path = '.'] = process.argv.slice(2);
const outcome = await audit({ paths: [path], cwd: '/', from: null, redact: false, hints: false, prices: null });
if (outcome.kind !== 'report') throw new Error(JSON.stringify(outcome.problems));
const { summary } = outcome.report;
const { user, system } = process.cpuUsage();
const result: AuditRun = {
  reportBytes: reportText(outcome.report).length,
  totalMs: Math.round(performance.now()),
  cpuMs: Math.round((user + system) / 1000),
  peakRssMib: Math.round(process.resourceUsage().maxRSS / 1024),
  hosts: summary.hosts,
  vms: summary.vms,
  certain: summary.certain,
  cannot: summary.cannot,
  can: summary.can,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
