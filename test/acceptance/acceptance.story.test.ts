/**
 * The promises to a user, area by area, on one real cluster of three hosts. A case, or at least its area, leaves the
 * cluster as it found it.
 */
import { after, before, test } from 'node:test';
import { present } from '../../src/base/assert.ts';
import { assertHolds, StoryCluster } from '../stories/story-cluster.ts';
import { badInput } from './bad-input.ts';
import type { Case } from './case.ts';
import { consoles } from './consoles.ts';
import { elsewhere } from './elsewhere.ts';
import { floods } from './flood.ts';
import { guestAgents } from './guest-agents.ts';
import { halted } from './halted.ts';
import { images } from './images.ts';
import { maintenance } from './maintenance.ts';
import { networks } from './networks.ts';
import { security } from './security.ts';
import { storage } from './storage.ts';
import { ties } from './ties.ts';
import { verbs } from './verbs.ts';

const AREAS: Readonly<Record<string, readonly Case[]>> = {
  verbs,
  'halted guests': halted,
  elsewhere,
  maintenance,
  ties,
  consoles,
  'guest agents': guestAgents,
  images,
  networks,
  storage,
  'bad input': badInput,
  security,
  floods,
};

let cluster: StoryCluster | undefined;

before(async () => {
  cluster = await StoryCluster.start({ hosts: 3, controlNodes: 1, storageNodes: 1 });
});
after(() => cluster?.end());

for (const [area, cases] of Object.entries(AREAS)) {
  for (const one of cases) {
    test(`${area}: ${one.name}`, (t) => {
      const shared = present(cluster, 'cluster');
      return assertHolds(shared, () => one.run(shared, (line) => t.diagnostic(line)));
    });
  }
}
