/** Images through the API: records over files that were uploaded before (artifacts.ts), the same on every storage node as far as they answer. */
import type { PageQuery, PutImage } from '../../api/requests.ts';
import type { Artifact, Image } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseImageName, type Sha256, type StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { sleep } from '../../base/sleep.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { demandUsersKnown } from '../../core/plan/vm/unreadable.ts';
import type { Entry } from '../../core/ports/store.ts';
import { checkRevision } from '../../core/request/basis.ts';
import { demandAppend, demandCount, demandDirectBoot } from '../../core/request/demands.ts';
import { isGoneNode } from '../../core/request/storage-removal.ts';
import type { ArtifactUpload, Call, Conditional } from '../api/backend.ts';
import type { Page } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { Artifacts, filesOf, type Stored } from './artifacts.ts';
import { change } from './changes.ts';
import type { BackendContext } from './context.ts';
import type { Kept } from './image-keeper.ts';
import { pageOfTable } from './table-page.ts';
import { imageView } from './views.ts';

const MIB = 1024 * 1024;
const DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1, blankDiskBytes: null } as const;
/** Storage nodes report several times a second; one that is slower than this does not hold up an import. */
const REPORTED_MS = 3_000;
const LOOK_EVERY_MS = 50;

/** Images, and the files that they are made of. */
export class ImagesBackend {
  readonly #context: BackendContext;
  readonly #artifacts: Artifacts;

  /** Artifacts: the files of images, and seeds that are being stored. */
  get artifacts(): Artifacts {
    return this.#artifacts;
  }

