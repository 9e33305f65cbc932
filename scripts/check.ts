/**
 * The quick check for contributors: types, format, lint, boundaries, dead code, tidy, unit tests. No root, no QEMU,
 * about a minute. With `--unit [FILTER]` only the unit tests whose path contains FILTER run; it is a failure if there
 * is none.
 */
import { closingLine, failureText, stepLine } from './lib/show.ts';
import { quickSteps, runSteps, total, unitSteps } from './lib/steps.ts';

const cancelled = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => cancelled.abort());

const [option, filter = '', ...rest] = process.argv.slice(2);
if ((option !== undefined && option !== '--unit') || rest.length > 0) {
  console.error('Usage: npm run check, or npm run test:unit -- [FILTER]');
  process.exit(2);
}
const results = await runSteps(option === '--unit' ? unitSteps(filter) : quickSteps(), {
  signal: cancelled.signal,
  besides: 1,
  onResult: (result) => console.log(stepLine(result)),
});
const count = total(results);
if (count.failed > 0) console.log(`\n${failureText(count)}\n`);
if (count.passed + count.failed === 0) console.log(`No unit test's path contains "${filter}".`);
console.log(closingLine(count));
process.exitCode = count.failed > 0 || count.passed === 0 ? 1 : 0;
