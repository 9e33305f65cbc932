/**
 * Uploads a file under the SHA-256 of its content. Guarantees: the file is never in memory as a whole; progress is
 * reported; a failure has the API's own words.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { errorOfProblem } from '../../../../src/api/problem.ts';
import { CodedError } from '../../../../src/base/errors.ts';

/** The progress: first the content is hashed, then it is sent. */
export interface UploadProgress {
  readonly step: 'hashing' | 'sending';
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** The uploaded file. */
export interface UploadedFile {
  readonly sha256: string;
  readonly format: 'qcow2' | 'raw';
}

const CHUNK_BYTES = 4 * 1024 * 1024;
/** The first bytes of a qcow2 file: "QFI" and 0xfb. */
const QCOW2_MAGIC = 0x514649fb;

interface UploadOptions {
  readonly file: File;
  readonly onProgress: (progress: UploadProgress) => void;
  readonly signal: AbortSignal;
}

/** See the module's comment. */
export async function uploadFile({ file, onProgress, signal }: UploadOptions): Promise<UploadedFile> {
  const hash = await hashOf({ file, onProgress, signal });
  await send(hash, { file, onProgress, signal });
  return { sha256: hash, format: await formatOf(file) };
}

async function formatOf(file: File): Promise<UploadedFile['format']> {
  const head = new DataView(await file.slice(0, 4).arrayBuffer());
  return head.byteLength === 4 && head.getUint32(0) === QCOW2_MAGIC ? 'qcow2' : 'raw';
}

async function hashOf({ file, onProgress, signal }: UploadOptions): Promise<string> {
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += CHUNK_BYTES) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + CHUNK_BYTES).arrayBuffer()));
    onProgress({ step: 'hashing', doneBytes: Math.min(file.size, at + CHUNK_BYTES), totalBytes: file.size });
  }
  return [...hash.digest()].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `fetch` does not report how much was sent so far. */
function send(hash: string, { file, onProgress, signal }: UploadOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', `/v1/artifacts/${hash}?kind=disk`);
    request.setRequestHeader('content-type', 'application/octet-stream');
    request.responseType = 'json';
    request.upload.onprogress = ({ loaded, total }) =>
      onProgress({ step: 'sending', doneBytes: loaded, totalBytes: total });
    request.onload = () => {
      if (request.status < 300) resolve();
      else reject(errorOfProblem(request.status, request.response));
    };
    request.onerror = () =>
      reject(
        new CodedError('unavailable', 'The upload was cut off.', {
          advice: 'Nothing was kept. Upload the file again.',
        }),
      );
    request.onabort = () => reject(signal.reason);
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}
