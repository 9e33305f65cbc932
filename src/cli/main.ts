/** The command `gp`: this process's streams and signals for `runCli`. */
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import { VERSION } from '../base/version.ts';
import { isPackaged } from '../os/program-file.ts';
import { EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';

// Compiled code is kept beside the packages of a clone, never elsewhere on the machine; where that cannot be written, it
// is not kept.
if (!isPackaged(import.meta.url))
  enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/groundplane', import.meta.url)));

const interrupt = new AbortController();
const kill = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (kill.signal.aborted) process.exit(EXIT.interrupted);
    if (interrupt.signal.aborted) kill.abort(new Error(`second ${signal}`));
    else interrupt.abort(new Error(signal));
  });
}
// `gp … | head`: the reader has enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
});

let exitCode: number | undefined;
const io: Io = {
  out: (content) => void process.stdout.write(content),
  err: (text) => void process.stderr.write(text),
  setExitCode: (code) => {
    exitCode = code;
  },
  get stdin() {
    return process.stdin;
  },
  outIsTty: process.stdout.isTTY === true,
  errIsTty: process.stderr.isTTY === true,
  env: process.env,
  cwd: process.cwd(),
  signal: interrupt.signal,
  killSignal: kill.signal,
};

// Loaded only now, so that the cache serves it.
const { runCli } = await import('./run-cli.ts');
const code = await runCli(process.argv.slice(2), io, VERSION);
const status = code === EXIT.ok ? (exitCode ?? EXIT.ok) : code;
// The command is done, although connections may be kept open for a next call; its output is flushed first.
process.stderr.write('', () => process.stdout.write('', () => process.exit(status)));
