/** People who upload images, make VMs with seeds, and delete images, through the API of whichever control node leads. */
import { createHash } from 'node:crypto';
import type { OperationId } from '../../api/operations.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import { VM_BYTES } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimRandom } from '../time/sim-random.ts';

const IMAGES_MAX = 4;
const VMS_MAX = 12;
const DISK_BYTES = 2 ** 30;

/** See the module's comment. */
export class ImagePeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  #made = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('image people');
  }

  /** Somebody does something with an image or a seed, if somebody leads. What is refused was not wished. */
  async act(): Promise<void> {
    const node = this.#cluster.leader;
    const store = node?.context?.store;
    if (node == null || store === undefined) return;
    const { images, vms } = store;
    if (this.#random.chance(50) && vms.size < VMS_MAX) return this.#seededVm(node, [...images.keys()]);
    if (images.size < IMAGES_MAX) return this.#image(node);
    const image = this.#random.pick([...images.keys()]);
    this.#cluster.say(() => `people: delete image ${image}`);
    await this.#ask(node, 'deleteImage', { params: { image } });
  }

  async #image(node: SimControlNode): Promise<void> {
    const image = `image${++this.#made}`;
    this.#cluster.say(() => `people: upload ${image}`);
    const bytes = Buffer.alloc(512, image);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await this.#ask(node, 'putArtifact', { params: { sha256 }, query: { kind: 'disk' }, bytes });
    await this.#ask(node, 'putImage', { params: { image }, body: { disk: { sha256, format: 'raw' } } });
  }

  async #seededVm(node: SimControlNode, images: readonly string[]): Promise<void> {
    const name = `seeded${++this.#made}`;
    const image = images.length > 0 && this.#random.chance(50) ? this.#random.pick(images) : undefined;
    this.#cluster.say(() => `people: create ${name} with a seed${image === undefined ? '' : ` from ${image}`}`);
    const body = {
      name,
      memoryBytes: VM_BYTES,
      disks: [{ sizeBytes: DISK_BYTES }],
      restartPolicy: 'always',
      cloudInit: { userData: `#cloud-config\nhostname: ${name}\n` },
      ...(image === undefined ? {} : { image }),
    };
    await this.#ask(node, 'createVm', { body });
  }

  #ask(node: SimControlNode, id: OperationId, request: SimRequest): Promise<unknown> {
    return askNode(this.#cluster, node, id, request);
  }
}
