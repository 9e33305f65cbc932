/** The files that are brought to the machines besides Debian: packages of this clone, and an image for guests. */
import { copyFile, cp, mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makePackage } from '../../scripts/package/deb.ts';
import { buildTiny } from '../../src/images/tiny.ts';
import { run } from '../../src/os/child-process.ts';
import { ROOT } from './machines.ts';

/** The directory in which the machines find them. */
const DELIVERED = '/opt/groundplane';
/** The image cache there: GP_CACHE_DIR of `gp image build`. */
export const IMAGE_CACHE = `${DELIVERED}/images`;
/** See hand.mjs. */
export const HAND = `${DELIVERED}/hand.mjs`;
const WORK = join(ROOT, '.cache/install');
const IMAGES = join(ROOT, '.cache/images');
const EPOCH_S = 1_796_000_000;
const BUILD_MS = 120_000;

/** Makes the packages of these versions and the image. Returns the lower directory that has them. */
export async function deliver(versions: readonly string[], signal: AbortSignal): Promise<string> {
  const layer = join(WORK, 'delivered');
  const place = join(layer, DELIVERED);
  await rm(layer, { recursive: true, force: true });
  await mkdir(place, { recursive: true });
  await buildWeb(signal);
  const outDir = join(WORK, 'package');
  for (const version of versions) {
    const options = { root: ROOT, outDir, version, epochS: EPOCH_S, signal, compression: 'gzip' } as const;
    const deb = await makePackage(options);
    await copyFile(deb, join(place, basename(deb)));
  }
  await copyFile(join(import.meta.dirname, 'hand.mjs'), join(layer, HAND));
  const { kernelPath } = await buildTiny({ cacheDir: IMAGES, signal });
  const built = dirname(kernelPath);
  await cp(built, join(layer, IMAGE_CACHE, basename(built)), { recursive: true });
  return layer;
}

/** Builds the web interface, which every package has, unless it is built already. */
export async function buildWeb(signal: AbortSignal): Promise<void> {
  const argv = [process.execPath, '--disable-warning=ExperimentalWarning', join(ROOT, 'scripts/build-web.ts')];
  await run(argv, { deadlineMs: BUILD_MS, signal });
}

/** Returns the package of a version, as the machines see it. */
export function debOf(version: string): string {
  return `${DELIVERED}/groundplane_${version}_amd64.deb`;
}
