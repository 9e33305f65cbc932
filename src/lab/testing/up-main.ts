/**
 * `gp up` for the lab's tests, in a process that can be killed: options as JSON in the first argument, `ready` on
 * stdout.
 */

import { down, type UpOptions, up } from '../up.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as UpOptions;
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort(new Error('SIGTERM')));
process.umask(0o077);
if (process.argv[3] === 'down') {
  process.stdout.write(`${JSON.stringify(await down(options))}\n`);
} else {
  const { info, ended } = await up({ ...options, signal: stop.signal });
  process.stdout.write(`${JSON.stringify(info)}\n`);
  await ended;
}
