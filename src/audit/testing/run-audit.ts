/** Runs audits in tests: of the kept inventories, or of files in a temporary directory. */
import { strict as assert } from 'node:assert';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type AuditOptions, type AuditOutcome, audit } from '../audit.ts';
import type { Report, ReportHost } from '../report/report.ts';

/** The directory of the kept inventories. */
export const INVENTORIES = join(import.meta.dirname, 'inventories');

const DEFAULTS = { from: null, redact: false, hints: false, prices: null } as const;

/** Audits paths below `cwd` and returns the outcome. */
export function auditPaths(
  cwd: string,
  paths: readonly string[],
  more: Partial<AuditOptions> = {},
): Promise<AuditOutcome> {
  return audit({ paths, cwd, ...DEFAULTS, ...more });
}

/** Returns the report about paths below `cwd`; fails if there is none. */
export async function reportOf(
  cwd: string,
  paths: readonly string[],
  more: Partial<AuditOptions> = {},
): Promise<Report> {
  const outcome = await auditPaths(cwd, paths, more);
  assert.equal(outcome.kind, 'report', JSON.stringify(outcome).slice(0, 500));
  return outcome.kind === 'report' ? outcome.report : assert.fail();
}

/** Contents of files by name. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

/** Writes files to a new directory, passes it to `work`, and removes it. */
export async function withFiles<T>(files: Files, work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'gp-audit-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), content);
    }
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Returns the report about files. */
export function reportOfFiles(files: Files, more: Partial<AuditOptions> = {}): Promise<Report> {
  return withFiles(files, (directory) => reportOf(directory, ['.'], more));
}

/** Returns the finding about a host. */
export function hostIn(report: Report, name: string): ReportHost {
  const host = report.hosts.find((one) => one.host === name);
  assert.ok(host, `host ${name} is not in the report`);
  return host;
}

/** Returns the confidence of each guest cluster, in order. */
export function confidences(report: Report): readonly string[] {
  return report.clusters.map(({ confidence }) => confidence);
}
