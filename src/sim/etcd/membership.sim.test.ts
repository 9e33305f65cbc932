/**
 * Members of etcd and control nodes are replaced one after the other while everything runs, freezes, dies and loses its
 * answers. A control node that was removed goes on: it campaigns, and commits while it believes that it leads, above all
 * through the member that was removed with it.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTaskId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import { ANYBODYS, type Cluster, ControlNode, leaderOf, makeCluster, until } from './testing/campaigners.ts';
import { drive } from './testing/drive.ts';

const SEEDS = 20;
/** Seeds from the first on in which each mistake must have been noticed. */
const SEEDS_MAX = 60;
const REPLACED = 4;

interface Mistake {
  readonly says: string;
  readonly comparesNothing?: true;
  readonly decidesAlone?: true;
}

/** What two leaders do: one commits in an earlier term, and began that after a later term had committed. */
function secondLeader(commits: Cluster['commits']): string | null {
  let latest: Cluster['commits'][number] | null = null;
  for (const commit of commits) {
    if (latest !== null && commit.term < latest.term && commit.askedAt > latest.at)
      return `${commit.name} committed in term ${commit.term} after ${latest.name} did in term ${latest.term}`;
    const isOther = latest !== null && commit.term === latest.term && commit.name !== latest.name;
    if (isOther) return `${commit.name} and ${latest?.name} committed in term ${commit.term}`;
    if (latest === null || commit.term >= latest.term) latest = commit;
  }
  return null;
}

/** One run; what is wrong with it, or null. */
async function replaceAll(
  seed: number,
  { comparesNothing, decidesAlone }: Partial<Mistake> = {},
): Promise<string | null> {
  const cluster = makeCluster(seed);
  if (comparesNothing === true) {
    cluster.etcd.overwrite(ANYBODYS, '');
    cluster.comparesNothing = true;
  }
  // Each writes its own record: nothing but the election key keeps it out.
  cluster.taskOf = (name) => parseTaskId(`task-${name.slice(-1).padStart(12, '0')}`);
  const { clock, random, etcd, commits } = cluster;
  const nodes = new Map(['m1', 'm2', 'm3'].map((member) => [member, new ControlNode(`c of ${member}`, cluster)]));
  const everyone = [...nodes.values()];
  let wrong: string | null = null;
  await drive(clock, async () => {
    await until(clock, () => commits.length > 3);
    for (let i = 1; i <= REPLACED; i++) {
      await sleep(clock, random.below(2_000));
      const leading = leaderOf([...nodes.values()]);
      const led = [...nodes].find(([, node]) => node === leading)?.[0];
      const member = led !== undefined && random.chance(70) ? led : random.pick([...nodes.keys()]);
      const node = nodes.get(member);
      if (node === undefined) continue;
      // Whoever is removed may stand still, or hear nothing, at that very time.
      const what = random.below(4);
      if (what === 0) node.process.freezeFor(2_000 + random.below(6_000));
      if (what === 1) node.route.frozen = random.chance(50) ? 'answers' : 'all';
      if (what === 2) etcd.crash(member);
      etcd.removeMember(member, { decidesAlone: decidesAlone === true });
      nodes.delete(member);
      await sleep(clock, random.below(1_000));
      const next = `m${3 + i}`;
      etcd.addMember(next);
      const joined = new ControlNode(`c of ${next}`, cluster);
      nodes.set(next, joined);
      everyone.push(joined);
      await sleep(clock, 1_000 + random.below(4_000));
      node.route.frozen = 'no';
      // Its service manager starts it again.
      if (what === 2) etcd.restart(member);
    }
    const { length } = commits;
    await until(clock, () => commits.length > length + 20);
    await sleep(clock, 8_000);
    wrong = secondLeader(commits);
    const leaders = everyone.filter(({ term }) => term !== null).map(({ name }) => name);
    if (wrong === null && leaders.length > 1) wrong = `${leaders.join(' and ')} believe that they lead`;
    // A control node that has met another history ends by itself, which is no answer to who leads.
    await Promise.allSettled(everyone.map((each) => each.stop()));
  });
  return wrong;
}

test('E1 whatever is replaced, one leads: a control node that was removed commits nothing after its successor', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) assert.equal(await replaceAll(seed), null, `seed ${seed}`);
});

const MISTAKES: readonly Mistake[] = [
  { says: 'a leader commits without comparing its election key', comparesNothing: true },
  { says: 'a member that was removed is started anew as a cluster of its own', decidesAlone: true },
];

for (const mistake of MISTAKES)
  test(`planted and noticed: ${mistake.says}`, async () => {
    for (let seed = 1; seed <= SEEDS_MAX; seed++) if ((await replaceAll(seed, mistake)) !== null) return;
    assert.fail(`${SEEDS_MAX} seeds did not notice it`);
  });
