/**
 * Runs `gp audit`: reads exports of other platforms and makes a report about their hosts. Needs no cluster, no network
 * and no privileges.
 */

import type { Platform } from './estate/estate.ts';
import { EstateBuilder } from './estate/estate-builder.ts';
import { withoutTwins } from './estate/twins.ts';
import { analyse } from './findings/analysis.ts';
import type { Prices } from './findings/cures.ts';
import { READERS } from './readers/all-readers.ts';
import { type Document, type Reader, Unreadable } from './readers/document.ts';
import { openFiles } from './readers/formats/open-files.ts';
import { rvtoolsWanted } from './readers/rvtools/rvtools-reader.ts';
import { buildReport } from './report/build-report.ts';
import { PLAIN, Redaction } from './report/naming.ts';
import type { Report } from './report/report.ts';

export interface AuditOptions {
  readonly paths: readonly string[];
  /** The directory to which paths are relative. */
  readonly cwd: string;
  /** The platform whose reader is used; null: every reader sees every file. */
  readonly from: Platform | null;
  readonly redact: boolean;
  readonly hints: boolean;
  readonly prices: Prices | null;
}

/** `unreadable`: there is no verdict about the estate, since a part of it would be missing. */
export type AuditOutcome =
  | { readonly kind: 'report'; readonly report: Report }
  | { readonly kind: 'unreadable'; readonly problems: readonly { file: string; problem: string; fix: string }[] };

/** Reads the files, judges the hosts and makes the report. Throws only on a bug of this program. */
export async function audit(options: AuditOptions): Promise<AuditOutcome> {
  const opened = await openFiles(options.paths, options.cwd, rvtoolsWanted);
  const failures = [...opened.failures];
  const readers = READERS.filter(({ platform }) => options.from === null || platform === options.from);
  const { claimed, unclaimed } = sorted(opened.documents, readers);
  const into = new EstateBuilder();
  for (const [reader, documents] of claimed) {
    try {
      reader.read(documents, into);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      failures.push(error);
    }
  }
  tellOfNoHosts(into);
  if (failures.length === 0 && claimed.size === 0) failures.push(nothingFound(options));
  if (failures.length > 0)
    return {
      kind: 'unreadable',
      problems: failures.map(({ file, message, fix }) => ({ file, problem: message, fix })),
    };
  const estate = withoutTwins(into.estate());
  const report = buildReport(analyse(estate), {
    naming: options.redact ? new Redaction(estate) : PLAIN,
    prices: options.prices,
    withHints: options.hints,
    ignored: [...opened.ignored, ...unclaimed].toSorted(),
  });
  return { kind: 'report', report };
}

/** Hosts outside the files are not reported; a reader that knows which export is missing has already said so. */
function tellOfNoHosts(into: EstateBuilder): void {
  const { sources, gaps, hosts } = into.estate();
  for (const platform of new Set(sources.map((source) => source.platform))) {
    const isTold = gaps.some((gap) => gap.platform === platform && gap.aspect === 'hosts');
    if (isTold || [...hosts.values()].some((host) => host.platform === platform)) continue;
    const fix = 'docs/operating/audit.md says how hosts are exported.';
    into.gap({ platform, group: platform, aspect: 'hosts', kind: 'file', file: '', part: 'a list of hosts', fix });
  }
}

/** Assigns each document to the first reader that claims it. */
function sorted(
  documents: readonly Document[],
  readers: readonly Reader[],
): { claimed: ReadonlyMap<Reader, readonly Document[]>; unclaimed: readonly string[] } {
  const claimed = new Map<Reader, Document[]>();
  const unclaimed: string[] = [];
  for (const document of documents) {
    const reader = readers.find((one) => one.claims(document));
    if (reader === undefined) unclaimed.push(document.file);
    else {
      const own = claimed.get(reader) ?? [];
      claimed.set(reader, own);
      own.push(document);
    }
  }
  return { claimed, unclaimed };
}

function nothingFound({ paths, from }: AuditOptions): Unreadable {
  const what = from === null ? 'an inventory that is known' : `an inventory of ${from}`;
  return new Unreadable(
    paths.join(' '),
    `it holds no file that is ${what}`,
    'docs/operating/audit.md says what to export from each platform.',
  );
}

export type FailOn = 'undrainable' | 'cluster';

/**
 * Returns the exit status: 0 nothing found, 1 findings, 3 coverage too low for a verdict. With `failOn`, only findings
 * of that kind count.
 */
export function exitCodeOf({ summary, ties, slack }: Report, failOn: FailOn | null): 0 | 1 | 3 {
  const clusters = summary.certain + summary.member + summary.probable;
  if (failOn === 'undrainable' && summary.cannot > 0) return 1;
  if (failOn === 'cluster' && clusters > 0) return 1;
  if (failOn === null) {
    const bound = ties.some(({ level }) => level !== 'informs');
    if (summary.cannot + clusters + summary.collision + summary.notCovered + slack.length > 0 || bound) return 1;
  }
  if (failOn === 'cluster') return 0;
  return summary.notProved > 0 || summary.hosts === 0 ? 3 : 0;
}
