/**
 * Builds a bootable Debian disk image: GPT with GRUB for BIOS and systemd-boot for UEFI, ext4 root, systemd, cloud-init (NoCloud), a serial
 * console. Guarantees: no loop device, no mount on this machine, no root where user namespaces with subordinate ids are
 * allowed; the image appears in the cache complete or not at all.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { run } from '../os/child-process.ts';
import { GPT_SECTORS, linkGrub, makeGpt, PARTITION_TYPES, SECTOR_BYTES } from './gpt.ts';
import { toolEnv } from './packages.ts';

const PACKAGES = [
  'linux-image-cloud-amd64',
  'initramfs-tools',
  'zstd',
  'systemd',
  'systemd-sysv',
  'systemd-resolved',
  'dbus',
  'udev',
  'login',
  'e2fsprogs',
  'iproute2',
  'iputils-ping',
  'netplan.io',
  'cloud-init',
  'cloud-guest-utils',
  'fdisk',
  'openssh-server',
  'qemu-guest-agent',
  'ca-certificates',
  'grub-pc-bin',
  'systemd-boot-efi',
  'mtools',
];
const CUSTOMIZE = fileURLToPath(new URL('debian-customize.sh', import.meta.url));
/** Raised when this file changes what it builds from the same script and packages. */
const BUILD_VERSION = 1;
const BOOTSTRAP_DEADLINE_MS = 20 * 60_000;
const FILE_SYSTEM_DEADLINE_MS = 10 * 60_000;
const COPY_BLOCK_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(COPY_BLOCK_BYTES);

const MIB = 1024 * 1024;
const BIOS_FIRST_SECTOR = 2048;
const ESP_FIRST_SECTOR = 4096;
const ESP_BYTES = 96 * MIB;
const ROOT_FIRST_SECTOR = ESP_FIRST_SECTOR + ESP_BYTES / SECTOR_BYTES;
/** What the system itself needs, with some air; more is the caller's choice. */
const SIZE_BYTES_MIN = 1536 * MIB;
const SIZE_BYTES_MAX = 1024 * 1024 * MIB;

