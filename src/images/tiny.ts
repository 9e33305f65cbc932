/**
 * Builds the `tiny` image: Debian's cloud kernel and an initramfs of busybox and the files in guest/tiny/root.
 * Guarantees: needs no root, installs nothing, runs nothing of what it downloads; a build appears in the cache complete or not at
 * all, so concurrent callers are safe; a build once made is answered without network, in milliseconds.
 */
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { CodedError } from '../base/errors.ts';
import { type CpioEntry, makeCpio } from './cpio.ts';
import { collectModules, type KernelModule } from './kernel-modules.ts';
import { fetchPackages, unpackPackage } from './packages.ts';

/** The kernel command line that boots fastest under software emulation; the guest's own gp.* words come after it. */
export const TINY_APPEND = [
  'console=ttyS0 quiet panic=1 reboot=t',
  // The kernel's own probing and tests that tell nothing about a virtual machine.
  'no_timer_check i8042.noaux 8250.nr_uarts=1 cryptomgr.notests audit=0 mitigations=off rcupdate.rcu_expedited=1',
].join(' ');

const KERNEL_PACKAGE = 'linux-image-cloud-amd64';
const BUSYBOX_PACKAGE = 'busybox-static';
const GUEST_ROOT = fileURLToPath(new URL('../../guest/tiny/root', import.meta.url));

/** In the order of loading; what they depend on is found and loaded first. */
const MODULES = [
  'virtio_pci',
  'qemu_fw_cfg',
  'virtio_blk',
  'virtio_net',
  'virtio_scsi',
  'sd_mod',
  'virtio_console',
  'virtio_rng',
  'virtio_balloon',
  'button',
  'evdev',
  'sr_mod',
  'isofs',
];

/** Names under which busybox is called by scripts and people; inside its shell every other applet works as well. */
const APPLETS = (
  'acpid arp arping ash awk base64 basename blkdiscard blockdev cat chmod chown chroot clear cmp cp cut date dd df diff dirname ' +
  'dmesg du echo egrep env expr false fdisk fgrep find free fsync ftpget grep gunzip gzip halt head hexdump hostname httpd hwclock ' +
  'id ifconfig init insmod ip ipcalc kill killall less ln logger ls lsmod lsscsi md5sum mdev mkdir mke2fs mkfifo mknod mktemp more ' +
  'mount mv nc netstat nohup nproc nslookup od passwd ping ping6 pkill poweroff printf ps pwd readlink reboot rm rmdir rmmod route ' +
  'sed seq setsid sh sha256sum sleep sort stat strings stty sync sysctl tail tar taskset tee telnet telnetd test tftp time timeout ' +
  'top touch tr traceroute true truncate tty udhcpc umount uname uniq uptime usleep vi watch wc wget which xargs yes zcat'
).split(' ');

/** Raised when this file changes what it builds from the same packages and guest files. */
const BUILD_VERSION = 1;
const ABANDONED_AFTER_MS = 24 * 3_600_000;

export interface TinyOptions {
  readonly cacheDir: string;
  /** Look for newer packages even though the cache holds a build of the present guest files. */
  readonly refresh?: boolean | undefined;
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TinyImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** SHA-256 over package files' names and the guest's files: equal fingerprints, equal images. */
  readonly fingerprint: string;
  /** The recommended kernel command line, to which gp.* words are added. */
  readonly append: string;
}

/**
 * The tiny image, built if the cache does not hold it.
 * Errors: 'unavailable' (packages cannot be downloaded and are not cached), 'not-installed' (no dpkg-deb), 'failed'.
 */
export async function buildTiny(options: TinyOptions): Promise<TinyImage> {
  const { cacheDir, signal } = options;
  await mkdir(cacheDir, { recursive: true });
  const guest = await guestEntries();
  const guestHash = hashOf([`version ${BUILD_VERSION}`, MODULES.join(), APPLETS.join(), ...guest.map(describe)]);
  const newest = options.refresh === true ? undefined : await newestBuild(cacheDir, guestHash);
  if (newest !== undefined) return newest;
  const names = [KERNEL_PACKAGE, BUSYBOX_PACKAGE];
  const [kernelDeb, busyboxDeb] = await fetchPackages({ ...options, cacheDir: join(cacheDir, 'packages'), names });
  if (kernelDeb === undefined || busyboxDeb === undefined)
    throw new CodedError('failed', 'The packages are incomplete.');
  const fingerprint = hashOf([guestHash, basename(kernelDeb), basename(busyboxDeb)]);
  const target = join(cacheDir, buildName(guestHash, fingerprint));
  const present = await readBuild(target);
  if (present !== undefined) return present;
  await removeAbandoned(cacheDir);
  const work = await mkdtemp(join(cacheDir, '.tiny-'));
  try {
    options.onProgress?.('unpacking kernel and busybox');
    await unpackPackage(kernelDeb, join(work, 'kernel'), signal);
    await unpackPackage(busyboxDeb, join(work, 'busybox'), signal);
    options.onProgress?.('writing the initramfs');
    await assemble({ work, guest, fingerprint });
    await publish(join(work, 'build'), target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const built = await readBuild(target);
  if (built === undefined) throw new CodedError('failed', `The image in ${target} was removed while it was built.`);
  return built;
}

function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

function describe(entry: CpioEntry): string {
  const content = entry.kind === 'file' ? createHash('sha256').update(entry.content).digest('hex') : '';
  return `${entry.kind} ${entry.path} ${entry.kind === 'symlink' ? entry.target : entry.mode} ${content}`;
}

/** guest/tiny/root as archive entries, in a fixed order. Executable is what its owner may execute. */
async function guestEntries(): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const path of (await readdir(GUEST_ROOT, { recursive: true })).sort()) {
    const full = join(GUEST_ROOT, path);
    const about = await stat(full);
    if (about.isDirectory()) entries.push({ kind: 'directory', path, mode: 0o755 });
    else
      entries.push({
        kind: 'file',
        path,
        mode: (about.mode & 0o100) === 0 ? 0o644 : 0o755,
        content: await readFile(full),
      });
  }
  return entries;
}

