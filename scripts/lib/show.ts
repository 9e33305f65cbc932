/** What the checks print: short lines while they run, failures in full at the end, the count last. */
import type { StepResult } from './steps.ts';
import type { TestCount } from './test-files.ts';

const FAILURE_LINES_MAX = 120;

/** The closing line, exactly: "N passed, N failed" and, where there are any, "N skipped". */
export function closingLine(count: TestCount): string {
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
  return `${count.passed} passed, ${count.failed} failed${skipped}`;
}

/** One line per step: mark, name, number of tests, seconds. */
export function stepLine(result: StepResult): string {
  const { count } = result;
  const mark = count.failed > 0 ? 'FAIL' : 'ok  ';
  const tests = count.failed > 0 ? `${count.failed} failed` : `${count.passed}`;
  return `${mark} ${result.name.padEnd(52)} ${tests.padStart(9)} ${seconds(result.durationMs).padStart(8)}`;
}

/** All failures, each under its name, indented. */
export function failureText(count: TestCount): string {
  const blocks = count.failures.map(({ file, name, message }) => {
    const title = file === '' ? name : `${file} › ${name}`;
    return `FAILED ${title}\n${shortened(message).replace(/^/gm, '  ')}`;
  });
  return blocks.join('\n\n');
}

function shortened(message: string): string {
  const lines = message.trimEnd().split('\n');
  if (lines.length <= FAILURE_LINES_MAX) return lines.join('\n');
  return [...lines.slice(0, FAILURE_LINES_MAX), `… ${lines.length - FAILURE_LINES_MAX} more lines`].join('\n');
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
