/**
 * The cluster that the stories of one test file share, because starting one costs seconds. Guarantees: a story begins
 * on a cluster without faults and VMs; after a story that failed the next one gets a new cluster; `end` leaves nothing.
 */

import { comparedOf } from '../../src/stories/differences.ts';
import type { StoryShape } from '../../src/stories/story-language.ts';
import { StoryCluster } from './story-cluster.ts';
import { readStory, type Told, tell } from './tell.ts';

/** Started at the first story that needs it. */
export class Stage {
  #cluster: StoryCluster | undefined;

  /** Plays a story; a failure is an Error with the cluster's last output. */
  async tell(name: string): Promise<Told> {
    const { shape } = await readStory(name);
    const cluster = await this.#clusterOf(shape);
    try {
      const told = await tell(name, cluster);
      await cluster.clean();
      return { recorded: comparedOf(name, told.recorded), golden: comparedOf(name, told.golden) };
    } catch (error) {
      const words = await cluster.lastWords();
      await this.end();
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n\n${words}`, { cause: error });
    }
  }

  async end(): Promise<void> {
    const cluster = this.#cluster;
    this.#cluster = undefined;
    await cluster?.end();
  }

  async #clusterOf(shape: StoryShape): Promise<StoryCluster> {
    if (this.#cluster !== undefined && !sameShape(this.#cluster.shape, shape)) await this.end();
    this.#cluster ??= await StoryCluster.start(shape);
    return this.#cluster;
  }
}

function sameShape(a: StoryShape, b: StoryShape): boolean {
  return a.hosts === b.hosts && a.controlNodes === b.controlNodes && a.storageNodes === b.storageNodes;
}
