/**
 * Builds a bootable Debian disk image: GPT with GRUB for BIOS and systemd-boot for UEFI, ext4 root, systemd, cloud-init
 * (NoCloud), a serial console. Guarantees: no loop device, no mount on this machine, no root where user namespaces with
 * subordinate ids are allowed; the image appears in the cache complete or not at all.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { run } from '../os/child-process.ts';
import { bootstrapDebian, makeRootFileSystem } from './debian-root.ts';
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
const FILE_SYSTEM_DEADLINE_MS = 10 * 60_000;
const COPY_BLOCK_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(COPY_BLOCK_BYTES);

const MIB = 1024 * 1024;
const BIOS_FIRST_SECTOR = 2048;
const ESP_FIRST_SECTOR = 4096;
const ESP_BYTES = 96 * MIB;
const ROOT_FIRST_SECTOR = ESP_FIRST_SECTOR + ESP_BYTES / SECTOR_BYTES;
/** The size that the system itself needs, with some reserve; the caller may choose more. */
const SIZE_BYTES_MIN = 1536 * MIB;
const SIZE_BYTES_MAX = 1024 * 1024 * MIB;

export interface DebianOptions {
  readonly cacheDir: string;
  /** A Debian suite; 'bookworm' is what is tested. */
  readonly suite?: string | undefined;
  /**
   * Size of the virtual disk, 1.5 GiB to 1 TiB, a multiple of 1 MiB; 4 GiB by default. The file holds only what is
   * used.
   */
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
    options.onProgress?.(`installing Debian ${suite} into an archive (some minutes)`);
    const archive = join(work, 'root.tar');
    const hooks = [customize.toString('utf8')];
    const env = { ESP_BYTES: String(ESP_BYTES) };
    await bootstrapDebian({
      archive,
      suite,
      variant: 'minbase',
      packages: PACKAGES,
      hooks,
      env,
      signal: options.signal,
    });
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

function partitionTable(diskSectors: number, rootSectors: number): ReturnType<typeof makeGpt> {
  return makeGpt({
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
}

/** Assembles disk.raw: tables, boot code, EFI system partition, root file system. */
async function writeDisk(work: string, sizeBytes: number, options: DebianOptions): Promise<void> {
  const diskSectors = sizeBytes / SECTOR_BYTES;
  // Ends on a MiB boundary so that the file system is a whole number of blocks.
  const rootSectors = diskSectors - ROOT_FIRST_SECTOR - 2048;
  options.onProgress?.('making the root file system');
  await makeRootFileSystem({
    archive: join(work, 'root.tar'),
    image: join(work, 'root.ext4'),
    sizeBytes: rootSectors * SECTOR_BYTES,
    label: 'gp-root',
    exclude: ['./dev/*', './boot/groundplane'],
    signal: options.signal,
  });
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
  const gpt = partitionTable(diskSectors, rootSectors);
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
