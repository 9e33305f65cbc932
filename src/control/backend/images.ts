/** Images and their files through the API. A file is kept on every storage node that answers, so that its loss takes no image with it. */
import { PassThrough, type Readable } from 'node:stream';
import type { PutImage } from '../../api/requests.ts';
import type { Artifact, Image } from '../../api/views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseImageName, parseSha256, type Sha256, type StorageName } from '../../base/ids.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { ArtifactInfo } from '../../core/ports/storage-link.ts';
import type { Entry } from '../../core/ports/store.ts';
import { pause } from '../../os/deadline.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import type { ArtifactUpload, Call, Conditional } from '../api/backend.ts';
import { type BackendContext, change, checkRevision } from './context.ts';
import { imageView } from './views.ts';

const MIB = 1024 * 1024;
const DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1, blankDiskBytes: null } as const;
/** An upload ends when it moves for longer than this. */
const UPLOAD_MS_MAX = 3_600_000;
const DELETE_MS = 10_000;
/** Storage nodes report several times a second; one that is slower than this does not hold up an import. */
const REPORTED_MS = 3_000;
const LOOK_EVERY_MS = 50;

/** What is known of an uploaded file until an image names it. */
interface Uploaded {
  readonly info: ArtifactInfo;
  readonly kind: 'disk-qcow2' | 'disk-raw' | 'kernel' | 'initrd';
  /** Who kept it when it was uploaded. */
  readonly nodes: readonly StorageName[];
}

const QCOW2_MAGIC = Buffer.from('QFI\xfb', 'latin1');
/** Uploads remembered for the image that will name them. */
const UPLOADS_MAX = 256;

/** Images and uploads; what was uploaded is remembered until an image names it, by this process only. */
export class ImagesBackend {
  readonly #context: BackendContext;
  readonly #uploads = new Map<Sha256, Uploaded>();

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(): readonly Image[] {
    return [...this.#context.store.images.values()]
      .sort((a, b) => (a.value.name < b.value.name ? -1 : 1))
      .map(imageView);
  }

  get(name: string): Image {
    return imageView(this.#find(name));
  }

  /** Records an image over files that were uploaded before. */
  async put(name: string, request: PutImage): Promise<Image> {
    const image = this.#recordOf(name, request);
    await change(this.#context, () => {
      if (this.#context.store.images.get(name) !== undefined) {
        throw new CodedError('exists', `An image named ${name} exists.`, {
          advice: 'Nothing was changed. Choose another name, or delete that image first.',
        });
      }
      return { writes: [{ key: keyOf.image(image.name), value: image, expect: 0 }], result: null };
    });
    await this.#untilReported(image);
    return this.get(name);
  }

  /** VMs are placed by what storage reports: an image that was stored can be used at once. */
  async #untilReported(image: ImageRecord): Promise<void> {
    const endsAtMs = monotonicMs() + REPORTED_MS;
    const isReported = (node: StorageName): boolean => {
      const report = this.#context.leading()?.controller.storageObserver.report(node);
      return report == null || filesOf(image).every((sha256) => report.artifacts.includes(sha256));
    };
    while (!image.nodes.every(isReported) && monotonicMs() < endsAtMs) await pause(LOOK_EVERY_MS);
  }

  async delete(name: string, { ifMatch }: Conditional): Promise<void> {
    const image = this.#find(name);
    checkRevision(image, ifMatch, `Image ${name}`);
    const files = filesOf(image.value);
    const users = [...this.#context.store.vms.values()]
      .filter(({ value: { spec } }) => spec.image === name)
      .map(({ value }) => value.name);
    if (users.length > 0) {
      throw new CodedError('conflict', `Image ${name} is used by ${users.slice(0, 5).join(', ')}.`, {
        advice: 'Nothing was deleted. Delete those VMs first.',
      });
    }
    await change(this.#context, () => {
      const entry = this.#find(name);
      checkRevision(entry, ifMatch, `Image ${name}`);
      return { writes: [{ key: keyOf.image(entry.value.name), value: null, expect: entry.revision }], result: null };
    });
    const kept = this.#filesInUse();
    for (const sha256 of files) if (!kept.has(sha256)) await this.#deleteFile(sha256);
  }

  getArtifact(text: string): Artifact {
    const sha256 = parseSha256(text);
    const nodes = this.#nodesWith(sha256);
    const uploaded = this.#uploads.get(sha256)?.info.sizeBytes;
    const sizeBytes = uploaded ?? this.#sizeOf(sha256);
    if (nodes.length === 0 || sizeBytes === undefined)
      throw new CodedError('not-found', `No file ${sha256} is stored.`);
    return { sha256, sizeBytes, nodes: [...nodes] };
  }

