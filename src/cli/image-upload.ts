/** Files to the cluster as artifacts under the SHA-256 of their content: hashed, sent only where it is not there yet, with progress. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CodedError } from '../base/errors.ts';
import type { ApiClient, Upload } from '../client/client.ts';
import { cannotRead } from './cluster-location.ts';
import type { Io } from './io.ts';
import { formatBytes } from './units.ts';

const READ_BYTES = 1024 * 1024;

export interface FileToUpload {
  readonly path: string;
  readonly kind: Upload['kind'];
}

/** Uploads the file where it is missing, and returns its SHA-256. `bad-input` where it cannot be read. */
export async function uploadFile(io: Io, client: ApiClient, { path, kind }: FileToUpload): Promise<string> {
  const file = resolve(io.cwd, path);
  const sizeBytes = await sizeOf(file, path);
  const sha256 = await hashOf(file, io.signal);
  if (await isStored(client, sha256)) return sha256;
  const content = createReadStream(file, { highWaterMark: READ_BYTES });
  let sentBytes = 0;
  content.on('data', (chunk) => {
    sentBytes += chunk.length;
    if (io.errIsTty) io.err(`\r\u001b[K${path}: ${formatBytes(sentBytes)} of ${formatBytes(sizeBytes)}`);
  });
  // Listening to data makes a stream flow: it waits for its reader, the request.
  content.pause();
  try {
    await client.upload({ sha256, kind, sizeBytes, content }, io.signal);
  } finally {
    if (io.errIsTty) io.err('\r\u001b[K');
  }
  return sha256;
}

async function sizeOf(file: string, path: string): Promise<number> {
  const found = await stat(file).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  if (!found.isFile()) throw new CodedError('bad-input', `${path} is not a file.`, { advice: 'Nothing was changed.' });
  if (found.size === 0)
    throw new CodedError('bad-image', `The file ${path} is empty.`, { advice: 'Nothing was changed.' });
  return found.size;
}

async function hashOf(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: READ_BYTES }), hash, { signal });
  return hash.digest('hex');
}

async function isStored(client: ApiClient, sha256: string): Promise<boolean> {
  try {
    await client.call(client.http.GET('/v1/artifacts/{sha256}', { params: { path: { sha256 } } }));
    return true;
  } catch (error) {
    if (error instanceof CodedError && error.code === 'not-found') return false;
    throw error;
  }
}
