/**
 * What people do in the web interface, in a real browser in front of a real one-machine cluster with real VMs: the
 * stories of any cluster, and those that only real guests can tell.
 */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { vmOf } from '../acceptance/case.ts';
import { Guest } from '../acceptance/guest.ts';
import { anyCluster, HEALED_MS, LOST_MS } from './any-cluster.ts';
import { consoles } from './consoles.ts';
import { outageOf } from './outage.ts';
import { RealWorld } from './real-world.ts';
import { Stage } from './stage.ts';
import { tellWeb, type WebStory } from './web-story.ts';

/** What `npm run bench -- web` does for ten seconds. */
const DOWN_MS = 4_000;

let stage: Stage<RealWorld>;
before(async () => {
  stage = await Stage.start(() => RealWorld.start());
});
after(() => stage.close());

/** Has the shell of a guest repeat something while `look` waits for what it does. */
async function whileRepeated(guest: Guest, what: string, look: () => Promise<void>): Promise<void> {
  await guest.run(`(while :; do ${what}; done) >/dev/null 2>&1 & echo $! >/tmp/busy`);
  await look();
  await guest.run('kill $(cat /tmp/busy)');
}

const figures: WebStory = {
  name: 'what a guest computes, writes and sends is in the plots of its VM',
  async run() {
    const { cluster, dbVm, webVms } = stage.world;
    const page = await stage.page();
    await stage.go(page, `/vms/${dbVm}?tab=figures`);
    const plot = (name: RegExp): Promise<void> => page.getByRole('img', { name }).waitFor();
    await plot(/^Processor time, of 1 vCPU\. busy: [01]\.\d\d$/);
    const [peer = ''] = webVms;
    const address = (await vmOf(cluster, peer)).nics[0]?.address ?? '';
    const guest = await Guest.open(cluster, dbVm);
    try {
      await whileRepeated(guest, ':', () => plot(/^Processor time, of 1 vCPU\. busy: (0\.[2-9]|1\.)/));
      await whileRepeated(guest, 'dd if=/dev/zero of=/dev/vda bs=64k count=16 conv=fsync', () =>
        plot(/^Disks\. read: .*, written: [0-9.]+ [KM]iB\/s$/),
      );
      await whileRepeated(guest, `wget -q -O - http://${address}/`, () =>
        plot(/^Network\. received: [1-9].*\/s, sent: [1-9].*\/s$/),
      );
    } finally {
      guest.close();
    }
  },
};

const killed: WebStory = {
  name: 'a server that is killed for some seconds is missed within 2 s, and the page heals by itself at its return',
  async run() {
    const page = await stage.page();
    const { shownMs, healedMs } = await outageOf(page, stage.world, DOWN_MS);
    assert.ok(shownMs <= LOST_MS + 500, `shown after ${Math.round(shownMs)} ms`);
    assert.ok(healedMs <= HEALED_MS, `healed after ${Math.round(healedMs)} ms`);
  },
};

tellWeb([figures, ...consoles, ...anyCluster, killed], () => stage);