function buildName(guestHash: string, fingerprint: string): string {
  return `tiny-${guestHash.slice(0, 16)}-${fingerprint.slice(0, 16)}`;
}

async function readBuild(directory: string): Promise<TinyImage | undefined> {
  try {
    const fingerprint = (await readFile(join(directory, 'fingerprint'), 'utf8')).trim();
    return {
      kernelPath: join(directory, 'vmlinuz'),
      initrdPath: join(directory, 'initrd.gz'),
      fingerprint,
      append: TINY_APPEND,
    };
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw cause;
  }
}

async function newestBuild(cacheDir: string, guestHash: string): Promise<TinyImage | undefined> {
  const prefix = `tiny-${guestHash.slice(0, 16)}-`;
  const found: { path: string; timeMs: number }[] = [];
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(cacheDir, name);
    found.push({ path, timeMs: (await stat(path)).mtimeMs });
  }
  found.sort((a, b) => b.timeMs - a.timeMs);
  const first = found[0];
  return first === undefined ? undefined : readBuild(first.path);
}

async function assemble(options: { work: string; guest: readonly CpioEntry[]; fingerprint: string }): Promise<void> {
  const { work, guest, fingerprint } = options;
  const boot = await readdir(join(work, 'kernel', 'boot'));
  const kernel = boot.find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new CodedError('failed', 'The kernel package holds no /boot/vmlinuz.');
  const modulesDir = join(work, 'kernel', 'lib', 'modules', kernel.slice('vmlinuz-'.length));
  const modules = await collectModules(modulesDir, MODULES);
  const busybox = await readFile(join(work, 'busybox', 'bin', 'busybox'));
  const build = join(work, 'build');
  await mkdir(build);
  await copyFile(join(work, 'kernel', 'boot', kernel), join(build, 'vmlinuz'));
  const archive = makeCpio(withParents([...systemEntries(busybox, modules), ...guest]));
  await writeFile(join(build, 'initrd.gz'), await promisify(gzip)(archive, { level: 6 }));
  await writeFile(join(build, 'fingerprint'), `${fingerprint}\n`);
  // QEMU runs as another user: readable by all, changed by nobody.
  for (const name of ['vmlinuz', 'initrd.gz', 'fingerprint']) await chmod(join(build, name), 0o444);
  await chmod(build, 0o755);
}

function systemEntries(busybox: Uint8Array, modules: readonly KernelModule[]): CpioEntry[] {
  const directories = ['proc', 'sys', 'run', 'tmp', 'root', 'mnt'];
  const order = modules.map((module) => `${module.name}.ko\n`).join('');
  return [
    ...directories.map((path): CpioEntry => ({ kind: 'directory', path, mode: 0o755 })),
    // The kernel opens it for PID 1 before anything can mount a devtmpfs.
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: busybox },
    ...APPLETS.map((name): CpioEntry => ({ kind: 'symlink', path: `bin/${name}`, target: 'busybox' })),
    { kind: 'file', path: 'lib/modules/order', mode: 0o644, content: Buffer.from(order) },
    ...modules.map(
      (module): CpioEntry => ({
        kind: 'file',
        path: `lib/modules/${module.name}.ko`,
        mode: 0o644,
        content: module.content,
      }),
    ),
  ];
}

/** Adds missing parent directories and puts every directory before what it holds. */
function withParents(entries: readonly CpioEntry[]): CpioEntry[] {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  for (const { path } of entries) {
    for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) {
      if (!byPath.has(parent)) byPath.set(parent, { kind: 'directory', path: parent, mode: 0o755 });
    }
  }
  return [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Puts a complete build in its place. Somebody else's build of the same fingerprint is as good as ours. */
async function publish(build: string, target: string): Promise<void> {
  try {
    await rename(build, target);
  } catch (cause) {
    const taken = cause instanceof Error && 'code' in cause && (cause.code === 'ENOTEMPTY' || cause.code === 'EEXIST');
    if (!taken) throw cause;
  }
}

/** What a builder that was killed left behind. */
async function removeAbandoned(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith('.tiny-')) continue;
    const path = join(cacheDir, name);
    const about = await stat(path).catch(() => undefined);
    if (about !== undefined && Date.now() - about.mtimeMs > ABANDONED_AFTER_MS)
      await rm(path, { recursive: true, force: true });
  }
}
