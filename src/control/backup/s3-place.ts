/**
 * Copies of backups in S3, or in what speaks its protocol: requests signed with AWS Signature Version 4, addressed by path.
 *
 * Guarantees: credentials come from a file that only its owner may read, are read for each call, and are in no message;
 * TLS by the system's roots, or by those of a file that is named; each request ends when its connection stands still for
 * IDLE_MS, or with the signal; what may pass is tried TRIES times and no more; answers are read up to ANSWER_BYTES_MAX.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { AwsV4Signer } from 'aws4fetch';
import { SaxesParser } from 'saxes';
import { CodedError } from '../../base/errors.ts';
import { sleep } from '../../base/sleep.ts';
import { parseBackupFileName, type StoredBackup } from '../../core/model/backup.ts';
import type { Clock } from '../../core/ports/clock.ts';
import { readHandleBounded, readTextBounded } from '../../os/files.ts';
import type { BackupPlace } from './backup-place.ts';

/** Where it is, and how it is reached. */
export interface S3Config {
  /** https://ADDRESS[:PORT] */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Before the names of files; '' for none. */
  readonly prefix: string;
  /** aws_access_key_id, aws_secret_access_key and, if there is one, aws_session_token, a line each. */
  readonly credentialsFile: string;
  /** PEM; null: the system's roots. */
  readonly caFile: string | null;
}

const TRIES = 3;
const PAUSE_MS = 1_000;
const IDLE_MS = 30_000;
const ANSWER_BYTES_MAX = 4 * 1024 ** 2;
const FILE_BYTES_MAX = 1024 ** 2;
/** Pages of a listing, of 1,000 names each. */
const PAGES_MAX = 10;
const EMPTY_SHA256 = createHash('sha256').digest('hex');

interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

interface S3Request {
  readonly method: 'GET' | 'PUT' | 'DELETE';
  /** Within the bucket; '' for the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  /** The file that is sent. */
  readonly file?: { readonly path: string; readonly sizeBytes: number; readonly sha256: string };
}

interface S3Answer {
  readonly status: number;
  readonly body: string;
}

/** A bucket. */
export class S3Place implements BackupPlace {
  readonly kind = 's3';
  readonly where: string;
  readonly #config: S3Config;
  readonly #control: string;
  readonly #clock: Clock;

  constructor(config: S3Config, { control, clock }: { readonly control: string; readonly clock: Clock }) {
    this.#config = config;
    this.#control = control;
    this.#clock = clock;
    this.where = `s3://${config.bucket}/${config.prefix}`;
  }

  async list(signal: AbortSignal): Promise<readonly StoredBackup[]> {
    const { prefix } = this.#config;
    const found: StoredBackup[] = [];
    let token: string | null = null;
    for (let pages = 0; pages < PAGES_MAX; pages++) {
      const query = {
        'list-type': '2',
        prefix: `${prefix}${this.#control}-`,
        ...(token === null ? {} : { 'continuation-token': token }),
      };
      const { body } = await this.#send({ method: 'GET', key: '', query }, signal);
      const listing = readListing(body);
      for (const { key, sizeBytes } of listing.objects) {
        const file = key.slice(prefix.length);
        const name = parseBackupFileName(file);
        if (name?.control === this.#control) found.push({ ...name, file, sizeBytes });
      }
      token = listing.next;
      if (token === null) break;
    }
    return found;
  }

  async copy(path: string, file: string, signal: AbortSignal): Promise<void> {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Buffer);
    const { size: sizeBytes } = await stat(path);
    const key = `${this.#config.prefix}${file}`;
    await this.#send({ method: 'PUT', key, file: { path, sizeBytes, sha256: hash.digest('hex') } }, signal);
  }

  async delete(file: string, signal: AbortSignal): Promise<void> {
    await this.#send({ method: 'DELETE', key: `${this.#config.prefix}${file}` }, signal);
  }

