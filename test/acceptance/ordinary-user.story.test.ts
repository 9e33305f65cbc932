/**
 * The README's example as a user who is not root: every process of the cluster belongs to that user, and none is left
 * at the end. The test itself needs root to become another user; if an ordinary user runs the tests, all other stories
 * test the same.
 */
import assert from 'node:assert/strict';
import { chown, mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Vm } from '../../src/api/views.ts';
import { buildTiny } from '../../src/images/tiny.ts';
import { systemPath } from '../../src/lab/prerequisites.ts';
import { type RunResult, run, tryRun } from '../../src/os/child-process.ts';
import { until } from './case.ts';

const ROOT = join(import.meta.dirname, '../..');
/**
 * A user id that nobody else uses: every process with it is ours. (65534 is also that of dnsmasq and of others'
 * services.)
 */
const UID = 64_713;
const COMMAND_DEADLINE_MS = 130_000;
const GONE_DEADLINE_MS = 10_000;
const VM = 'web1';

/**
 * Mounts that only the command and what it starts see: a tun device that all may open, as most machines have it and
 * some have not, and the repository where the user can reach it. `$1`: an empty directory, `$2` the repository, `$3`
 * where it is to be.
 */
const AS_ON_A_DESKTOP = [
  'mount -t tmpfs -o mode=0755,size=64k none "$1"',
  'mknod -m 0666 "$1/tun" c 10 200',
  'mount --bind "$1/tun" /dev/net/tun',
  'mount --bind "$2" "$3"',
  'shift 3',
  'exec "$@"',
].join(' && ');

const BECOME = ['setpriv', '--reuid', String(UID), '--regid', String(UID), '--clear-groups', '--no-new-privs', '--'];

/** A user with a home directory, and commands run as that user. */
class OrdinaryUser {
  readonly home: string;
  readonly dir: string;

  private constructor(home: string) {
    this.home = home;
    this.dir = join(home, 'c');
  }

  static async create(): Promise<OrdinaryUser> {
    const home = await mkdtemp(join(tmpdir(), 'gpo-'));
    for (const name of ['dev', 'repo', 'tmp']) await mkdir(join(home, name));
    for (const path of [home, join(home, 'tmp')]) await chown(path, UID, UID);
    return new OrdinaryUser(home);
  }

  async gp(words: readonly string[]): Promise<RunResult> {
    const repo = join(this.home, 'repo');
    const node = relative(ROOT, process.execPath);
    const program = node.startsWith('..') ? process.execPath : join(repo, node);
    const mounts = ['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', AS_ON_A_DESKTOP, 'sh'];
    const argv = [program, join(repo, 'src/cli/main.ts'), '--dir', this.dir, ...words];
    const ran = await tryRun([...mounts, join(this.home, 'dev'), ROOT, repo, ...BECOME, ...argv], {
      deadlineMs: COMMAND_DEADLINE_MS,
      cwd: this.home,
      env: {
        ...process.env,
        PATH: systemPath(process.env['PATH']),
        HOME: this.home,
        TMPDIR: join(this.home, 'tmp'),
        GP_CACHE_DIR: join(repo, '.cache/images'),
      },
    });
    const said = `gp ${words.join(' ')}: exit code ${ran.exitCode}\n${ran.stdout}\n${ran.stderr}`;
    assert.equal(ran.exitCode, 0, said);
    return ran;
  }

  async vm(): Promise<Vm> {
    return JSON.parse((await this.gp(['vm', 'show', VM, '-o', 'json'])).stdout) as Vm;
  }

  /** Waits until the VM runs with `generation`, and says on which host. */
  runs(generation: number): Promise<string> {
    let last: Vm | undefined;
    const look = async (): Promise<string | undefined> => {
      last = await this.vm();
      return last.verdict === 'running' && last.generation === generation ? (last.host ?? undefined) : undefined;
    };
    return until(`${VM} runs with generation ${generation}`, look, { seen: () => last });
  }

  /** The logs that a failure shows. */
  async logs(): Promise<string> {
    const machines = join(this.dir, 'machines');
    const files = await readdir(machines, { recursive: true }).catch(() => []);
    const logs = files.filter((file) => /\/log\/[a-z]+\.log$/.test(file)).sort();
    const tails = logs.map(async (file) => {
      const text = await readFile(join(machines, file), 'utf8');
      return `--- ${file}\n${text.trimEnd().split('\n').slice(-15).join('\n')}`;
    });
    return (await Promise.all(tails)).join('\n');
  }
}

/** The user's processes, as `pid name`. */
async function processes(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    if (new RegExp(`^Uid:.*\\t${UID}(\\t|$)`, 'm').test(status))
      found.push(`${pid} ${/Name:\t(.*)/.exec(status)?.[1]}`);
  }
  return found;
}

/** Files of the user outside the home directory, where programs put what they forget. */
async function strayFiles(home: string): Promise<readonly string[]> {
  const places = ['/tmp', '/var/tmp', '/run', '/dev/shm'];
  const found = await tryRun(
    ['find', ...places, '-xdev', '-path', home, '-prune', '-o', '-uid', String(UID), '-print'],
    {
      deadlineMs: 30_000,
    },
  );
  return found.stdout.split('\n').filter((line) => line !== '');
}

async function nothingIsLeft(user: OrdinaryUser): Promise<void> {
  let left: readonly string[] = [];
  const gone = async (): Promise<true | undefined> => {
    left = await processes();
    return left.length === 0 ? true : undefined;
  };
  await until('no process of the user is left', gone, { deadlineMs: GONE_DEADLINE_MS, seen: () => left });
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => line.includes(user.home));
  assert.deepEqual(mounts, []);
  assert.deepEqual(await strayFiles(user.home), []);
}

/** Why this machine cannot show it; undefined if it can. */
async function obstacle(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'the tests are run by an ordinary user: every other story is this one';
  const probe = await tryRun([...BECOME, 'unshare', '--user', '--map-root-user', '--net', '--mount', 'true'], {
    deadlineMs: 10_000,
  });
  return probe.exitCode === 0 ? undefined : `the kernel forbids user namespaces: ${probe.stderr.trim()}`;
}

async function walk(user: OrdinaryUser): Promise<void> {
  await user.gp(['up', '--host-memory', '1G', '--detach']);
  const owned = await processes();
  for (const name of ['etcd', 'tini'])
    assert.ok(
      owned.some((line) => line.endsWith(` ${name}`)),
      `${name}: ${owned}`,
    );
  await user.gp(['vm', 'create', VM, '--image', 'tiny', '--memory', '96M', '--network', 'lan']);
  const first = await user.runs(1);
  await user.gp(['vm', 'migrate', VM]);
  const second = await user.runs(2);
  assert.notEqual(second, first);
  await user.gp(['lab', 'kill-host', second]);
  assert.notEqual(await user.runs(3), second);
  await user.gp(['down']);
}

async function story(t: TestContext): Promise<void> {
  const reason = await obstacle();
  if (reason !== undefined) return t.skip(reason);
  await buildTiny({ cacheDir: join(ROOT, '.cache/images') });
  assert.deepEqual(await processes(), [], `somebody uses uid ${UID}`);
  const user = await OrdinaryUser.create();
  try {
    await walk(user);
    await nothingIsLeft(user);
  } catch (error) {
    const logs = await user.logs();
    await user.gp(['down']).catch(() => undefined);
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n\n${logs}`, { cause: error });
  } finally {
    await run(['rm', '-rf', '--one-file-system', user.home], { deadlineMs: 30_000 });
  }
}

test('an ordinary user runs a whole cluster, loses a host, and leaves nothing behind', story);
