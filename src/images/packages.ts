/**
 * Debian packages as plain files: downloaded and unpacked, never installed.
 * Guarantees: nothing on this machine changes outside the cache directory, as root or not; where this machine's package
 * lists are empty or old, lists of our own are fetched into the cache; packages once fetched are used again offline.
 */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { run } from '../os/child-process.ts';

const LOOK_UP_DEADLINE_MS = 30_000;
const DOWNLOAD_DEADLINE_MS = 300_000;
const UNPACK_DEADLINE_MS = 120_000;

/**
 * The environment of the tools: fixed language, and the folders of administrators' programs, which users' PATH lacks.
 */
export function toolEnv(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C.UTF-8', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
}

export interface FetchOptions {
  readonly cacheDir: string;
  /** Names; a package that only depends on another (linux-image-cloud-amd64) stands for that one. */
  readonly names: readonly string[];
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Lists {
  readonly aptOptions: readonly string[];
}

async function realName(name: string, lists: Lists, signal: AbortSignal | undefined): Promise<string> {
  if (!name.startsWith('linux-image-')) return name;
  const options = { deadlineMs: LOOK_UP_DEADLINE_MS, signal, env: toolEnv() };
  const { stdout } = await run(['apt-cache', ...lists.aptOptions, 'depends', name], options);
  const real = /Depends:\s+(linux-image-\S+)/.exec(stdout)?.[1];
  if (real === undefined) throw new CodedError('unavailable', `The package lists of this machine do not know ${name}.`);
  return real;
}

/** Downloads into a directory of its own and then moves, so that a download cut short is never taken for a package. */
async function download(names: readonly string[], lists: Lists, options: FetchOptions): Promise<string[]> {
  const { cacheDir, signal } = options;
  const work = await mkdtemp(join(cacheDir, '.download-'));
  try {
    const real: string[] = [];
    for (const name of names) real.push(await realName(name, lists, signal));
    options.onProgress?.(`downloading ${real.join(', ')}`);
    const argv = ['apt-get', ...lists.aptOptions, '-q', 'download', ...real];
    await run(argv, { deadlineMs: DOWNLOAD_DEADLINE_MS, signal, cwd: work, env: toolEnv() });
    const files = await readdir(work);
    const paths = real.map((name) => {
      const file = files.find((candidate) => candidate.startsWith(`${name}_`) && candidate.endsWith('.deb'));
      if (file === undefined) throw new CodedError('failed', `apt-get download fetched no file for ${name}.`);
      return file;
    });
    for (const file of paths) await rename(join(work, file), join(cacheDir, file));
    return paths.map((file) => join(cacheDir, file));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function ownLists(options: FetchOptions): Promise<Lists> {
  options.onProgress?.('fetching package lists');
  const state = join(options.cacheDir, 'lists');
  const cache = join(options.cacheDir, 'apt-cache');
  await mkdir(join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  const aptOptions = [
    '-o',
    `Dir::State=${state}`,
    '-o',
    `Dir::State::lists=${join(state, 'lists')}`,
    '-o',
    `Dir::Cache=${cache}`,
    '-o',
    'Dir::State::status=/var/lib/dpkg/status',
  ];
  const { signal } = options;
  await run(['apt-get', ...aptOptions, '-q', 'update'], { deadlineMs: DOWNLOAD_DEADLINE_MS, signal, env: toolEnv() });
  return { aptOptions };
}

/** The newest file of each package in the cache, or undefined when one is missing. */
async function cached(options: FetchOptions): Promise<string[] | undefined> {
  const files = await readdir(options.cacheDir);
  const newest = options.names.map((name) => {
    const stem = name.startsWith('linux-image-cloud-')
      ? /^linux-image-[0-9].*-cloud-.*_.*\.deb$/
      : new RegExp(`^${name}_.*\\.deb$`);
    return files
      .filter((file) => stem.test(file))
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .at(-1);
  });
  return newest.every((file) => file !== undefined) ? newest.map((file) => join(options.cacheDir, file)) : undefined;
}

/**
 * The paths of the packages' .deb files in the order of `names`, in `cacheDir`. Tries this machine's package lists,
 * then lists of its own, then the cache. Errors: 'not-installed' (no apt-get), 'unavailable' (all three failed).
 */
export async function fetchPackages(options: FetchOptions): Promise<string[]> {
  await mkdir(options.cacheDir, { recursive: true });
  let cause: unknown;
  for (const listsOf of [async () => ({ aptOptions: [] }), () => ownLists(options)]) {
    try {
      return await download(options.names, await listsOf(), options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof CodedError && error.code === 'not-installed') cause ??= error;
      else cause = error;
    }
  }
  const kept = await cached(options);
  if (kept !== undefined) return kept;
  throw new CodedError('unavailable', `The Debian packages ${options.names.join(', ')} could not be downloaded.`, {
    cause,
    advice:
      "Nothing was changed. Check this machine's network and /etc/apt/sources.list, run `apt-get update` as root, and try again.",
  });
}

/** Unpacks a .deb file's content into a directory. */
export async function unpackPackage(path: string, into: string, signal?: AbortSignal): Promise<void> {
  await mkdir(into, { recursive: true });
  await run(['dpkg-deb', '--extract', path, into], { deadlineMs: UNPACK_DEADLINE_MS, signal, env: toolEnv() });
}
