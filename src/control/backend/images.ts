/** Images through the API: records over files that were uploaded before (artifacts.ts), the same on every storage node as far as they answer. */
import type { PageQuery, PutImage } from '../../api/requests.ts';
import type { Artifact, Image } from '../../api/views.ts';
import type { Sha256, StorageName } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';

import type { Admitted, Basis } from '../../core/request/basis.ts';
import {
  createImage,
  deleteImage,
  demandNewImage,
  findImage,
  imageOf,
  recordImageNodes,
} from '../../core/request/images.ts';
import type { ArtifactUpload, Call, Conditional } from '../api/backend.ts';
import type { Page } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { Artifacts, filesOf } from './artifacts.ts';
import { basisOf, change } from './changes.ts';

import type { BackendContext } from './context.ts';
import type { Kept } from './image-keeper.ts';
import { pageOfTable } from './table-page.ts';
import { imageView } from './views.ts';

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
    return imageView(findImage(snapshotOf(this.#context.store), name));
  }

  /** Records an image over files that were uploaded before. */
  async put(name: string, request: PutImage): Promise<Image> {
    const basis = basisOf(this.#context);
    demandNewImage(basis.records, name);
    const image = imageOf(basis, name, request, {
      demand: (sha256, what) => this.#artifacts.demand(sha256, what),
      nodesWith: (files) => this.#nodesWith(files),
    });
    const record = (): Promise<null> => change(this.#context, (now) => createImage(now, image));
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

  async delete(name: string, condition: Conditional): Promise<void> {
    const deleted = await change(this.#context, (basis) => deleteImage(basis, name, condition));
    await this.#artifacts.drop(filesOf(deleted));
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
    const nodesWith = (image: ImageRecord): readonly StorageName[] => this.#nodesWith(filesOf(image));
    for (const name of [...this.#context.store.images.keys()]) {
      const record = (basis: Basis): Admitted<null> => recordImageNodes(basis, name, nodesWith);
      // Mostly nothing is to be done, and then the changes of people need not wait for this.
      if (record(basisOf(this.#context)).changes.length > 0) await change(this.#context, record);
    }
  }

  #nodesWith(files: readonly Sha256[]): readonly StorageName[] {
    const artifacts = this.#artifacts;
    return artifacts.aliveNodes().filter((node) => files.every((sha256) => artifacts.holds(node, sha256)));
  }
}
