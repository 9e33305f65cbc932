/** `gp audit`: what the exports of another platform say about its hosts. It needs no cluster. */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { AuditOutcome } from '../../audit/audit.ts';
import { PLATFORMS, type Platform } from '../../audit/estate/estate.ts';
import type { Prices } from '../../audit/findings/cures.ts';
import type { Report } from '../../audit/report/report.ts';
import { CodedError } from '../../base/errors.ts';
import { printableLines } from '../../base/printable.ts';
import type { Io } from '../io.ts';

interface AuditCommandOptions {
  readonly from: Platform | 'auto';
  readonly format: 'text' | 'json' | 'html' | 'csv';
  readonly out?: string;
  readonly costs?: string;
  readonly redact?: boolean;
  readonly hints?: boolean;
  readonly explain?: string;
  readonly failOn?: 'undrainable' | 'cluster';
}

const UNREADABLE = 2;

/** Adds `gp audit`. */
export function addAuditCommand(program: Command, io: Io): void {
  program
    .command('audit')
    .description('find out which hosts of another platform cannot be taken out of service, from what it exports')
    .argument('<path...>', 'exported files, or directories of them; several formats at once')
    .addOption(new Option('--from <platform>', 'read as').choices(['auto', ...PLATFORMS]).default('auto'))
    .addOption(
      new Option('--format <format>', 'form of the report').choices(['text', 'json', 'html', 'csv']).default('text'),
    )
    .option('--out <file>', 'write the report to a file instead of printing it')
    .option('--costs <file>', 'prices of approvals, downtime and data (docs/operating/audit.md)')
    .option('--redact', 'replace names, addresses and notes, consistently')
    .option('--hints', 'also show groups of VMs about which too little is known')
    .option('--explain <id>', 'print everything about one finding, such as H3 or C1')
    .addOption(
      new Option('--fail-on <what>', 'exit with 1 only for findings of this kind').choices(['undrainable', 'cluster']),
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 nothing found, 1 findings, 2 wrong use or unreadable file, 3 coverage too low to say.',
    )
    .action((paths: string[], options: AuditCommandOptions) => run(io, paths, options));
}

async function run(io: Io, paths: readonly string[], options: AuditCommandOptions): Promise<void> {
  const { audit, exitCodeOf } = await import('../../audit/audit.ts');
  const outcome = await audit({
    paths,
    cwd: io.cwd,
    from: options.from === 'auto' ? null : options.from,
    redact: options.redact ?? false,
    hints: options.hints ?? false,
    prices: options.costs === undefined ? null : await readPrices(resolve(io.cwd, options.costs)),
  });
  if (outcome.kind === 'unreadable') return tellUnreadable(io, outcome);
  const text = await rendered(outcome.report, options);
  if (options.out === undefined) io.out(text);
  else writeReport(resolve(io.cwd, options.out), text);
  io.setExitCode(exitCodeOf(outcome.report, options.failOn ?? null));
}

function writeReport(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw new CodedError('bad-input', `The file of --out cannot be written${code}; the report is lost.`, {
      advice: 'Name a file in a directory that exists and may be written to.',
      cause: error,
    });
  }
}

function tellUnreadable(io: Io, { problems }: Extract<AuditOutcome, { kind: 'unreadable' }>): void {
  for (const { file, problem, fix } of problems)
    io.err(printableLines(`gp: ${file} cannot be read: ${problem}. ${fix}\n`));
  io.err('gp: No report was made, since a part of the estate would be missing in it.\n');
  io.setExitCode(UNREADABLE);
}

async function rendered(report: Report, { format, explain }: AuditCommandOptions): Promise<string> {
  const { explainText, reportText } = await import('../../audit/report/text.ts');
  if (explain !== undefined) {
    const text = explainText(report, explain);
    if (text !== null) return text;
    throw new CodedError('bad-input', `There is no finding ${JSON.stringify(explain.slice(0, 20))} in this report.`, {
      advice: 'Each finding has its ID in front of it; hints are numbered only with --hints.',
    });
  }
  if (format === 'json') return `${JSON.stringify(report, null, 1)}\n`;
  if (format === 'csv') return (await import('../../audit/report/csv.ts')).reportCsv(report);
  if (format === 'html') return (await import('../../audit/report/html.ts')).reportHtml(report);
  return reportText(report);
}

async function readPrices(path: string): Promise<Prices> {
  const { pricesOf } = await import('../../audit/report/costs.ts');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new CodedError('bad-input', 'The file of --costs cannot be read.', {
      advice: 'Check the path and the permissions.',
      cause: error,
    });
  }
  const prices = pricesOf(text);
  if (typeof prices !== 'string') return prices;
  throw new CodedError('bad-input', `The file of --costs cannot be used: ${prices}.`, {
    advice: 'docs/operating/audit.md shows one.',
  });
}
