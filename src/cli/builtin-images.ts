/** The images Groundplane can build itself, built on this machine, cached, and imported. */
import { join, resolve } from 'node:path';
import type { Image } from '../api/views.ts';
import type { ApiClient } from '../client/client.ts';
import { makeImage } from './image-upload.ts';
import type { Io } from './io.ts';

const MIB = 1024 ** 2;
/** Enough for a busybox guest; its disk is for experiments. */
const TINY_DEFAULTS = { memoryBytes: 128 * MIB, vcpus: 1, blankDiskBytes: 64 * MIB };
/** Tested: it boots with 96 MiB, and prints nothing with 64 MiB. */
const TINY_MIN_MEMORY_BYTES = 96 * MIB;
const DEBIAN_DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1 };
/** Corosync's locked memory, Pacemaker and a database: a quarter of it is free when all of that runs. */
const GUEST_CLUSTER_DEFAULTS = { memoryBytes: 384 * MIB, vcpus: 1 };

/** The directory where builds are kept: GP_CACHE_DIR, shared by several clusters, or DIR/cache. */
export function imageCacheDir(io: Pick<Io, 'env' | 'cwd'>, clusterDir: string): string {
  const shared = io.env['GP_CACHE_DIR'];
  return shared === undefined || shared === '' ? join(clusterDir, 'cache') : resolve(io.cwd, shared);
}

export interface Build {
  readonly io: Io;
  readonly client: ApiClient;
  readonly name: string;
  readonly cacheDir: string;
  readonly onProgress?: (line: string) => void;
}

/** Debian's cloud kernel with busybox, booted directly. CodedError 'exists' before anything is built. */
export function importTiny({ io, client, name, cacheDir, onProgress }: Build): Promise<Image> {
  return makeImage({ io, client, name }, async (upload) => {
    const { buildTiny } = await import('../images/tiny.ts');
    const built = await buildTiny({ cacheDir, onProgress, signal: io.signal });
    const kernel = await upload({ path: built.kernelPath, kind: 'kernel' });
    const initrd = await upload({ path: built.initrdPath, kind: 'initrd' });
    const direct = { kernel, initrd, append: built.append };
    return { direct, defaults: TINY_DEFAULTS, minMemoryBytes: TINY_MIN_MEMORY_BYTES };
  });
}

/** A Debian disk image that boots by BIOS and UEFI. CodedError 'exists' before anything is built. */
export function importDebian({ io, client, name, cacheDir, onProgress }: Build, suite?: string): Promise<Image> {
  return makeImage({ io, client, name }, async (upload) => {
    const { buildDebian } = await import('../images/debian.ts');
    const built = await buildDebian({ cacheDir, suite, onProgress, signal: io.signal });
    const sha256 = await upload({ path: built.diskPath, kind: 'disk' });
    return { disk: { sha256, format: 'qcow2' }, defaults: DEBIAN_DEFAULTS };
  });
}

/**
 * A member of a guest cluster: corosync, Pacemaker, fence_scsi, PostgreSQL. CodedError 'exists' before anything is
 * built.
 */
export function importGuestCluster({ io, client, name, cacheDir, onProgress }: Build): Promise<Image> {
  return makeImage({ io, client, name }, async (upload) => {
    const { buildGuestClusterImage } = await import('../images/guest-cluster.ts');
    const built = await buildGuestClusterImage({ cacheDir, onProgress, signal: io.signal });
    const kernel = await upload({ path: built.kernelPath, kind: 'kernel' });
    const initrd = await upload({ path: built.initrdPath, kind: 'initrd' });
    const direct = { kernel, initrd, append: built.append };
    const sha256 = await upload({ path: built.diskPath, kind: 'disk' });
    const disk = { sha256, format: 'qcow2' as const };
    return { disk, direct, defaults: GUEST_CLUSTER_DEFAULTS };
  });
}
