/**
 * A kernel with an initramfs of busybox, kernel modules and files of a guest, from Debian's packages. Guarantees:
 * nothing of what is downloaded is run; the same packages and files give the same bytes.
 */
import { createHash } from 'node:crypto';
import { copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { CodedError } from '../base/errors.ts';
import { type CpioEntry, makeCpio } from './cpio.ts';
import { collectModules, type KernelModule } from './kernel-modules.ts';
import { unpackPackage } from './packages.ts';

/** The packages that `fetchPackages` is asked for, in the order in which InitramfsOptions names them. */
export const BOOT_PACKAGES = ['linux-image-cloud-amd64', 'busybox-static'] as const;

/** A folder as archive entries, in a fixed order. Executable is what its owner may execute. */
export async function readGuestFiles(root: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const path of (await readdir(root, { recursive: true })).sort()) {
    const full = join(root, path);
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

/** One line for a fingerprint: equal lines, equal entries. */
export function describeEntry(entry: CpioEntry): string {
  const content = entry.kind === 'file' ? createHash('sha256').update(entry.content).digest('hex') : '';
  return `${entry.kind} ${entry.path} ${entry.kind === 'symlink' ? entry.target : entry.mode} ${content}`;
}

export interface InitramfsOptions {
  readonly kernelDeb: string;
  readonly busyboxDeb: string;
  /** A folder for what is unpacked. */
  readonly work: string;
  /** An existing folder; it gets `vmlinuz` and `initrd.gz`. */
  readonly build: string;
  /** In the order of loading; their dependencies are found and loaded first. /lib/modules/order lists them. */
  readonly modules: readonly string[];
  /** Names under which busybox is called. */
  readonly applets: readonly string[];
  readonly files: readonly CpioEntry[];
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Writes kernel and initramfs. Errors: 'failed' where a package does not hold what it should. */
export async function writeKernelAndInitramfs(options: InitramfsOptions): Promise<void> {
  const { work, build, signal } = options;
  options.onProgress?.('unpacking kernel and busybox');
  await unpackPackage(options.kernelDeb, join(work, 'kernel'), signal);
  await unpackPackage(options.busyboxDeb, join(work, 'busybox'), signal);
  options.onProgress?.('writing the initramfs');
  const boot = await readdir(join(work, 'kernel', 'boot'));
  const kernel = boot.find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new CodedError('failed', 'The kernel package holds no /boot/vmlinuz.');
  const modulesDir = join(work, 'kernel', 'lib', 'modules', kernel.slice('vmlinuz-'.length));
  const modules = await collectModules(modulesDir, options.modules);
  const busybox = await readFile(join(work, 'busybox', 'bin', 'busybox'));
  await copyFile(join(work, 'kernel', 'boot', kernel), join(build, 'vmlinuz'));
  const system = systemEntries({ busybox, modules, applets: options.applets });
  const archive = makeCpio(withParents([...system, ...options.files]));
  await writeFile(join(build, 'initrd.gz'), await promisify(gzip)(archive, { level: 6 }));
}

interface SystemParts {
  readonly busybox: Uint8Array;
  readonly modules: readonly KernelModule[];
  readonly applets: readonly string[];
}

function systemEntries({ busybox, modules, applets }: SystemParts): CpioEntry[] {
  const directories = ['proc', 'sys', 'run', 'tmp', 'root', 'mnt'];
  const order = modules.map((module) => `${module.name}.ko\n`).join('');
  return [
    ...directories.map((path): CpioEntry => ({ kind: 'directory', path, mode: 0o755 })),
    // The kernel opens it for PID 1 before anything can mount a devtmpfs.
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: busybox },
    ...applets.map((name): CpioEntry => ({ kind: 'symlink', path: `bin/${name}`, target: 'busybox' })),
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
