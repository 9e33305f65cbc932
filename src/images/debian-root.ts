/**
 * A Debian root file system: packages installed or only unpacked into an archive, an archive made an ext4 image.
 * Guarantees: no mount and no loop device on this machine; no root where user namespaces with subordinate ids are
 * allowed.
 */
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { run } from '../os/child-process.ts';
import { toolEnv } from './packages.ts';

const BOOTSTRAP_DEADLINE_MS = 20 * 60_000;
const FILE_SYSTEM_DEADLINE_MS = 10 * 60_000;

export interface BootstrapOptions {
  /** Absolute path of the tar archive to be written. */
  readonly archive: string;
  readonly suite: string;
  /**
   * mmdebstrap's variant. `minbase`: a minimal system and `packages` are installed. `extract`: `packages` and their
   * dependencies are unpacked, in a quarter of the time; their scripts do not run, and packages that every system has
   * must be named.
   */
  readonly variant: 'minbase' | 'extract';
  readonly packages: readonly string[];
  /**
   * mmdebstrap's hooks that follow. Scripts go as text: the namespace's root may not be able to read the folder they
   * lie in.
   */
  readonly hooks: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/** /bin and its like are links: mmdebstrap makes them only in a hook when it unpacks. */
const MERGED_USR = '--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr';
/**
 * Files without use in a guest. dpkg leaves them out; for unpacking, mmdebstrap would rewrite every package with a slow
 * filter.
 */
const LEFT_OUT = ['doc', 'man', 'locale'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);

/** Mounts of an mmdebstrap that runs as root end with its last process, however that ends. */
const OWN_MOUNTS = ['unshare', '--mount', '--propagation', 'private'];

/** Installs or unpacks the packages. mmdebstrap works as root, or in a user namespace of its own. */
export async function bootstrapDebian(options: BootstrapOptions): Promise<void> {
  const { archive, suite, variant, packages, hooks, signal } = options;
  const isRoot = process.getuid?.() === 0;
  const argv = [
    ...(isRoot ? OWN_MOUNTS : []),
    'mmdebstrap',
    '--quiet',
    `--variant=${variant}`,
    '--format=tar',
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    ...(variant === 'extract' ? [MERGED_USR] : LEFT_OUT),
    `--include=${packages.join()}`,
    ...hooks.map((hook) => `--${variant === 'extract' ? 'extract' : 'customize'}-hook=${hook}`),
    suite,
    archive,
  ];
  // Killed, it would leave its root file system in /tmp; the folder of the archive is its maker's to remove.
  const own = isRoot ? { TMPDIR: dirname(archive) } : {};
  const env = { ...toolEnv(), ...own, ...options.env };
  try {
    await run(argv, { deadlineMs: BOOTSTRAP_DEADLINE_MS, signal, cwd: '/', env });
  } catch (cause) {
    if (!(cause instanceof CodedError) || cause.code !== 'failed') throw cause;
    throw new CodedError('failed', `Debian ${suite} could not be installed into an image: ${cause.message}`, {
      cause,
      advice:
        'Nothing was kept. As an ordinary user the packages mmdebstrap and uidmap are needed, and lines for you in /etc/subuid and /etc/subgid.',
    });
  }
}

export interface RootFileSystemOptions {
  readonly archive: string;
  readonly image: string;
  readonly sizeBytes: number;
  readonly label: string;
  /** Patterns of tar for what stays in the archive. */
  readonly exclude: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Archive to image through mke2fs -d, which reads owners from a folder. As an ordinary user that folder exists in a
 * user namespace only; archive and image go through standard input and output, because its root may not enter our
 * folders.
 */
export async function makeRootFileSystem(options: RootFileSystemOptions): Promise<void> {
  const { archive, image, sizeBytes, label, exclude, signal } = options;
  const left = exclude.map((pattern) => `--exclude "${pattern}"`).join(' ');
  const script = [
    'set -eu',
    'work=$(mktemp -d); trap "rm -rf \\"$work\\"" EXIT',
    `mkdir "$work/root"; tar --extract --numeric-owner ${left} --directory "$work/root"`,
    `mke2fs -q -t ext4 -L ${label} -d "$work/root" "$work/image" ${sizeBytes / 1024}k >&2`,
    'dd if="$work/image" bs=64k conv=sparse status=none',
  ].join('\n');
  const inNamespace = process.getuid?.() === 0 ? [] : ['mmdebstrap', '--unshare-helper'];
  // $0 and $1 are the files, opened by us; the rest is the command.
  const redirect = 'in=$0; out=$1; shift; exec "$@" <"$in" >"$out"';
  const argv = ['sh', '-c', redirect, archive, image, ...inNamespace, 'sh', '-c', script];
  await run(argv, { deadlineMs: FILE_SYSTEM_DEADLINE_MS, signal, env: toolEnv() });
  await using made = await open(image, 'r+');
  await made.truncate(sizeBytes);
}
