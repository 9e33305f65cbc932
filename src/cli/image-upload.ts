/**
 * Sends files to the cluster as artifacts under the SHA-256 of their content: hashed, sent only if the cluster lacks
 * them, with progress.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { PutImage } from '../api/requests.ts';
import { CodedError } from '../base/errors.ts';
import type { ApiClient, Upload } from '../client/client.ts';
import { DataCount } from '../os/sparse-file.ts';
import { cannotRead } from './cluster-location.ts';
import type { Io } from './io.ts';
import { formatBytes } from './units.ts';

const READ_BYTES = 1024 * 1024;

export interface FileToUpload {
  readonly path: string;
  /** The name that the user gave, if it differs from the path. */
  readonly label?: string;
  readonly kind: Upload['kind'];
}

/** Uploads a file if it is missing, and returns its SHA-256. `bad-input` if it cannot be read. */
export type UploadFile = (file: FileToUpload) => Promise<string>;

export interface ImageToMake {
  readonly io: Io;
  readonly client: ApiClient;
  readonly name: string;
}

/**
 * Makes an image: asks first whether its name is free (`exists`), so that no file is sent in vain; files that were sent
 * for an image that was not made are deleted again.
 */
export async function makeImage({ io, client, name }: ImageToMake, bodyOf: (upload: UploadFile) => Promise<PutImage>) {
  await refuseTaken(client, name);
  const sent: string[] = [];
  const upload: UploadFile = async (file) => {
    const { sha256, wasSent } = await uploadFile(io, client, file);
    if (wasSent) sent.push(sha256);
    return sha256;
  };
  try {
    const body = await bodyOf(upload);
    io.signal.throwIfAborted();
    return await client.call(client.http.PUT('/v1/images/{image}', { params: { path: { image: name } }, body }));
  } catch (error) {
    // If it is not deleted now, the cluster deletes it some minutes later.
    await Promise.allSettled(
      sent.map((sha256) => client.call(client.http.DELETE('/v1/artifacts/{sha256}', { params: { path: { sha256 } } }))),
    );
    throw error;
  }
}

async function refuseTaken(client: ApiClient, name: string): Promise<void> {
  try {
    await client.call(client.http.GET('/v1/images/{image}', { params: { path: { image: name } } }));
  } catch (error) {
    if (error instanceof CodedError && error.code === 'not-found') return;
    throw error;
  }
  throw new CodedError('exists', `An image named ${name} exists.`, {
    advice: 'Nothing was changed. Choose another name, or delete that image first.',
  });
}

async function uploadFile(
  io: Io,
  client: ApiClient,
  { path, kind, label = path }: FileToUpload,
): Promise<{ readonly sha256: string; readonly wasSent: boolean }> {
  const file = resolve(io.cwd, path);
  const { sizeBytes, allocatedBytes } = await sizeOf(file, label);
  await demandRoom(client, label, allocatedBytes);
  const { sha256, dataBytes } = await hashOf(file, io.signal);
  if (await isStored(client, sha256)) return { sha256, wasSent: false };
  const content = createReadStream(file, { highWaterMark: READ_BYTES });
  let sentBytes = 0;
  content.on('data', (chunk) => {
    sentBytes += chunk.length;
    if (io.errIsTty) io.err(`\r\u001b[K${label}: ${formatBytes(sentBytes)} of ${formatBytes(sizeBytes)}`);
  });
  // Listening to data makes a stream flow: it waits for its reader, the request.
  content.pause();
  try {
    await client.upload({ sha256, kind, sizeBytes, dataBytes, content }, io.signal);
  } finally {
    if (io.errIsTty) io.err('\r\u001b[K');
  }
  return { sha256, wasSent: true };
}

/** Returns the image's size and its allocated bytes, which are a lower bound of the room it needs in a pool. */
async function sizeOf(
  file: string,
  path: string,
): Promise<{ readonly sizeBytes: number; readonly allocatedBytes: number }> {
  const found = await stat(file).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  if (!found.isFile()) throw new CodedError('bad-input', `${path} is not a file.`, { advice: 'Nothing was changed.' });
  if (found.size === 0)
    throw new CodedError('bad-image', `The file ${path} is empty.`, { advice: 'Nothing was changed.' });
  return { sizeBytes: found.size, allocatedBytes: Math.min(found.size, found.blocks * 512) };
}

/**
 * Checks room before a large file is read: CodedError 'no-capacity' if no storage node has room for its allocated
 * bytes.
 */
async function demandRoom(client: ApiClient, label: string, allocatedBytes: number): Promise<void> {
  const rooms = (await client.list('/v1/storage-nodes')).map(({ name, usedBytes, totalBytes }) => ({
    name,
    freeBytes: usedBytes === null || totalBytes === null ? null : totalBytes - usedBytes,
  }));
  // A storage node that does not answer now may answer when the file has been read.
  if (rooms.length === 0 || rooms.some(({ freeBytes }) => freeBytes === null || freeBytes > allocatedBytes)) return;
  const free = rooms.map(({ name, freeBytes }) => `${name} has ${formatBytes(freeBytes ?? 0)} free`).join(', ');
  throw new CodedError(
    'no-capacity',
    `No storage node has room for ${label} (${formatBytes(allocatedBytes)}): ${free}.`,
    {
      advice: 'Nothing was read or sent. Delete what is not needed, or make a pool larger.',
    },
  );
}

/** Returns the file's hash, and how many of its bytes are in blocks that are not all zeroes. */
async function hashOf(
  file: string,
  signal: AbortSignal,
): Promise<{ readonly sha256: string; readonly dataBytes: number }> {
  const hash = createHash('sha256');
  const count = new DataCount();
  await pipeline(
    createReadStream(file, { highWaterMark: READ_BYTES }),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        hash.update(chunk);
        count.add(chunk);
      }
    },
    { signal },
  );
  return { sha256: hash.digest('hex'), dataBytes: count.dataBytes };
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
