/**
 * npm packages of the clone. Guarantees: `npm ci` runs only where node_modules is missing, incomplete, or was made from
 * another lockfile; a stamp is written last, so an interrupted installation is repeated; npm has ended before an
 * interrupted run of ours does. No package's install script runs (see .npmrc).
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root, runInterruptible, Stop, say } from './tell.mjs';

const DEADLINE_MS = 10 * 60_000;
const stampFile = join(root, 'node_modules/.groundplane-stamp');

/** Installs the locked npm packages where they are missing or out of date. Throws Stop(4) with npm's last words. */
export async function ensureNpmPackages() {
  const lockHash = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const node = join(root, 'node_modules/.bin/node');
  if (readStamp() !== lockHash || !existsSync(node)) await install(lockHash);
  if (!existsSync(node)) throw new Stop(4, 'npm ci ended well, but Node 24 is missing in node_modules.');
}

function readStamp() {
  return existsSync(stampFile) ? readFileSync(stampFile, 'utf8').trim() : undefined;
}

async function install(lockHash) {
  const startedMs = performance.now();
  say('installing npm packages (npm ci), about half a minute…');
  // npm itself must not run on the Node that it is about to delete.
  const inClone = join(root, 'node_modules');
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.startsWith(inClone));
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const env = { ...process.env, PATH: path.join(delimiter) };
  const { exitCode, output } = await runInterruptible('npm', args, { env, deadlineMs: DEADLINE_MS });
  if (exitCode !== 0) throw new Stop(4, `npm ci failed; run this again once the cause is gone:\n${output.trim()}`);
  writeFileSync(stampFile, `${lockHash}\n`);
  say(`npm packages installed in ${Math.round((performance.now() - startedMs) / 1000)} s`);
}
