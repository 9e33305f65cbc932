/**
 * Builds in a cache directory: one folder per build, named by the build's inputs. Guarantees: a build appears complete
 * or not at all, so concurrent builders are safe; leftovers of a killed builder are deleted after a day.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

const ABANDONED_AFTER_MS = 24 * 3_600_000;

/** One hash of several texts. */
export function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

/** The youngest of the builds whose names begin with `prefix`. */
export async function newestBuild(cacheDir: string, prefix: string): Promise<string | undefined> {
  const found: { path: string; timeMs: number }[] = [];
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(cacheDir, name);
    found.push({ path, timeMs: (await stat(path)).mtimeMs });
  }
  found.sort((a, b) => b.timeMs - a.timeMs);
  return found[0]?.path;
}

export interface BuildOptions {
  readonly cacheDir: string;
  /** Name of the finished folder. */
  readonly name: string;
  /** The word that begins the names of this kind's builds. */
  readonly kind: string;
  /** Writes files into `build`; `work` is for everything else. */
  readonly make: (paths: { readonly work: string; readonly build: string }) => Promise<void>;
}

/** Makes a build and puts it in its place. Somebody else's build of the same name is as good as ours. */
export async function makeBuild({ cacheDir, name, kind, make }: BuildOptions): Promise<string> {
  await removeAbandoned(cacheDir, kind);
  const target = join(cacheDir, name);
  const work = await mkdtemp(join(cacheDir, `.${kind}-`));
  try {
    const build = join(work, 'build');
    await mkdir(build);
    await make({ work, build });
    // QEMU runs as another user: all users can read the file, and none can change it.
    for (const file of await readdir(build)) await chmod(join(build, file), 0o444);
    await chmod(build, 0o755);
    await publish(build, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return target;
}

async function publish(build: string, target: string): Promise<void> {
  try {
    await rename(build, target);
  } catch (cause) {
    const taken = cause instanceof Error && 'code' in cause && (cause.code === 'ENOTEMPTY' || cause.code === 'EEXIST');
    if (!taken) throw cause;
  }
}

async function removeAbandoned(cacheDir: string, kind: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith(`.${kind}-`)) continue;
    const path = join(cacheDir, name);
    const about = await stat(path).catch(() => undefined);
    if (about !== undefined && Date.now() - about.mtimeMs > ABANDONED_AFTER_MS)
      await rm(path, { recursive: true, force: true });
  }
}
