/**
 * Applies the tidy rules to sources. Pure: the same sources give the same findings, in the order of files, lines and
 * rules.
 */
import type { Exception } from './exceptions.ts';
import type { KnownNames } from './names.ts';
import type { Rule } from './rules.ts';
import type { Source } from './source.ts';

/** A violation, ready to be shown. */
export type Finding = { readonly file: string; readonly line: number; readonly rule: string; readonly message: string };

/** Reports what breaks which rule, except the listed exceptions; exceptions that match nothing are findings too. */
export function checkTidy(
  sources: readonly Source[],
  options: { rules: readonly Rule[]; exceptions: readonly Exception[]; known: KnownNames },
): Finding[] {
  const used = new Set<Exception>();
  const findings: Finding[] = [];
  for (const source of sources) {
    for (const rule of options.rules.filter((each) => each.where(source.path))) {
      for (const { line, name } of rule.find(source, options.known)) {
        const exception = options.exceptions.find((each) => covers(each, { rule: rule.name, file: source.path, name }));
        if (exception !== undefined) used.add(exception);
        else
          findings.push({
            file: source.path,
            line,
            rule: rule.name,
            message: `${name}: ${rule.instead} (${rule.reason})`,
          });
      }
    }
  }
  for (const exception of options.exceptions.filter((each) => !used.has(each))) {
    const message = `no exception from ${exception.rule} is needed any more: remove it`;
    findings.push({ file: exception.file, line: 1, rule: 'unused-exception', message });
  }
  return findings;
}

/** "file:line rule: message". */
export function findingLine(finding: Finding): string {
  return `${finding.file}:${finding.line} ${finding.rule}: ${finding.message}`;
}

function covers(exception: Exception, hit: { rule: string; file: string; name: string }): boolean {
  if (exception.rule !== hit.rule || exception.file !== hit.file) return false;
  return exception.name === undefined || exception.name === hit.name;
}