  /** Streams a file to every storage node that answers, at once. At least one must keep it. */
  async putArtifact(upload: ArtifactUpload, call: Call): Promise<Artifact> {
    const sha256 = parseSha256(upload.sha256);
    const nodes = this.#aliveNodes();
    if (nodes.length === 0)
      throw new CodedError('unavailable', 'No storage node answers.', {
        advice: 'Nothing was stored. Start the storage service, then try again.',
      });
    const { head, body } = await peek(upload.body, QCOW2_MAGIC.length);
    const kind = upload.kind === 'disk' ? (head.equals(QCOW2_MAGIC) ? 'disk-qcow2' : 'disk-raw') : upload.kind;
    const branches = nodes.map((node) => ({ node, stream: new PassThrough() }));
    const feeding = feed(
      body,
      branches.map(({ stream }) => stream),
    );
    const results = await Promise.allSettled(
      branches.map(({ node, stream }) =>
        this.#context.storage.putArtifact(
          node,
          { sha256, kind, sizeBytes: upload.sizeBytes, body: stream },
          { deadlineMs: UPLOAD_MS_MAX, signal: call.signal },
        ),
      ),
    );
    await feeding.catch(() => undefined);
    const kept = results.flatMap((result, index) =>
      result.status === 'fulfilled' ? [{ node: nodes[index] as StorageName, info: result.value }] : [],
    );
    const [first] = kept;
    if (first === undefined) throw refusalOf(results);
    if (this.#uploads.size >= UPLOADS_MAX) this.#uploads.delete(this.#uploads.keys().next().value as Sha256);
    this.#uploads.set(sha256, { info: first.info, kind, nodes: kept.map(({ node }) => node) });
    return { sha256, sizeBytes: first.info.sizeBytes, nodes: kept.map(({ node }) => node) };
  }

  #recordOf(name: string, request: PutImage): ImageRecord {
    const parsed = parseImageName(name);
    if (request.disk === undefined && request.direct === undefined)
      throw new CodedError('bad-input', `Image ${name} has neither a disk nor a kernel.`, {
        advice: 'Nothing was stored.',
      });
    const { minMemoryBytes } = request;
    const memoryBytes = request.defaults?.memoryBytes ?? Math.max(DEFAULTS.memoryBytes, minMemoryBytes ?? 0);
    if (minMemoryBytes !== undefined && memoryBytes < minMemoryBytes)
      throw new CodedError('bad-input', `Image ${name} would give VMs less memory than it says that they need.`, {
        advice: 'Nothing was stored. Give defaults.memoryBytes at least minMemoryBytes.',
      });
    const disk = request.disk === undefined ? null : this.#demand(request.disk.sha256, 'disk');
    const kernel = request.direct === undefined ? null : this.#demand(request.direct.kernel, 'kernel');
    const initrd = request.direct?.initrd === undefined ? null : this.#demand(request.direct.initrd, 'initrd');
    const stored = [disk, kernel, initrd].filter((file) => file !== null);
    const nodes = this.#aliveNodes().filter((node) => stored.every(({ info }) => this.#holds(node, info.sha256)));
    const ref = ({ info }: Uploaded): { sha256: Sha256; sizeBytes: number } => ({
      sha256: info.sha256,
      sizeBytes: info.sizeBytes,
    });
    return {
      name: parsed,
      disk:
        disk === null
          ? null
          : {
              ...ref(disk),
              format: disk.kind === 'disk-qcow2' ? 'qcow2' : 'raw',
              virtualSizeBytes: disk.info.virtualSizeBytes ?? disk.info.sizeBytes,
            },
      direct:
        kernel === null
          ? null
          : { kernel: ref(kernel), initrd: initrd === null ? null : ref(initrd), append: request.direct?.append ?? '' },
      defaults: {
        memoryBytes,
        vcpus: request.defaults?.vcpus ?? DEFAULTS.vcpus,
        blankDiskBytes: request.defaults?.blankDiskBytes ?? DEFAULTS.blankDiskBytes,
      },
      ...(minMemoryBytes === undefined ? {} : { minMemoryBytes }),
      nodes,
      createdAt: Date.now(),
    };
  }

  #demand(text: string, what: string): Uploaded {
    const sha256 = parseSha256(text);
    const uploaded = this.#uploads.get(sha256) ?? this.#known(sha256);
    if (uploaded === undefined)
      throw new CodedError('not-found', `The ${what} file ${sha256.slice(0, 12)}… was not uploaded.`, {
        advice: 'Upload it first: PUT /v1/artifacts/SHA256.',
      });
    if (what === 'disk' && !uploaded.kind.startsWith('disk-'))
      throw new CodedError('bad-input', `The file ${sha256.slice(0, 12)}… was sent as a ${uploaded.kind}, no disk.`, {
        advice: 'Nothing was stored. Upload it as a disk, so that it is looked at as one.',
      });
    return uploaded;
  }

  /** A file that another image names already. */
  #known(sha256: Sha256): Uploaded | undefined {
    for (const { value } of this.#context.store.images.values()) {
      if (value.disk?.sha256 === sha256) {
        return {
          kind: value.disk.format === 'qcow2' ? 'disk-qcow2' : 'disk-raw',
          info: { sha256, sizeBytes: value.disk.sizeBytes, virtualSizeBytes: value.disk.virtualSizeBytes },
          nodes: value.nodes,
        };
      }
      const direct = value.direct;
      if (direct?.kernel.sha256 === sha256)
        return {
          kind: 'kernel',
          nodes: value.nodes,
          info: { sha256, sizeBytes: direct.kernel.sizeBytes, virtualSizeBytes: null },
        };
      if (direct?.initrd?.sha256 === sha256)
        return {
          kind: 'initrd',
          nodes: value.nodes,
          info: { sha256, sizeBytes: direct.initrd.sizeBytes, virtualSizeBytes: null },
        };
    }
    return undefined;
  }

  /** What images, VMs and disks that are still to be cloned name. */
  #filesInUse(): ReadonlySet<Sha256> {
    const { images, vms, disks } = this.#context.store;
    return new Set([
      ...[...images.values()].flatMap(({ value }) => filesOf(value)),
      ...[...vms.values()].flatMap(({ value: { spec } }) =>
        spec.boot.firmware === 'direct'
          ? [spec.boot.kernel, ...(spec.boot.initrd === null ? [] : [spec.boot.initrd])]
          : [],
      ),
      ...[...disks.values()].flatMap(({ value: { source } }) => (source.kind === 'image' ? [source.artifact] : [])),
    ]);
  }

  #sizeOf(sha256: Sha256): number | undefined {
    return this.#known(sha256)?.info.sizeBytes;
  }

  #find(name: string): Entry<ImageRecord> {
    const entry = this.#context.store.images.get(name);
    if (entry === undefined)
      throw new CodedError('not-found', `There is no image ${name}.`, { advice: 'List them with "gp image list".' });
    return entry;
  }

  #aliveNodes(): readonly StorageName[] {
    const observer = this.#context.leading()?.controller.storageObserver;
    return [...this.#context.store.storage.values()]
      .map(({ value }) => value.name)
      .filter((name) => observer?.answers(name) === true);
  }

  #holds(node: StorageName, sha256: Sha256): boolean {
    return (
      this.#uploads.get(sha256)?.nodes.includes(node) === true ||
      (this.#context.leading()?.controller.storageObserver.report(node)?.artifacts.includes(sha256) ?? false)
    );
  }

  #nodesWith(sha256: Sha256): readonly StorageName[] {
    return this.#aliveNodes().filter((node) => this.#holds(node, sha256));
  }

  /** A node that is away keeps the file; it does no harm there and is deleted with the next image that names it. */
  async #deleteFile(sha256: Sha256): Promise<void> {
    const term = this.#context.leading()?.term ?? 0;
    this.#uploads.delete(sha256);
    await Promise.allSettled(
      this.#aliveNodes().map((node) => this.#context.storage.deleteArtifact(node, sha256, term, DELETE_MS)),
    );
  }
}

