/** The quick check for contributors: types, format, lint, boundaries, dead code, tidy, unit tests. No root, no QEMU, some seconds. */
import { closingLine, failureText, stepLine } from './lib/show.ts';
import { quickSteps, runSteps, total } from './lib/steps.ts';

const cancelled = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => cancelled.abort());

const results = await runSteps(quickSteps(), {
  signal: cancelled.signal,
  onResult: (result) => console.log(stepLine(result)),
});
const count = total(results);
if (count.failed > 0) console.log(`\n${failureText(count)}\n`);
console.log(closingLine(count));
process.exitCode = count.failed > 0 ? 1 : 0;
