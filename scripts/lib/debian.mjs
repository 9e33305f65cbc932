/**
 * Debian packages. Guarantees: an ordinary user's machine is not touched, the one command to run is printed; as root
 * only missing packages are installed, installing starts or enables no service, and the policy that prevents that is
 * removed afterwards. If this process is killed, the policy that is left behind has no effect any more.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { runProgram, Stop, say } from './tell.mjs';

const UPDATE_DEADLINE_MS = 3 * 60_000;
const INSTALL_DEADLINE_MS = 15 * 60_000;
const EXIT_INSTALL_FIRST = 3;
const EXIT_FAILED = 4;

const APT_OPTIONS = [
  '-q',
  '-o',
  'Acquire::Retries=3',
  '-o',
  'Acquire::http::Timeout=30',
  '-o',
  'DPkg::Lock::Timeout=120',
];

/** Services that the packages bring and that nobody asked for: package -> service. */
const SERVICES = { 'etcd-server': 'etcd' };

const POLICY_FILE = '/usr/sbin/policy-rc.d';
const POLICY_SAVED = '/usr/sbin/policy-rc.d.before-groundplane';
const POLICY_MARK = '# groundplane: no service starts while its packages are installed';

/** Throws Stop(2) unless this is Linux on x86-64. */
export function checkPlatform() {
  if (process.platform !== 'linux') throw new Stop(2, `Groundplane runs on Linux; this is ${process.platform}.`);
  if (process.arch !== 'x64')
    throw new Stop(2, `Groundplane runs on x86-64 (amd64) only for now; this is ${process.arch}.`);
}

/** Makes sure that `packages` are installed. Throws Stop(3) with the command for an administrator, or Stop(4). */
export async function ensureDebianPackages(packages) {
  if (packages.length === 0) return;
  if (!existsSync('/usr/bin/dpkg-query')) {
    const name = /^PRETTY_NAME="?(.*?)"?$/m.exec(readIfThere('/etc/os-release'))?.[1] ?? 'an unknown system';
    throw new Stop(2, `Groundplane needs Debian 12 or a system derived from it; this is ${name}.`);
  }
  const missing = await missingPackages(packages);
  if (missing.length === 0) return;
  if (process.getuid() !== 0) {
    say('Debian packages are missing. Run this, then the same command again:');
    // The command stands alone on standard output, so that it can be copied or piped into a shell.
    process.stdout.write(`sudo apt-get install -y --no-install-recommends ${missing.join(' ')}\n`);
    throw new Stop(EXIT_INSTALL_FIRST, '');
  }
  await install(missing);
  const still = await missingPackages(packages);
  if (still.length > 0)
    throw new Stop(EXIT_FAILED, `apt-get ended well, but these packages are still missing: ${still.join(' ')}`);
}

async function missingPackages(packages) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
  const format = '${Package} ${db:Status-Status}\n';
  // dpkg-query fails if it does not know one of the names: its output is right nevertheless.
  const { output } = await runProgram('dpkg-query', ['-W', '-f', format, ...packages], { deadlineMs: 30_000 });
  const installed = new Set(
    output
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

async function install(missing) {
  say(`installing ${missing.length} Debian packages: ${missing.join(' ')}`);
  // RUNLEVEL keeps init scripts quiet where there is no policy-rc.d; the two overlap.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1', LC_ALL: 'C.UTF-8' };
  const restore = forbidServiceStarts();
  const interrupted = (signal) => {
    restore();
    say(`interrupted while installing; "dpkg --configure -a" finishes what was begun. Run this again.`);
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, interrupted);
  try {
    const update = await apt(['update'], { env, deadlineMs: UPDATE_DEADLINE_MS });
    if (update.exitCode !== 0) say('apt-get update failed; trying with the package lists that are there');
    const args = ['install', '-y', '--no-install-recommends', ...missing];
    const { exitCode, output } = await apt(args, { env, deadlineMs: INSTALL_DEADLINE_MS });
    if (exitCode !== 0) throw new Stop(EXIT_FAILED, installFailure(exitCode, output, missing));
    await disableServices(missing, env);
  } finally {
    for (const signal of signals) process.off(signal, interrupted);
    restore();
  }
  say('Debian packages installed');
}

function installFailure(exitCode, output, missing) {
  const what = exitCode === undefined ? 'did not end in time' : `failed with exit code ${exitCode}`;
  const last = output.trim().split('\n').slice(-15).join('\n');
  return `apt-get install ${what}:\n${last}\nWhat was unpacked is kept. Try by hand: apt-get install ${missing.join(' ')}`;
}

function apt(args, { env, deadlineMs }) {
  const onLine = (line) => {
    if (/^(Need to get|Fetched|Unpacking|Setting up|E:|W:|Err)/.test(line)) say(`  ${line}`);
  };
  return runProgram('apt-get', [...APT_OPTIONS, ...args], { env, deadlineMs, onLine });
}

/** Newly installed services must not start at the next boot either. */
async function disableServices(installed, env) {
  for (const name of installed) {
    const service = SERVICES[name];
    if (service !== undefined) await runProgram('update-rc.d', [service, 'disable'], { env, deadlineMs: 30_000 });
  }
}

/**
 * Puts a policy in place that holds only while this process lives. Returns the function that undoes it, safe to call
 * twice.
 */
function forbidServiceStarts() {
  removePolicy();
  if (existsSync(POLICY_FILE)) renameSync(POLICY_FILE, POLICY_SAVED);
  const script = [
    '#!/bin/sh',
    POLICY_MARK,
    `[ -d /proc/${process.pid} ] && exit 101`,
    `[ -x ${POLICY_SAVED} ] && exec ${POLICY_SAVED} "$@"`,
    'exit 0',
  ];
  writeFileSync(POLICY_FILE, `${script.join('\n')}\n`, { mode: 0o755 });
  return removePolicy;
}

/** Removes our policy, also one left behind by a run that was killed, and restores the policy that was there before. */
function removePolicy() {
  if (readIfThere(POLICY_FILE).includes(POLICY_MARK)) rmSync(POLICY_FILE, { force: true });
  if (existsSync(POLICY_SAVED) && !existsSync(POLICY_FILE)) renameSync(POLICY_SAVED, POLICY_FILE);
}

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
