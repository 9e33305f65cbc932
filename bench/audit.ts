/** How long `gp audit` takes over 1,000 hosts and 20,000 VMs as RVTools writes them, and over 100,000 rows of CSV. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { csvFiles, rvtoolsTabs, type Tabs } from '../src/audit/testing/seeded/rvtools.ts';
import { makeSeed } from '../src/audit/testing/seeded/seed.ts';
import { type CellStyle, workbook } from '../src/audit/testing/seeded/workbook.ts';
import { run } from '../src/os/child-process.ts';
import type { AuditRun } from './audit-run.ts';
import { atMost, type Bar, type BenchContext, type BenchResult } from './lib/bench.ts';
import { median, summarize } from './lib/stats.ts';

const HOSTS = 1000;
const CSV_ROWS = 100_000;
const DEADLINE_MS = 180_000;
const BARS = { workbookMs: 20_000, workbookMib: 512, csvMs: 2000 };

/** The widest tabs of RVTools 4 have this many columns; no reader uses the added ones. */
const WIDTHS: Readonly<Record<string, number>> = {
  vInfo: 98,
  vMemory: 32,
  vDisk: 48,
  vCD: 22,
  vUSB: 26,
  vNetwork: 30,
  vHost: 72,
  vDatastore: 34,
};
/** Tabs that no reader uses, with their columns and rows per VM. */
const OTHER_TABS = {
  vCPU: 30,
  vPartition: 22,
  vTools: 34,
  vRP: 20,
  vSource: 10,
  vHBA: 12,
  vSC_VMK: 14,
  vSwitch: 22,
  vFileInfo: 8,
  vLicense: 9,
  vHealth: 3,
  vFloppy: 20,
  vCluster: 36,
} as const;

/** `--runs 3`: reports per form of the files. */
export async function auditBench(context: BenchContext): Promise<BenchResult> {
  const runs = context.number('runs', 3);
  const directory = mkdtempSync(join(tmpdir(), 'gp-bench-audit-'));
  context.atEnd(() => rmSync(directory, { recursive: true, force: true }));
  const samples: Record<string, readonly AuditRun[]> = {};
  for (const style of ['shared', 'inline'] as const) {
    const path = join(directory, `${style}.xlsx`);
    writeFileSync(path, wideWorkbook(style));
    samples[`workbook, ${style} texts`] = await measured(context, path, runs);
  }
  samples[`${CSV_ROWS} rows of CSV`] = await measured(context, writeCsv(directory), runs);
  return resultOf(samples);
}

async function measured(context: BenchContext, path: string, runs: number): Promise<readonly AuditRun[]> {
  const found: AuditRun[] = [];
  for (let count = 0; count < runs; count += 1) {
    const script = join(import.meta.dirname, 'audit-run.ts');
    const { stdout } = await run([process.execPath, script, path], { deadlineMs: DEADLINE_MS, signal: context.signal });
    found.push(JSON.parse(stdout) as AuditRun);
    context.say(`${path}: ${stdout.trim()}`);
  }
  return found;
}

function wideWorkbook(style: CellStyle): Uint8Array {
  const seed = makeSeed({ seed: 1, hosts: HOSTS, vmsPerHost: 19, guestClusters: 400, ties: 20 });
  const tabs = Object.entries(rvtoolsTabs(seed)).map(([tab, rows]) => [tab, widened(rows, WIDTHS[tab] ?? 0)] as const);
  const others = Object.entries(OTHER_TABS).map(([tab, width]) => {
    const rows = seed.vms.map(({ name }) => [name]);
    return [tab, widened([['VM'], ...rows], width)] as const;
  });
  return workbook(Object.fromEntries([...tabs, ...others]), style);
}

/** Rows with further columns, as RVTools writes them: half of the columns hold a word, half a number. */
function widened(rows: Tabs[string], width: number): Tabs[string] {
  return rows.map((row, number) => [
    ...row,
    ...Array.from({ length: Math.max(0, width - row.length) }, (_, column) =>
      number === 0
        ? `Extra column ${column}`
        : column % 2 === 0
          ? 'notConfigured'
          : String((number * (column + 7)) % 100_000),
    ),
  ]);
}

/** Tabs of disks, adapters and hosts: `rows` rows in all, spread over all files. */
function writeCsv(directory: string): string {
  const path = join(directory, 'csv');
  const seed = makeSeed({ seed: 2, hosts: HOSTS, vmsPerHost: 18, guestClusters: 100 });
  const tabs = rvtoolsTabs(seed);
  const rows = Object.values(tabs).reduce((sum, all) => sum + all.length - 1, 0);
  const memory = tabs['vMemory'] ?? [];
  const snapshots = Array.from({ length: Math.max(0, CSV_ROWS - rows) }, (_, number) => [
    memory[1 + (number % (memory.length - 1))]?.[0] ?? '',
    `snap${number}`,
    '',
  ]);
  const files = csvFiles({ ...tabs, vSnapshot: [...(tabs['vSnapshot'] ?? []), ...snapshots] });
  mkdirSync(path);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

/**
 * A bar may be missed because the machine was busy, so the line also says what the processors did during the
 * measurement.
 */
function csvBar(name: string, runs: readonly AuditRun[]): Bar {
  const measured = median(runs.map(({ totalMs }) => totalMs));
  const bar = atMost(`${name}: report (median)`, { measured, max: BARS.csvMs, unit: 'ms' });
  const cpuMs = median(runs.map((one) => one.cpuMs));
  const limitedBy = `other work on the machine: ${cpuMs} ms of processor time, load average ${loadavg()[0]?.toFixed(1)}`;
  return bar.reached || cpuMs > measured / 2 ? bar : { ...bar, limitedBy };
}

function resultOf(samples: Readonly<Record<string, readonly AuditRun[]>>): BenchResult {
  const times = (name: string): readonly number[] => (samples[name] ?? []).map(({ totalMs }) => totalMs);
  const peaks = (name: string): readonly number[] => (samples[name] ?? []).map(({ peakRssMib }) => peakRssMib);
  const books = Object.keys(samples).filter((name) => name.startsWith('workbook'));
  const csv = Object.keys(samples).find((name) => name.endsWith('CSV')) ?? '';
  return {
    bars: [
      ...books.map((name) =>
        atMost(`${name}: report (median)`, { measured: median([...times(name)]), max: BARS.workbookMs, unit: 'ms' }),
      ),
      ...books.map((name) =>
        atMost(`${name}: peak memory (largest)`, {
          measured: Math.max(...peaks(name)),
          max: BARS.workbookMib,
          unit: 'MiB',
        }),
      ),
      csvBar(csv, samples[csv] ?? []),
    ],
    summary: Object.fromEntries(Object.keys(samples).map((name) => [name, summarize([...times(name)])])),
    samples,
    method: [
      `${HOSTS} hosts with 20 VMs each as 27 tabs with as many columns as RVTools 4 writes; a process per report, from its start to the text of the report`,
      'Rows of CSV are counted over all files of one export.',
      'Peak memory is the largest resident set of the process.',
    ],
  };
}