function filesOf({ disk, direct }: ImageRecord): Sha256[] {
  return [disk?.sha256, direct?.kernel.sha256, direct?.initrd?.sha256].filter(
    (sha256): sha256 is Sha256 => sha256 !== undefined,
  );
}

/** The most telling of several refusals: one that concerns the file itself, if there is one. */
function refusalOf(results: readonly PromiseSettledResult<unknown>[]): unknown {
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  return (
    reasons.find(
      (reason) => reason instanceof CodedError && reason.code !== 'unavailable' && reason.code !== 'deadline',
    ) ??
    reasons[0] ??
    new CodedError('failed', messageOf('nothing was stored'))
  );
}

/** The first bytes of a stream, and the whole of it still to be read. */
async function peek(source: Readable, bytes: number): Promise<{ head: Buffer; body: AsyncIterable<Buffer> }> {
  const iterator = (source as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const chunks: Buffer[] = [];
  let have = 0;
  while (have < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    chunks.push(next.value);
    have += next.value.length;
  }
  const begun = Buffer.concat(chunks);
  const rest = async function* (): AsyncGenerator<Buffer> {
    yield begun;
    yield* { [Symbol.asyncIterator]: () => iterator };
  };
  return { head: begun.subarray(0, bytes), body: rest() };
}

/** Copies one stream into several; the slowest sets the pace, one that failed is left out. */
async function feed(source: AsyncIterable<Buffer>, sinks: readonly PassThrough[]): Promise<void> {
  const live = new Set(sinks);
  for (const sink of sinks) {
    sink.once('error', () => live.delete(sink));
    sink.once('close', () => live.delete(sink));
  }
  try {
    for await (const chunk of source) {
      await Promise.all([...live].filter((sink) => !sink.write(chunk)).map(writable));
      if (live.size === 0) return;
    }
    for (const sink of live) sink.end();
  } catch (error) {
    for (const sink of live) sink.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

/** Resolves when `sink` takes more, or never will. */
function writable(sink: PassThrough): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      sink.off('drain', end).off('close', end);
      resolve();
    };
    sink.once('drain', end).once('close', end);
  });
}