  /** CodedError 'unavailable', or 'forbidden' and 'failed' for what S3 refuses. */
  async #send(request: S3Request, signal: AbortSignal): Promise<S3Answer> {
    for (let tries = 1; ; tries++) {
      const answer = await this.#try(request, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        return error as Error;
      });
      if (!(answer instanceof Error)) {
        if (answer.status < 300 || (answer.status === 404 && request.method === 'DELETE')) return answer;
        if ((answer.status < 500 && answer.status !== 429) || tries === TRIES) throw this.#refused(answer);
      } else if (answer instanceof CodedError) throw answer;
      else if (tries === TRIES)
        throw new CodedError('unavailable', `${this.#config.endpoint} cannot be reached: ${answer.message}.`);
      await sleep(this.#clock, PAUSE_MS * 4 ** (tries - 1), { signal });
    }
  }

  #refused({ status, body }: S3Answer): CodedError {
    const why = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(body)?.[1] ?? 'no reason';
    const code = status === 403 || status === 401 ? 'forbidden' : status < 500 ? 'failed' : 'unavailable';
    return new CodedError(code, `${this.#config.endpoint} refused it with status ${status} (${why}).`);
  }

  async #try({ method, key, query = {}, file }: S3Request, signal: AbortSignal): Promise<S3Answer> {
    const { endpoint, bucket, region, credentialsFile, caFile } = this.#config;
    const path = [bucket, ...(key === '' ? [] : key.split('/'))].map(encodeURIComponent).join('/');
    const url = new URL(`/${path}?${new URLSearchParams(query).toString()}`, endpoint);
    const signer = new AwsV4Signer({
      ...(await readS3Credentials(credentialsFile)),
      ...{ method, url: url.href, service: 's3', region },
      headers: { 'x-amz-content-sha256': file?.sha256 ?? EMPTY_SHA256 },
    });
    const signed = await signer.sign();
    const ca = caFile === null ? undefined : await readTextBounded(caFile, FILE_BYTES_MAX);
    if (caFile !== null && ca === undefined) throw new CodedError('not-found', `There is no ${caFile}.`);
    const headers = { ...Object.fromEntries(signed.headers), 'content-length': String(file?.sizeBytes ?? 0) };
    const { promise, resolve, reject } = Promise.withResolvers<S3Answer>();
    const options = { method, headers, signal, timeout: IDLE_MS, agent: false, ...(ca === undefined ? {} : { ca }) };
    const sending = httpsRequest(signed.url, options, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) sending.destroy(new Error('its answer is too long'));
        else chunks.push(chunk);
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    });
    sending.once('timeout', () => sending.destroy(new Error(`nothing came for ${IDLE_MS / 1_000} s`)));
    sending.once('error', reject);
    if (file === undefined) sending.end();
    else {
      const content = createReadStream(file.path, { end: Math.max(0, file.sizeBytes - 1) });
      content.once('error', (error) => sending.destroy(error));
      content.pipe(sending);
      sending.once('close', () => content.destroy());
    }
    return promise;
  }
}

/**
 * Reads the file of credentials. CodedError 'not-found', 'bad-input' for one without both keys, 'forbidden' where others
 * than its owner may read it. No message holds what is in it.
 */
export async function readS3Credentials(path: string): Promise<S3Credentials> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) throw new CodedError('not-found', `The credentials in ${path} cannot be read.`);
  try {
    if (((await file.stat()).mode & 0o077) !== 0)
      throw new CodedError('forbidden', `Others than its owner may read ${path}.`, {
        advice: `Nothing was sent. chmod 600 ${path}, and change the keys if others may have read them.`,
      });
    const text = (await readHandleBounded(file, FILE_BYTES_MAX)) ?? '';
    const values = new Map(
      text.split('\n').flatMap((line) => {
        const match = /^\s*(aws_[a-z_]+)\s*=\s*(\S+)\s*$/.exec(line);
        return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
      }),
    );
    const [accessKeyId, secretAccessKey] = [values.get('aws_access_key_id'), values.get('aws_secret_access_key')];
    if (accessKeyId === undefined || secretAccessKey === undefined)
      throw new CodedError('bad-input', `${path} does not hold aws_access_key_id and aws_secret_access_key.`);
    const sessionToken = values.get('aws_session_token');
    // A header takes nothing else, and its refusal would quote the value.
    if ([accessKeyId, secretAccessKey, sessionToken ?? '-'].some((value) => !/^[\x21-\x7e]+$/.test(value)))
      throw new CodedError('bad-input', `A key in ${path} has other characters than the printable ones of ASCII.`);
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  } finally {
    await file.close();
  }
}

/** Reads an answer to ListObjectsV2. CodedError 'failed' where it is none. */
export function readListing(xml: string): {
  readonly objects: readonly { readonly key: string; readonly sizeBytes: number }[];
  readonly next: string | null;
} {
  const objects: { key: string; sizeBytes: number }[] = [];
  const path: string[] = [];
  let next: string | null = null;
  let object = { key: '', sizeBytes: 0 };
  let text = '';
  const parser = new SaxesParser();
  parser.on('error', (cause) => {
    throw new CodedError('failed', 'A listing of S3 cannot be read.', { cause });
  });
  parser.on('opentag', ({ name }) => {
    path.push(name);
    text = '';
    if (name === 'Contents') object = { key: '', sizeBytes: 0 };
  });
  parser.on('text', (more) => {
    text += more;
  });
  parser.on('closetag', ({ name }) => {
    path.pop();
    const parent = path.at(-1);
    if (parent === 'Contents' && name === 'Key') object.key = text;
    else if (parent === 'Contents' && name === 'Size') object.sizeBytes = /^\d{1,15}$/.test(text) ? Number(text) : 0;
    else if (name === 'Contents') objects.push(object);
    else if (name === 'NextContinuationToken') next = text;
  });
  parser.write(xml).close();
  return { objects, next };
}
