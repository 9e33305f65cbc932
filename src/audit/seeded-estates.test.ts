/**
 * Estates of every platform, generated from seeds: drainable hosts are reported as drainable, hidden clusters are
 * found, and nothing else is.
 */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { exitCodeOf } from './audit.ts';
import type { Report } from './report/report.ts';
import { reportOfFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { clustersOf, makeSeed, type Seed } from './testing/seeded/seed.ts';

/** Platforms whose exports show a cluster only by the identity of a disk. */
const WITHOUT_SIGNS = new Set(['nutanix']);

/** Platforms on which a network without an uplink is a separate network on each host. */
const HOST_NETWORKS = new Set(['hyperv', 'libvirt']);

const found = (report: Report, confidence: string): readonly string[] =>
  report.clusters
    .filter((one) => one.confidence === confidence)
    .map(({ vms }) =>
      vms
        .map(({ vm }) => vm)
        .toSorted()
        .join(),
    );
const hidden = (seed: Seed): readonly string[] => clustersOf(seed).map((names) => names.join());

for (const [platform, write] of Object.entries(WRITERS))
  describe(platform, () => {
    it('a complete estate without clusters and ties can be drained, host by host', async () => {
      const report = await reportOfFiles(write(makeSeed({ seed: 1, hosts: 6, vmsPerHost: 8, guestClusters: 0 })));
      assert.deepEqual(
        report.hosts.map(({ verdict }) => verdict),
        Array(6).fill('can'),
        JSON.stringify([report.coverage, report.hosts[0]]).slice(0, 3000),
      );
      assert.deepEqual(report.clusters, []);
      assert.equal(exitCodeOf(report, null), 0);
    });

    for (const seed of [2, 3])
      it(`seed ${seed}: all 30 clusters with a disk in common are certain, with all their members`, async () => {
        const estate = makeSeed({ seed, hosts: 8, vmsPerHost: 20, guestClusters: 30 });
        const report = await reportOfFiles(write(estate));
        assert.deepEqual(found(report, 'certain').toSorted(), hidden(estate).toSorted());
        assert.deepEqual(found(report, 'collision'), []);
        assert.deepEqual(found(report, 'probable'), []);
        assert.deepEqual(found(report, 'member'), []);
      });

    it('clusters without a known disk are probable, four of five at least', {
      skip: WITHOUT_SIGNS.has(platform) ? 'no sign is exported' : false,
    }, async () => {
      const estate = makeSeed({
        seed: 4,
        hosts: 8,
        vmsPerHost: 20,
        guestClusters: 30,
        clusters: 'signs',
        onOneHost: HOST_NETWORKS.has(platform),
      });
      const report = await reportOfFiles(write(estate));
      const probable = new Set(found(report, 'probable'));
      const right = hidden(estate).filter((names) => probable.has(names)).length;
      assert.ok(right >= 24, `${right} of 30`);
      assert.equal(probable.size, right, 'nothing else is called probable');
      assert.deepEqual(found(report, 'certain'), []);
    });

    it('a tie keeps its host and no other', async () => {
      const estate = makeSeed({ seed: 5, hosts: 6, vmsPerHost: 8, guestClusters: 0, ties: 2 });
      const report = await reportOfFiles(write(estate));
      assert.deepEqual(
        report.hosts.map(({ verdict }) => verdict),
        ['cannot', 'cannot', 'can', 'can', 'can', 'can'],
      );
      const tied = new Set(report.ties.filter(({ level }) => level === 'blocks').map(({ vm }) => vm));
      assert.deepEqual(
        [...tied].toSorted(),
        estate.vms
          .filter(({ tie }) => tie !== null)
          .map(({ name }) => name)
          .toSorted(),
      );
      assert.equal(exitCodeOf(report, null), 1);
    });
  });
