/**
 * Kernels and initial RAM disks, fetched from storage nodes when a VM is started. Guarantees: a file under its name has
 * exactly the content that its SHA-256 says; what the host keeps of them is bounded and can be lost at any time.
 */

import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CodedError, messageOf } from '../base/errors.ts';
import { parseStorageName, type Sha256 } from '../base/ids.ts';
import { LIMITS } from '../core/model/limits.ts';
import type { ArtifactLocation } from '../core/ports/host-link.ts';
import { type DeadlineOptions, withDeadline } from '../os/deadline.ts';
import type { Credentials } from '../pki/credentials.ts';
import { RpcClient } from '../rpc/client.ts';

export interface FetchOptions {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

const CACHE_BYTES_MAX = LIMITS.directBootBytes.max;
const CONNECT_DEADLINE_MS = 3_000;

/**
 * Kernels and initial ramdisks that QEMUs on this host read, named by their SHA-256 in one directory. Guarantees: a
 * returned path has the announced content; a caller that asks while a file is being fetched waits for that fetch;
 * beyond 512 MiB, the least recently used files are deleted first.
 */
export class ArtifactCache {
  readonly #directory: string;
  readonly #credentials: Credentials;
  readonly #fetching = new Map<Sha256, Promise<string>>();

  constructor(directory: string, credentials: Credentials) {
    this.#directory = directory;
    this.#credentials = credentials;
  }

  /** The path of the file, fetched if it is not here. CodedError 'unavailable' naming each storage node's refusal. */
  async get(artifact: ArtifactLocation, options: FetchOptions): Promise<string> {
    const path = join(this.#directory, artifact.sha256);
    const size = await stat(path).then(
      (found) => found.size,
      () => -1,
    );
    if (size === artifact.sizeBytes) {
      const now = new Date();
      // The most recently used file is deleted last.
      await utimes(path, now, now).catch(() => undefined);
      return path;
    }
    const what = `the fetch of ${artifact.sha256}`;
    // A caller that gives up ends its own wait, not the fetch: others may wait for it.
    return withDeadline(() => this.#fetchOnce(artifact, path, { deadlineMs: options.deadlineMs, what }), {
      ...options,
      what,
    });
  }

  #fetchOnce(artifact: ArtifactLocation, path: string, deadline: Omit<DeadlineOptions, 'signal'>): Promise<string> {
    const underWay = this.#fetching.get(artifact.sha256);
    if (underWay !== undefined) return underWay;
    const fetching = withDeadline((signal) => this.#fetch(artifact, path, signal), deadline).finally(() =>
      this.#fetching.delete(artifact.sha256),
    );
    this.#fetching.set(artifact.sha256, fetching);
    return fetching;
  }

  async #fetch(artifact: ArtifactLocation, path: string, signal: AbortSignal): Promise<string> {
    // World-readable on purpose: QEMUs of any user read it, and a kernel is no secret.
    await mkdir(this.#directory, { recursive: true });
    // By chmod: the umask, which a careful service manager sets to 077, restricts the modes given to mkdir and open.
    await chmod(this.#directory, 0o755);
    await this.#makeRoom(artifact.sizeBytes);
    const failures: string[] = [];
    for (const from of artifact.from) {
      const client = new RpcClient({
        credentials: this.#credentials,
        target: {
          address: from.address,
          port: from.port,
          identity: { kind: 'storage', name: parseStorageName(from.node) },
        },
      });
      const temporary = `${path}.part`;
      try {
        const options = { deadlineMs: CONNECT_DEADLINE_MS, signal };
        const { stream } = await client.download(`/v1/artifacts/${artifact.sha256}`, options);
        const check = checker(artifact);
        await pipeline(stream, check, createWriteStream(temporary), { signal });
        await chmod(temporary, 0o644);
        await rename(temporary, path);
        return path;
      } catch (error) {
        await rm(temporary, { force: true });
        signal.throwIfAborted();
        failures.push(`${from.node}: ${messageOf(error)}`);
      } finally {
        client.close();
      }
    }
    throw new CodedError('unavailable', `${artifact.sha256} could not be fetched. ${failures.join(' ')}`, {
      advice: 'Nothing was started.',
    });
  }

  /** Removes the least recently used files until `sizeBytes` more fit. QEMU reads them only at its start. */
  async #makeRoom(sizeBytes: number): Promise<void> {
    const names = await readdir(this.#directory);
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#directory, name);
        // A file that another fetch renames or removes in the meantime takes no room.
        const { size, mtimeMs } = await stat(path).catch(() => ({ size: 0, mtimeMs: 0 }));
        return { path, size, mtimeMs };
      }),
    );
    files.sort((a, b) => a.mtimeMs - b.mtimeMs);
    let total = files.reduce((sum, { size }) => sum + size, sizeBytes);
    for (const { path, size } of files) {
      if (total <= CACHE_BYTES_MAX) return;
      await rm(path, { force: true });
      total -= size;
    }
  }
}

/** Passes bytes on and fails if they are not the announced ones. */
function checker({ sha256, sizeBytes }: ArtifactLocation): Transform {
  const hash = createHash('sha256');
  let seenBytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seenBytes += chunk.length;
      hash.update(chunk);
      if (seenBytes > sizeBytes) done(new CodedError('failed', `More than the announced ${sizeBytes} bytes came.`));
      else done(null, chunk);
    },
    flush(done) {
      if (seenBytes === sizeBytes && hash.digest('hex') === sha256) done();
      else done(new CodedError('failed', `${seenBytes} bytes came, and they are not ${sha256}.`));
    },
  });
}