  constructor(context: BackendContext, nowMs?: () => number) {
    this.#context = context;
    this.#artifacts = new Artifacts(context, nowMs);
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Image>> {
    return pageOfTable(this.#context.store.images, query, { signal, view: imageView });
  }

  get(name: string): Image {
    return imageView(this.#find(name));
  }

  /** Records an image over files that were uploaded before. */
  async put(name: string, request: PutImage): Promise<Image> {
    this.#refuseTaken(name);
    demandCount(this.#context.store.images.size, LIMITS.images);
    const image = this.#recordOf(name, request);
    const record = (): Promise<null> =>
      change(this.#context, () => {
        this.#refuseTaken(name);
        return { changes: [{ kind: 'image', id: image.name, value: image }], result: null };
      });
    await this.#artifacts.holding(filesOf(image), record);
    await this.#untilReported(image);
    return this.get(name);
  }

  /** VMs are placed by what storage reports: an image that was stored can be used at once. */
  async #untilReported(image: ImageRecord): Promise<void> {
    const { clock } = this.#context;
    const endsAtMs = clock.monotonicMs() + REPORTED_MS;
    const isReported = (node: StorageName): boolean => {
      const report = this.#context.leading()?.controller.storageObserver.report(node);
      return report == null || filesOf(image).every((sha256) => report.artifacts.includes(sha256));
    };
    while (!image.nodes.every(isReported) && clock.monotonicMs() < endsAtMs) await sleep(clock, LOOK_EVERY_MS);
  }

  async delete(name: string, { ifMatch }: Conditional): Promise<void> {
    const image = this.#find(name);
    checkRevision(image, ifMatch, `Image ${name}`);
    demandUsersKnown(this.#context.store.unreadable);
    const files = filesOf(image.value);
    const users = [...this.#context.store.vms.values()]
      .filter(({ value: { spec } }) => spec.image === name)
      .map(({ value }) => value.name);
    if (users.length > 0) {
      throw new CodedError('conflict', `Image ${name} is used by ${listed(users)}.`, {
        advice: 'Nothing was deleted. Delete those VMs first.',
      });
    }
    await change(this.#context, () => {
      const entry = this.#find(name);
      checkRevision(entry, ifMatch, `Image ${name}`);
      return { changes: [{ kind: 'image', id: entry.value.name, value: null }], result: null };
    });
    await this.#artifacts.drop(files);
  }

  getArtifact(sha256: string): Artifact {
    return this.#artifacts.get(sha256);
  }

  putArtifact(upload: ArtifactUpload, call: Call): Promise<Artifact> {
    return this.#artifacts.put(upload, call);
  }

  deleteArtifact(sha256: string): Promise<void> {
    return this.#artifacts.delete(sha256);
  }

  /** What a leader does for images again and again: unnamed files go, nodes get what they lack, records say which nodes have them. */
  async keep(signal: AbortSignal): Promise<Kept> {
    const deleted = await this.#artifacts.sweep();
    const kept = { deleted, ...(await this.#artifacts.replicate(signal)) };
    if (!signal.aborted) await this.#recordNodes();
    return kept;
  }

  /** Adds nodes that got an image's files to its record, and takes out those that were declared lost or removed. */
  async #recordNodes(): Promise<void> {
    for (const name of [...this.#context.store.images.keys()]) {
      const stale = (): { readonly entry: Entry<ImageRecord>; readonly nodes: readonly StorageName[] } | null => {
        const entry = this.#context.store.images.get(name);
        if (entry === undefined) return null;
        const nodes = this.#nodesOf(entry.value);
        return nodes.join() === entry.value.nodes.join() ? null : { entry, nodes };
      };
      if (stale() === null) continue;
      await change(this.#context, () => {
        const found = stale();
        if (found === null) return { changes: [], result: null };
        const { value } = found.entry;
        return { changes: [{ kind: 'image', id: value.name, value: { ...value, nodes: found.nodes } }], result: null };
      });
    }
  }

  /** Returns the recorded nodes and those that are seen to have all files, without nodes that are gone. */
  #nodesOf(image: ImageRecord): readonly StorageName[] {
    const records = snapshotOf(this.#context.store);
    const nodes = new Set([...image.nodes, ...this.#nodesWith(filesOf(image))]);
    return [...nodes].filter((node) => !isGoneNode(records, node)).sort();
  }

  #refuseTaken(name: string): void {
    if (this.#context.store.images.get(name) === undefined) return;
    throw new CodedError('exists', `An image named ${name} exists.`, {
      advice: 'Nothing was changed. Choose another name, or delete that image first.',
    });
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
    const disk = request.disk === undefined ? null : this.#artifacts.demand(request.disk.sha256, 'disk');
    if (disk !== null) demandFormat(name, disk, request.disk?.format);
    const kernel = request.direct === undefined ? null : this.#artifacts.demand(request.direct.kernel, 'kernel');
    const initrd =
      request.direct?.initrd === undefined ? null : this.#artifacts.demand(request.direct.initrd, 'initrd');
    if (kernel !== null)
      demandDirectBoot({ kernelBytes: kernel.info.sizeBytes, initrdBytes: initrd?.info.sizeBytes ?? 0 });
    demandAppend(Buffer.byteLength(request.direct?.append ?? ''), 'stored');
    const stored = [disk, kernel, initrd].filter((file) => file !== null);
    const nodes = this.#nodesWith(stored.map(({ info }) => info.sha256));
    if (nodes.length === 0)
      throw new CodedError('unavailable', `No storage node that answers holds all files of image ${name}.`, {
        advice: 'Nothing was stored. Upload them again: PUT /v1/artifacts/SHA256.',
      });
    const ref = ({ info }: Stored): { sha256: Sha256; sizeBytes: number } => ({
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
      createdAt: this.#context.clock.wallMs(),
    };
  }

  #nodesWith(files: readonly Sha256[]): readonly StorageName[] {
    const artifacts = this.#artifacts;
    return artifacts.aliveNodes().filter((node) => files.every((sha256) => artifacts.holds(node, sha256)));
  }

  #find(name: string): Entry<ImageRecord> {
    const entry = this.#context.store.images.get(name);
    if (entry === undefined)
      throw new CodedError('not-found', `There is no image ${name}.`, { advice: 'List them with "gp image list".' });
    return entry;
  }
}

/** Checks a stated format against the one detected from the stored file. CodedError 'bad-image' if they differ. */
function demandFormat(name: string, { kind }: Stored, stated: 'qcow2' | 'raw' | undefined): void {
  if (stated === undefined || kind === `disk-${stated}`) return;
  const is = kind === 'disk-qcow2' ? 'qcow2' : 'raw';
  throw new CodedError('bad-image', `The disk of image ${name} is said to be ${stated}, and its file is ${is}.`, {
    advice: `Nothing was stored. Say ${is}, or upload the file that was meant.`,
  });
}
