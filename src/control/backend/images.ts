/**
 * Images through the API: records over files that were uploaded before (artifacts.ts), the same on every storage node
 * as far as they answer.
 */
import type { PageQuery, PutImage } from '../../api/requests.ts';
import type { Image } from '../../api/views.ts';
import type { StorageName } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { filesOf } from '../../core/plan/duties/file-decision.ts';
import { createImage, deleteImage, demandNewImage, findImage, imageOf } from '../../core/request/images.ts';
import type { Call, Conditional } from '../api/call.ts';
import type { Page } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { Artifacts } from './artifacts.ts';
import { basisOf, change } from './changes.ts';
import type { BackendContext } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { imageView } from './views.ts';

/** Storage nodes report several times a second; one that is slower than this does not hold up an import. */
const REPORTED_MS = 3_000;
const LOOK_EVERY_MS = 50;

/** Images; the files that they are made of are in artifacts.ts. */
export class ImagesBackend {
  readonly #context: BackendContext;
  readonly #artifacts: Artifacts;

  /** `artifacts` is the node's own instance. */
  constructor(context: BackendContext, artifacts = new Artifacts(context)) {
    this.#context = context;
    this.#artifacts = artifacts;
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Image>> {
    return pageOfTable(this.#context.store.images, query, { signal, view: imageView });
  }

  get(name: string): Image {
    return imageView(findImage(snapshotOf(this.#context.store), name));
  }

  /**
   * Records an image over files that were uploaded before. CodedError 'not-found' if a file is missing, 'bad-image' if
   * one is unusable, 'exists' if the name is taken.
   */
  async put(name: string, request: PutImage): Promise<Image> {
    this.#context.etcdSpace.demandRoom();
    const basis = basisOf(this.#context);
    demandNewImage(basis.records, name);
    const image = imageOf(basis, name, request, {
      demand: (sha256, what) => this.#artifacts.demand(sha256, what),
      nodesWith: (files) => this.#artifacts.nodesWith(files),
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
}
