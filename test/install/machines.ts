/**
 * Debian machines with real systemd as their first process, in namespaces of this one: bare roots, one network between
 * them, and no way out of it. Guarantees: `end` leaves no process, mount, interface or cgroup behind; the base root is
 * kept in the clone's cache and used read-only.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrapDebian } from '../../src/images/debian-root.ts';
import { run, spawnDaemon, tryRun } from '../../src/os/child-process.ts';
import { isRunning, listProcesses, type ProcessIdentity, signalProcess, waitGone } from '../../src/os/process-table.ts';
import { until } from '../../src/os/testing/until.ts';

export const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, '.cache/install');
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const BARE = ['systemd-sysv', 'dbus', 'iproute2', 'procps', 'ca-certificates'];
const CALL_MS = 120_000;
const BOOT_MS = 180_000;

/**
 * The script with which a machine's first process makes its world. The arguments: lower directories, the machine's own,
 * its name.
 */
const BOOT = `
set -e
lower=$1; own=$2; name=$3
mount --make-rprivate /
mkdir -p "$own/cgroup" "$own/upper" "$own/work" "$own/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$own/upper,workdir=$own/work" "$own/root"
cd "$own/root"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir -p dev/pts dev/shm dev/net
touch dev/net/tun; mount --bind /dev/net/tun dev/net/tun
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; touch dev/console
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup
echo "$name" > etc/hostname
echo "127.0.0.1 localhost" > etc/hosts
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=lxc PATH=${PATH} TERM=linux /lib/systemd/systemd --system --log-target=journal --show-status=false
`;

/** Paths that a Debian machine writes itself: logs, lists of packages, files of each boot. */
const SYSTEMS_OWN =
  /^\/(var\/(log|lib\/(dpkg|apt|systemd|dbus|pam|update-notifier)|cache)\/|etc\/(\.pwd\.lock|hostname|hosts|machine-id|resolv\.conf|\.updated|mtab)$|var\/\.updated$|boot|root\/\.|run|tmp|dev|proc|sys)/;

/** The world of all machines. */
export class Machines {
  readonly #work: string;
  readonly #hub: ProcessIdentity;
  readonly #machines: Machine[] = [];
  #started = 0;

  private constructor(work: string, hub: ProcessIdentity) {
    this.#work = work;
    this.#hub = hub;
  }

  static async begin(): Promise<Machines> {
    const work = await mkdtemp(join(tmpdir(), 'machines-'));
    const hub = await spawnDaemon(['unshare', '--net', 'sleep', 'infinity'], { env: { PATH }, cwd: '/' });
    await until(
      'the network is there',
      async () => (await inNet(hub.pid, ['ip', 'link', 'show', 'lo'])).exitCode === 0,
    );
    for (const argv of ['link add hub type bridge', 'link set hub up', 'addr add 10.0.0.1/24 dev hub'])
      await must(inNet(hub.pid, ['ip', ...argv.split(' ')]));
    return new Machines(work, hub);
  }

