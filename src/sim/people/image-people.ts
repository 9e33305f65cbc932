/**
 * People who upload images, make VMs with seeds, and delete images, through the backend of production on whichever
 * control node leads.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Call } from '../../control/api/call.ts';
import { Artifacts } from '../../control/backend/artifacts.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { ImagesBackend } from '../../control/backend/images.ts';
import { VmsBackend } from '../../control/backend/vms.ts';
import type { SimCluster } from '../cluster.ts';
import { VM_BYTES } from '../faults/swarm.ts';
import type { SimRandom } from '../time/sim-random.ts';

const CALL: Call = { principal: { name: 'people' }, signal: new AbortController().signal };
const IMAGES_MAX = 4;
const VMS_MAX = 12;
const DISK_BYTES = 2 ** 30;

/** See the module. */
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
    const context = this.#cluster.leader?.context ?? null;
    if (context === null) return;
    const { images, vms } = context.store;
    if (this.#random.chance(50) && vms.size < VMS_MAX) return this.#seededVm(context);
    if (images.size < IMAGES_MAX) return this.#image(context);
    const name = this.#random.pick([...images.keys()]);
    this.#cluster.say(() => `people: delete image ${name}`);
    await new ImagesBackend(context).delete(name, { ifMatch: null });
  }

  async #image(context: BackendContext): Promise<void> {
    const name = `image${++this.#made}`;
    this.#cluster.say(() => `people: upload ${name}`);
    const content = Buffer.alloc(512, name);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const artifacts = new Artifacts(context);
    const { length: sizeBytes } = content;
    const body = Readable.from([content], { objectMode: false });
    await artifacts.put({ sha256, kind: 'disk', sizeBytes, dataBytes: sizeBytes, body }, CALL);
    await new ImagesBackend(context, artifacts).put(name, { disk: { sha256, format: 'raw' } });
  }

  async #seededVm(context: BackendContext): Promise<void> {
    const name = `seeded${++this.#made}`;
    const images = [...context.store.images.keys()];
    const image = images.length > 0 && this.#random.chance(50) ? this.#random.pick(images) : undefined;
    this.#cluster.say(() => `people: create ${name} with a seed${image === undefined ? '' : ` from ${image}`}`);
    await new VmsBackend(context).create({
      name,
      memoryBytes: VM_BYTES,
      disks: [{ sizeBytes: DISK_BYTES }],
      restartPolicy: 'always',
      cloudInit: { userData: `#cloud-config\nhostname: ${name}\n` },
      ...(image === undefined ? {} : { image }),
    });
  }
}
