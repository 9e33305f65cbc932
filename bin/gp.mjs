#!/usr/bin/env node
/**
 * The command `gp`. Guarantees: runs src/cli/main.ts under a Node version that can run it, with signals, exit code and
 * terminal passed through.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(realpathSync(fileURLToPath(import.meta.url))), '..');
const main = join(root, 'src/cli/main.ts');
const compiledCode = join(root, 'node_modules/.cache/groundplane');
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (!existsSync(join(root, 'node_modules/.bin/node'))) {
  process.stderr.write(`gp: the npm packages are not installed in ${root}. Run "npm start" there first.\n`);
  process.exit(3);
} else if (major > 22 || (major === 22 && minor >= 18)) {
  process.argv[1] = main;
  // The cache is enabled here already, so that main.ts itself comes from it: otherwise every command loads the type
  // stripper.
  const { enableCompileCache } = await import('node:module');
  enableCompileCache(compiledCode);
  await import(main);
} else {
  await runUnderNode24();
}

/**
 * In the terminal's foreground, Ctrl-C and Ctrl-\\ reach the child from the terminal itself: if they were passed on,
 * they would arrive twice.
 */
function terminalSignalsBoth() {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const [, , processGroup, , , foregroundGroup] = fields;
  return processGroup === foregroundGroup;
}

async function runUnderNode24() {
  const { spawn } = await import('node:child_process');
  const env = { NODE_COMPILE_CACHE: compiledCode, ...process.env };
  const child = spawn(join(root, 'node_modules/.bin/node'), [main, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env,
  });
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
  for (const signal of ['SIGINT', 'SIGQUIT']) {
    process.on(signal, () => {
      if (!terminalSignalsBoth()) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    process.stderr.write(`gp: cannot run Node 24 from node_modules: ${error.message}. Run "npm start" again.\n`);
    process.exit(4);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
