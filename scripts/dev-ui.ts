/**
 * The web interface in development: a simulated cluster behind the real API (scripts/mock-api.ts, which takes the
 * options) and Vite with hot reloading in front of it. `GP_API=http://… npm run dev:ui` takes the API from there
 * instead. Both end with this process.
 * Exit status: that of the process which ends first.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const MOCK_PORT = '7450';

const children: ChildProcess[] = [];

function start(argv: readonly string[], cwd: string, env: NodeJS.ProcessEnv): void {
  const child = spawn(process.execPath, argv, { cwd, env, stdio: 'inherit' });
  children.push(child);
  child.once('exit', (code) => end(code ?? 1));
}

function end(code: number): void {
  for (const child of children) child.kill('SIGTERM');
  process.exitCode ??= code;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => end(0));

const api = process.env['GP_API'];
if (api === undefined) start(['scripts/mock-api.ts', '--port', MOCK_PORT, ...process.argv.slice(2)], root, process.env);
const env = { ...process.env, GP_API: api ?? `http://127.0.0.1:${MOCK_PORT}` };
start([join(root, 'node_modules/vite/bin/vite.js')], join(root, 'web'), env);