export interface DebianOptions {
  readonly cacheDir: string;
  /** A Debian suite; 'bookworm' is what is tested. */
  readonly suite?: string | undefined;
  /** Size of the virtual disk, 1.5 GiB to 1 TiB, a multiple of 1 MiB; 4 GiB by default. The file holds only what is used. */
  readonly sizeBytes?: number | undefined;
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DebianImage {
  /** A qcow2 file without a backing file, mode 0444. */
  readonly diskPath: string;
  readonly sizeBytes: number;
  readonly suite: string;
}

/**
 * The Debian image, built if the cache does not hold it: some minutes and 3 GB of temporary space.
 * Errors: 'bad-input' (suite or size), 'not-installed' (mmdebstrap, mke2fs, qemu-img), 'failed', 'deadline'.
 */
export async function buildDebian(options: DebianOptions): Promise<DebianImage> {
  const { cacheDir, suite = 'bookworm', sizeBytes = 4096 * MIB } = options;
  checkInput(suite, sizeBytes);
  await mkdir(cacheDir, { recursive: true });
  const customize = await readFile(CUSTOMIZE);
  const hash = createHash('sha256')
    .update(customize)
    .update(PACKAGES.join())
    .update(`${suite} ${sizeBytes} ${BUILD_VERSION}`)
    .digest('hex');
  const diskPath = join(cacheDir, `debian-${suite}-${hash.slice(0, 16)}.qcow2`);
  const image = { diskPath, sizeBytes, suite };
  if (await exists(diskPath)) return image;
  const work = await mkdtemp(join(cacheDir, '.debian-'));
  try {
    await bootstrap(work, suite, options);
    await writeDisk(work, sizeBytes, options);
    options.onProgress?.('packing the disk as qcow2');
    const packed = join(work, 'disk.qcow2');
    const argv = ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', join(work, 'disk.raw'), packed];
    await run(argv, { deadlineMs: FILE_SYSTEM_DEADLINE_MS, signal: options.signal, env: toolEnv() });
    await chmod(packed, 0o444);
    await rename(packed, diskPath);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return image;
}

function checkInput(suite: string, sizeBytes: number): void {
  if (!/^[a-z][a-z0-9-]{1,30}$/.test(suite))
    throw new CodedError('bad-input', `"${suite}" is not the name of a Debian suite.`);
  const inRange = sizeBytes >= SIZE_BYTES_MIN && sizeBytes <= SIZE_BYTES_MAX && sizeBytes % MIB === 0;
  if (!inRange)
    throw new CodedError('bad-input', `A Debian disk has 1.5 GiB to 1 TiB in whole MiB, not ${sizeBytes} bytes.`);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Installs the packages into root.tar. mmdebstrap works as root, or in a user namespace of its own. */
async function bootstrap(work: string, suite: string, options: DebianOptions): Promise<void> {
  options.onProgress?.(`installing Debian ${suite} into an archive (some minutes)`);
  const argv = [
    'mmdebstrap',
    '--quiet',
    '--variant=minbase',
    '--format=tar',
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    '--dpkgopt=path-exclude=/usr/share/doc/*',
    '--dpkgopt=path-exclude=/usr/share/man/*',
    '--dpkgopt=path-exclude=/usr/share/locale/*',
    `--include=${PACKAGES.join()}`,
    // The script goes as text: the namespace's root may not be able to read the folder it lies in.
    `--customize-hook=${await readFile(CUSTOMIZE, 'utf8')}`,
    suite,
    join(work, 'root.tar'),
  ];
  const env = { ...toolEnv(), ESP_BYTES: String(ESP_BYTES) };
  try {
    await run(argv, { deadlineMs: BOOTSTRAP_DEADLINE_MS, signal: options.signal, cwd: '/', env });
  } catch (cause) {
    if (!(cause instanceof CodedError) || cause.code !== 'failed') throw cause;
    throw new CodedError('failed', `Debian ${suite} could not be installed into an image: ${cause.message}`, {
      cause,
      advice:
        'Nothing was kept. As an ordinary user the packages mmdebstrap and uidmap are needed, and lines for you in /etc/subuid and /etc/subgid.',
    });
  }
}

/** Assembles disk.raw: tables, boot code, EFI system partition, root file system. */
async function writeDisk(work: string, sizeBytes: number, options: DebianOptions): Promise<void> {
  const diskSectors = sizeBytes / SECTOR_BYTES;
  // Ends on a MiB boundary so that the file system is a whole number of blocks.
  const rootSectors = diskSectors - ROOT_FIRST_SECTOR - 2048;
  options.onProgress?.('making the root file system');
  await makeRootFileSystem(work, rootSectors * SECTOR_BYTES, options.signal);
  const part = async (name: string) => extract(work, name, options.signal);
  const { code, core } = linkGrub({
    bootImage: await part('boot.img'),
    coreImage: await part('core.img'),
    coreFirstSector: BIOS_FIRST_SECTOR,
  });
  const esp = await part('esp.img');
  assert(
    core.length <= (ESP_FIRST_SECTOR - BIOS_FIRST_SECTOR) * SECTOR_BYTES && esp.length === ESP_BYTES,
    'boot parts fit',
  );
  const gpt = makeGpt({
    diskId: randomUUID(),
    diskSectors,
    partitions: [
      {
        type: PARTITION_TYPES.biosBoot,
        id: randomUUID(),
        name: 'bios',
        firstSector: BIOS_FIRST_SECTOR,
        sectors: ESP_FIRST_SECTOR - BIOS_FIRST_SECTOR,
      },
      {
        type: PARTITION_TYPES.efiSystem,
        id: randomUUID(),
        name: 'esp',
        firstSector: ESP_FIRST_SECTOR,
        sectors: ESP_BYTES / SECTOR_BYTES,
      },
      {
        type: PARTITION_TYPES.linuxRootX64,
        id: randomUUID(),
        name: 'root',
        firstSector: ROOT_FIRST_SECTOR,
        sectors: rootSectors,
      },
    ],
  });
  const disk = await open(join(work, 'disk.raw'), 'wx', 0o600);
  try {
    await disk.truncate(sizeBytes);
    code.copy(gpt.primary);
    await disk.write(gpt.primary, 0, gpt.primary.length, 0);
    await disk.write(core, 0, core.length, BIOS_FIRST_SECTOR * SECTOR_BYTES);
    await disk.write(esp, 0, esp.length, ESP_FIRST_SECTOR * SECTOR_BYTES);
    let at = ROOT_FIRST_SECTOR * SECTOR_BYTES;
    for await (const block of createReadStream(join(work, 'root.ext4'), {
      highWaterMark: COPY_BLOCK_BYTES,
      signal: options.signal,
    })) {
      assert(Buffer.isBuffer(block), 'bytes');
      // Blocks of zeros stay holes.
      if (!block.equals(ZEROS.subarray(0, block.length))) await disk.write(block, 0, block.length, at);
      at += block.length;
    }
    await disk.write(gpt.backup, 0, gpt.backup.length, sizeBytes - GPT_SECTORS.backup * SECTOR_BYTES);
  } finally {
    await disk.close();
  }
}

/** A boot file that debian-customize.sh left in the archive. */
async function extract(work: string, name: string, signal: AbortSignal | undefined): Promise<Buffer> {
  const argv = [
    'tar',
    '--extract',
    '--file',
    join(work, 'root.tar'),
    '--directory',
    work,
    `./boot/groundplane/${name}`,
  ];
  await run(argv, { deadlineMs: FILE_SYSTEM_DEADLINE_MS, signal, env: toolEnv() });
  return readFile(join(work, 'boot', 'groundplane', name));
}

/**
 * root.tar -> root.ext4 through mke2fs -d, which reads owners from a folder. As an ordinary user that folder exists in a user
 * namespace only; archive and image go through standard input and output, because its root may not enter our folders.
 */
async function makeRootFileSystem(work: string, sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
  const script = [
    'set -eu',
    'work=$(mktemp -d); trap "rm -rf \\"$work\\"" EXIT',
    'mkdir "$work/root"; tar --extract --numeric-owner --exclude "./dev/*" --directory "$work/root"',
    'rm -rf "$work/root/boot/groundplane"',
    `mke2fs -q -t ext4 -L gp-root -d "$work/root" "$work/image" ${sizeBytes / 1024}k >&2`,
    'dd if="$work/image" bs=64k conv=sparse status=none',
  ].join('\n');
  const inNamespace = process.getuid?.() === 0 ? [] : ['mmdebstrap', '--unshare-helper'];
  // $0 and $1 are the files, opened by us; the rest is the command.
  const redirect = 'in=$0; out=$1; shift; exec "$@" <"$in" >"$out"';
  const argv = [
    'sh',
    '-c',
    redirect,
    join(work, 'root.tar'),
    join(work, 'root.ext4'),
    ...inNamespace,
    'sh',
    '-c',
    script,
  ];
  await run(argv, { deadlineMs: FILE_SYSTEM_DEADLINE_MS, signal, env: toolEnv() });
  await using made = await open(join(work, 'root.ext4'), 'r+');
  await made.truncate(sizeBytes);
}
