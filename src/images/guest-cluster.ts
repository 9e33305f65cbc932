/**
 * Builds the `guest-cluster` image: a member of a guest cluster, made of Debian's corosync, Pacemaker, fence_scsi and
 * PostgreSQL. Debian's cloud kernel and a small initramfs are booted directly; the disk is a file system with its own
 * short init (guest/cluster). Guarantees: no mount on this machine, no root if user namespaces with subordinate ids are
 * allowed; a build appears in the cache complete or not at all; an existing build is returned without network, in
 * milliseconds.
 */
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CodedError } from '../base/errors.ts';
import { run } from '../os/child-process.ts';
import { hashOf, makeBuild } from './build-cache.ts';
import { bootstrapDebian, makeRootFileSystem } from './debian-root.ts';
import { BOOT_PACKAGES, describeEntry, readGuestFiles, writeKernelAndInitramfs } from './initramfs.ts';
import { fetchPackages, toolEnv } from './packages.ts';
import { TINY_APPEND } from './tiny.ts';

const SUITE = 'bookworm';
/** Unpacked with what they depend on; guest-cluster-customize.sh unpacks the rest. */
const PACKAGES = [
  // The programs of every Debian system that the guest calls.
  'base-files',
  'base-passwd',
  'bash',
  'coreutils',
  'dash',
  'diffutils',
  'grep',
  'libc-bin',
  'sed',
  'util-linux',
  'busybox-static',
  'mount',
  'corosync',
  'pacemaker',
  'pacemaker-cli-utils',
  'sg3-utils',
  'e2fsprogs',
  'iproute2',
  'procps',
  'qemu-guest-agent',
  'tzdata',
  'python3-pexpect',
  'libpq5',
  'libicu72',
  'libldap-2.5-0',
  'libxslt1.1',
  'libzstd1',
  'libreadline8',
];
const MODULES = [
  'virtio_pci',
  'qemu_fw_cfg',
  'virtio_blk',
  'virtio_net',
  'virtio_scsi',
  'sd_mod',
  'sg',
  'virtio_console',
  'virtio_rng',
  'button',
  'evdev',
  'sr_mod',
  'isofs',
  'crc32c_generic',
  'ext4',
];
const APPLETS = ['ash', 'mount', 'insmod', 'findfs', 'usleep', 'switch_root', 'echo'];

const CUSTOMIZE = fileURLToPath(new URL('guest-cluster-customize.sh', import.meta.url));
const CLUSTER_ROOT = fileURLToPath(new URL('../../guest/cluster/root', import.meta.url));
const CLUSTER_INITRAMFS = fileURLToPath(new URL('../../guest/cluster/initramfs', import.meta.url));
const TINY_ROOT = fileURLToPath(new URL('../../guest/tiny/root', import.meta.url));
/** The packages that both guests have: for measuring pauses. */
const SHARED_WITH_TINY = ['clock', 'generation', 'pause'].map((name) => `usr/lib/groundplane/${name}`);

/** Raised when this file changes what it builds from the same files and packages. */
const BUILD_VERSION = 2;
const DISK_BYTES = 768 * 1024 * 1024;
const TOOL_DEADLINE_MS = 5 * 60_000;

export interface GuestClusterOptions {
  readonly cacheDir: string;
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GuestClusterImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** A qcow2 file without a backing file, mode 0444. */
  readonly diskPath: string;
  /** The recommended kernel command line. */
  readonly append: string;
}

/**
 * The image, built if the cache does not hold it: less than a minute.
 * Errors: 'unavailable' (packages), 'not-installed' (mmdebstrap, mke2fs, qemu-img, tar), 'failed', 'deadline'.
 */
export async function buildGuestClusterImage(options: GuestClusterOptions): Promise<GuestClusterImage> {
  const { cacheDir, onProgress, signal } = options;
  await mkdir(cacheDir, { recursive: true });
  const customize = await readFile(CUSTOMIZE, 'utf8');
  const initramfs = await readGuestFiles(CLUSTER_INITRAMFS);
  const files = [...initramfs, ...(await readGuestFiles(CLUSTER_ROOT)), ...(await sharedFiles())];
  const settings = [`version ${BUILD_VERSION} ${SUITE} ${DISK_BYTES}`, PACKAGES, MODULES, APPLETS].map(String);
  const name = `guest-cluster-${hashOf([...settings, customize, ...files.map(describeEntry)]).slice(0, 16)}`;
  const directory = join(cacheDir, name);
  if ((await stat(directory).catch(() => undefined)) === undefined) {
    const names = BOOT_PACKAGES;
    const [kernelDeb, busyboxDeb] = await fetchPackages({ ...options, cacheDir: join(cacheDir, 'packages'), names });
    if (kernelDeb === undefined || busyboxDeb === undefined)
      throw new CodedError('failed', 'The packages are incomplete.');
    const make = async ({ work, build }: { readonly work: string; readonly build: string }): Promise<void> => {
      const parts = { kernelDeb, busyboxDeb, modules: MODULES, applets: APPLETS, files: initramfs };
      await writeKernelAndInitramfs({ work, build, ...parts, onProgress, signal });
      await writeDisk({ work, build, customize, onProgress, signal });
    };
    await makeBuild({ cacheDir, name, kind: 'guest-cluster', make });
  }
  return {
    kernelPath: join(directory, 'vmlinuz'),
    initrdPath: join(directory, 'initrd.gz'),
    diskPath: join(directory, 'disk.qcow2'),
    append: TINY_APPEND,
  };
}

async function sharedFiles(): Promise<Awaited<ReturnType<typeof readGuestFiles>>> {
  return (await readGuestFiles(TINY_ROOT)).filter(({ path }) => SHARED_WITH_TINY.includes(path));
}

interface DiskOptions {
  readonly work: string;
  readonly build: string;
  readonly customize: string;
  readonly onProgress: ((line: string) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

async function writeDisk({ work, build, customize, onProgress, signal }: DiskOptions): Promise<void> {
  const tool = (argv: readonly string[]) => run(argv, { deadlineMs: TOOL_DEADLINE_MS, signal, env: toolEnv() });
  const guestFiles = join(work, 'guest.tar');
  const ownedByRoot = ['--owner=0', '--group=0', '--numeric-owner', '--mode=go=u-w'];
  const sources = ['--directory', CLUSTER_ROOT, '.', '--directory', TINY_ROOT, ...SHARED_WITH_TINY];
  await tool(['tar', '--create', '--file', guestFiles, ...ownedByRoot, ...sources]);
  onProgress?.(`unpacking Debian ${SUITE} with corosync, Pacemaker and PostgreSQL`);
  const archive = join(work, 'root.tar');
  const hooks = [`tar-in ${guestFiles} /`, customize];
  await bootstrapDebian({ archive, suite: SUITE, variant: 'extract', packages: PACKAGES, hooks, signal });
  onProgress?.('making the disk');
  const image = join(work, 'root.ext4');
  const exclude = ['./dev/*'];
  await makeRootFileSystem({ archive, image, sizeBytes: DISK_BYTES, label: 'gp-cluster', exclude, signal });
  await tool(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', image, join(build, 'disk.qcow2')]);
}
