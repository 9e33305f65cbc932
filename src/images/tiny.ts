/**
 * Builds the `tiny` image: Debian's cloud kernel and an initramfs of busybox and the files in guest/tiny/root.
 * Guarantees: needs no root, installs nothing, runs no downloaded program; a build appears in the cache complete or not
 * at all, so concurrent callers are safe; an existing build is returned without network, in milliseconds.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CodedError } from '../base/errors.ts';
import { hashOf, makeBuild, newestBuild } from './build-cache.ts';
import { BOOT_PACKAGES, describeEntry, readGuestFiles, writeKernelAndInitramfs } from './initramfs.ts';
import { fetchPackages } from './packages.ts';

/** The kernel command line that boots fastest under software emulation; the guest's own gp.* words come after it. */
export const TINY_APPEND = [
  'console=ttyS0 quiet panic=1 reboot=t',
  // The kernel's own probes and tests, which are of no use in a virtual machine.
  'no_timer_check i8042.noaux 8250.nr_uarts=1 cryptomgr.notests audit=0 mitigations=off rcupdate.rcu_expedited=1',
  // Features that cost software emulation time with every page, system call or change of process, and that a disposable
  // guest does not need: memory cleared twice, a fifth level of page tables, protection keys, changed access rights
  // with every copy from user space, saving and restoring of wide registers, security modules, memory accounting,
  // unrequested huge pages.
  'init_on_alloc=0 no5lvl nopku nosmap noxsave lsm= hardened_usercopy=off cgroup_disable=memory transparent_hugepage=madvise nokaslr',
  // TCG translates a program anew for each address at which it is loaded: with random addresses, a process starts four
  // times as slowly.
  'norandmaps',
].join(' ');

const GUEST_ROOT = fileURLToPath(new URL('../../guest/tiny/root', import.meta.url));

/** In the order of loading; their dependencies are found and loaded first. */
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
  const { cacheDir, signal, onProgress } = options;
  await mkdir(cacheDir, { recursive: true });
  const files = await readGuestFiles(GUEST_ROOT);
  const guestHash = hashOf([`version ${BUILD_VERSION}`, MODULES.join(), APPLETS.join(), ...files.map(describeEntry)]);
  const prefix = `tiny-${guestHash.slice(0, 16)}-`;
  const newest = options.refresh === true ? undefined : await newestBuild(cacheDir, prefix);
  const cached = newest === undefined ? undefined : await readBuild(newest);
  if (cached !== undefined) return cached;
  const names = BOOT_PACKAGES;
  const [kernelDeb, busyboxDeb] = await fetchPackages({ ...options, cacheDir: join(cacheDir, 'packages'), names });
  if (kernelDeb === undefined || busyboxDeb === undefined)
    throw new CodedError('failed', 'The packages are incomplete.');
  const fingerprint = hashOf([guestHash, basename(kernelDeb), basename(busyboxDeb)]);
  const name = prefix + fingerprint.slice(0, 16);
  const present = await readBuild(join(cacheDir, name));
  if (present !== undefined) return present;
  const make = async ({ work, build }: { readonly work: string; readonly build: string }): Promise<void> => {
    const parts = { kernelDeb, busyboxDeb, modules: MODULES, applets: APPLETS, files };
    await writeKernelAndInitramfs({ work, build, ...parts, onProgress, signal });
    await writeFile(join(build, 'fingerprint'), `${fingerprint}\n`);
  };
  const built = await readBuild(await makeBuild({ cacheDir, name, kind: 'tiny', make }));
  if (built === undefined) throw new CodedError('failed', `The image ${name} was removed while it was built.`);
  return built;
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