  /** Boots a new machine. `lower`: roots, the topmost first. */
  async boot(name: string, address: string, lower: readonly string[]): Promise<Machine> {
    const own = join(this.#work, `${name}-${this.#machines.length + 1}`);
    await mkdir(own, { recursive: true });
    const machine = new Machine({ name, address, own, lower });
    this.#machines.push(machine);
    await this.on(machine);
    return machine;
  }

  /** Turns a machine on: its files are as they were when its plug was pulled. One that does not boot is off again. */
  async on(machine: Machine): Promise<void> {
    const number = ++this.#started;
    try {
      const { pid } = await machine.begin(await newCgroup(`gp-${process.pid}-${number}`));
      const port = `m${number}`;
      const link = `link add ${port} netns ${this.#hub.pid} type veth peer name eth0 netns ${pid}`;
      await run(['ip', ...link.split(' ')], { deadlineMs: CALL_MS });
      await must(inNet(this.#hub.pid, ['ip', 'link', 'set', port, 'master', 'hub', 'up']));
      for (const argv of ['link set lo up', 'link set eth0 up', `addr add ${machine.address}/24 dev eth0`])
        await must(inNet(pid, ['ip', ...argv.split(' ')]));
      await until(
        `${machine.name} has booted`,
        async () => {
          const { stdout } = await machine.try(['systemctl', 'is-system-running']);
          return ['running', 'degraded'].includes(stdout.trim());
        },
        { deadlineMs: BOOT_MS },
      );
    } catch (error) {
      await machine.off();
      throw error;
    }
  }

  async end(): Promise<void> {
    for (const machine of this.#machines.splice(0)) await machine.off();
    signalProcess(this.#hub, 'SIGKILL');
    await waitGone(this.#hub, CALL_MS);
    await rm(this.#work, { recursive: true, force: true });
  }
}

interface MachineParts {
  readonly name: string;
  readonly address: string;
  /** The directory of the machine's own files. */
  readonly own: string;
  /** Roots below it, the topmost first. */
  readonly lower: readonly string[];
}

/** One machine. */
export class Machine {
  readonly name: string;
  readonly address: string;
  readonly #parts: MachineParts;
  #cgroup: string | null = null;
  #outer: ProcessIdentity | null = null;
  #first: ProcessIdentity | null = null;

  constructor(parts: MachineParts) {
    this.name = parts.name;
    this.address = parts.address;
    this.#parts = parts;
  }

  /** Starts its first process in a cgroup, which is the machine's from now on, and returns that process. */
  async begin(cgroup: string): Promise<ProcessIdentity> {
    const { name, own, lower } = this.#parts;
    this.#cgroup = cgroup;
    const script = join(own, 'boot.sh');
    await writeFile(script, BOOT);
    const unshare = ['unshare', '--pid', '--mount', '--net', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child'];
    const inCgroup = ['sh', '-c', 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"', 'sh', cgroup];
    const log = join(own, 'boot.log');
    const outer = await spawnDaemon([...inCgroup, ...unshare, 'bash', script, lower.join(':'), own, name], {
      env: { PATH },
      cwd: '/',
      stdoutFile: log,
      stderrFile: log,
    });
    this.#outer = outer;
    await until(
      `${name} has a first process`,
      async () => {
        const found = listProcesses().find(({ ppid, argv }) => ppid === outer.pid && argv[0]?.endsWith('systemd'));
        this.#first = found ?? null;
        if (found === undefined && !isRunning(outer)) throw new Error(`no boot: ${await readFile(log, 'utf8')}`);
        return found !== undefined;
      },
      { deadlineMs: BOOT_MS },
    );
    return this.#running;
  }

  get #running(): ProcessIdentity {
    if (this.#first === null) throw new Error(`${this.name} is off`);
    return this.#first;
  }

  /** The directory of what differs from its lower roots. */
  get upper(): string {
    return join(this.#parts.own, 'upper');
  }

  /** Runs a program there. */
  try(argv: readonly string[], deadlineMs = CALL_MS): Promise<{ stdout: string; stderr: string; exitCode: number }> {
    const enter = ['nsenter', '--target', String(this.#running.pid), '--all', '--wdns=/root', '--'];
    const env = ['env', '-i', `PATH=${PATH}`, 'HOME=/root', 'LC_ALL=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive'];
    return tryRun([...enter, ...env, ...argv], { deadlineMs });
  }

  /** Runs a program there, which must succeed. Returns its output. */
  async run(argv: readonly string[], deadlineMs = CALL_MS): Promise<string> {
    const { stdout, stderr, exitCode } = await this.try(argv, deadlineMs);
    if (exitCode === 0) return stdout;
    throw new Error(`${this.name}: ${argv.join(' ')}: exit status ${exitCode}\\n${stdout}${stderr}`);
  }

  /** Runs a line of a shell there. */
  sh(line: string): Promise<string> {
    return this.run(['sh', '-ec', line]);
  }

  /** Runs gp there. */
  gp(line: string): Promise<string> {
    return this.run(['gp', ...line.split(' ')]);
  }

  /** Files that are there now and were not, or are others than, when the machine booted for the first time. */
  async changedFiles(): Promise<readonly string[]> {
    const entries = await readdir(this.upper, { recursive: true, withFileTypes: true });
    // A file that was removed is a device here.
    return entries
      .filter((entry) => !entry.isDirectory() && !entry.isCharacterDevice())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.upper.length))
      .filter((file) => !SYSTEMS_OWN.test(file))
      .sort();
  }

  /** Pulls the plug: every process ends. It may be off, or have not booted. */
  async off(): Promise<void> {
    for (const each of [this.#first, this.#outer]) {
      if (each === null) continue;
      signalProcess(each, 'SIGKILL');
      await waitGone(each, CALL_MS);
    }
    if (this.#cgroup !== null && existsSync(this.#cgroup)) await removeCgroup(this.#cgroup);
    this.#first = this.#outer = this.#cgroup = null;
  }
}

/** Makes, once for each list of packages, a bare Debian root that has the named packages in apt's cache. */
export async function bareRoot(packages: readonly string[], signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
    .update([...BARE, '', ...packages].join())
    .digest('hex')
    .slice(0, 12);
  const root = join(CACHE, `root-${hash}`);
  if (existsSync(root)) return root;
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, '.root-'));
  try {
    const archive = join(work, 'root.tar');
    // Files that mmdebstrap deletes at its end, needed so that apt works without a network.
    const fetch = [
      `APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -y --download-only install ${packages.join(' ')}`,
      'mkdir -p "$1/opt/apt"',
      'cp -a "$1/var/lib/apt/lists" "$1/var/cache/apt/archives" "$1/opt/apt/"',
    ].join(' && ');
    await bootstrapDebian({
      archive,
      suite: 'bookworm',
      variant: 'minbase',
      packages: BARE,
      hooks: [fetch],
      env: {},
      signal,
    });
    const unpacked = join(work, 'root');
    await mkdir(unpacked);
    await run(['tar', '-x', '-f', archive, '-C', unpacked, '--numeric-owner', '--xattrs'], {
      deadlineMs: CALL_MS,
      signal,
    });
    await rename(unpacked, root);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return root;
}

function inNet(pid: number, argv: readonly string[]): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  return tryRun(['nsenter', '--target', String(pid), '--net', '--', ...argv], { deadlineMs: CALL_MS });
}

async function must(result: Promise<{ stderr: string; exitCode: number }>): Promise<void> {
  const { stderr, exitCode } = await result;
  if (exitCode !== 0) throw new Error(stderr);
}

async function cgroupRoot(): Promise<string> {
  const mounts = await readFile('/proc/mounts', 'utf8');
  const found = /^\S+ (\S+) cgroup2 /m.exec(mounts)?.[1];
  if (found === undefined) throw new Error('This kernel has no cgroups v2, which systemd needs.');
  return found;
}

async function newCgroup(name: string): Promise<string> {
  const cgroup = join(await cgroupRoot(), name);
  await mkdir(cgroup);
  return cgroup;
}

/** From the leaves to the root, once nothing runs there: a cgroup with children cannot be removed. */
async function removeCgroup(cgroup: string): Promise<void> {
  const events = join(cgroup, 'cgroup.events');
  await until(`nothing runs in ${cgroup}`, async () => (await readFile(events, 'utf8')).includes('populated 0'), {
    deadlineMs: CALL_MS,
  });
  const below = (await readdir(cgroup, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isDirectory(),
  );
  const all = below.map((entry) => join(entry.parentPath, entry.name)).sort((a, b) => b.length - a.length);
  for (const each of [...all, cgroup]) await run(['rmdir', each], { deadlineMs: CALL_MS });
}
