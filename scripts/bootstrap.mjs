#!/usr/bin/env node
/**
 * The first command on a fresh machine: `npm start`, `npm test`, `npm run check`, `npm run sim` and `npm run bench` all
 * come through here. Guarantees: runs under the Node of Debian 12 with nothing installed; a second run installs
 * nothing; what it touches outside the clone (Debian packages, a policy against starting services while they install)
 * it restores, also on failure. Then the command runs under Node 24 and gets every signal exactly once.
 *
 * Exit codes: the command's own; 2 wrong use or unsupported machine; 3 something must be installed first; 4 installing
 * failed.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkPlatform, ensureDebianPackages } from './lib/debian.mjs';
import { ensureNpmPackages } from './lib/npm-packages.mjs';
import { root, runInterruptible, Stop, say } from './lib/tell.mjs';

const COMMANDS = {
  start: ['src/cli/main.ts', 'up'],
  test: ['scripts/test.ts'],
  check: ['scripts/check.ts'],
  bench: ['bench/main.ts'],
  sim: ['scripts/sim.ts'],
  'test:long': ['scripts/test.ts', '--long'],
  'mock-api': ['scripts/mock-api.ts'],
  'dev:ui': ['scripts/dev-ui.ts'],
  package: ['scripts/package.ts'],
  'build:web': ['scripts/build-web.ts'],
  screenshots: ['scripts/screenshots.ts'],
};

/** Commands whose servers serve the web interface. */
const WITH_WEB = new Set(['start', 'mock-api', 'package']);
const WEB_DEADLINE_MS = 5 * 60_000;

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'];

/** One Ctrl-C may arrive twice: from the terminal and again from npm. The second within this time is dropped. */
const SAME_SIGNAL_MS = 300;

/** Runs the command in a session of its own, so that only we hear the terminal, and ends as it ended. */
function run(argv) {
  const node = join(root, 'node_modules/.bin/node');
  // Killed hard, we cannot pass anything on: then the kernel asks the command to end.
  const guard = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'TERM'] : [];
  const [program, ...args] = [...guard, node, ...argv];
  const child = spawn(program, args, { cwd: root, stdio: 'inherit', detached: true });
  const lastMs = new Map();
  for (const signal of FORWARDED) {
    process.on(signal, () => {
      const nowMs = performance.now();
      const again = nowMs - (lastMs.get(signal) ?? Number.NEGATIVE_INFINITY) < SAME_SIGNAL_MS;
      lastMs.set(signal, nowMs);
      if (!again) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    say(`cannot run ${program}: ${error.message}`);
    process.exit(4);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** The Debian packages of `command`, from debian-packages.json, where "@name" includes another command's list. */
function debianPackages(command) {
  const lists = JSON.parse(readFileSync(join(root, 'scripts/debian-packages.json'), 'utf8'));
  return lists[command].flatMap((name) => (name.startsWith('@') ? lists[name.slice(1)] : [name]));
}

/** Builds the web interface where its sources changed. Everything else works without it. */
async function ensureWeb() {
  const node = join(root, 'node_modules/.bin/node');
  const { exitCode, output } = await runInterruptible(node, ['scripts/build-web.ts'], { deadlineMs: WEB_DEADLINE_MS });
  if (exitCode !== 0 || output.trim() !== '') say(output.trim());
}

async function main() {
  const [command, ...args] = process.argv.slice(2);
  const target = Object.hasOwn(COMMANDS, command ?? '') ? COMMANDS[command] : undefined;
  if (target === undefined) throw new Stop(2, `usage: bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
  checkPlatform();
  await ensureNpmPackages();
  await ensureDebianPackages(debianPackages(command));
  if (!existsSync(join(root, target[0]))) throw new Stop(2, `${target[0]} does not exist in this clone.`);
  if (WITH_WEB.has(command)) await ensureWeb();
  run([...target, ...args]);
}

main().catch((/** @type {unknown} */ error) => {
  if (!(error instanceof Stop)) throw error;
  if (error.message !== '') say(error.message);
  process.exit(error.exitCode);
});
