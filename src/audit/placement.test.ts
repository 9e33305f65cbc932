/** Placement by what holds VMs as a group: rules that keep VMs together, room for lost hosts, paths to LUNs. */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { confidences, type Files, hostIn, reportOfFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { csvFiles, rvtoolsTabs, type Tabs } from './testing/seeded/rvtools.ts';
import { makeSeed, type Seed, type SeedVm } from './testing/seeded/seed.ts';
import { vsphereFiles } from './testing/seeded/vsphere.ts';

const GIB = 1024;

/** Hosts of 64 GiB with VMs of the given sizes, in GiB, host by host. */
function estateOf(sizes: readonly (readonly number[])[]): Seed {
  const { vms: _none, ...seed } = makeSeed({ seed: 1, hosts: sizes.length, vmsPerHost: 0, guestClusters: 0 });
  const vms = sizes.flatMap((all, host) => all.map((gib) => ({ host, memoryMib: gib * GIB })));
  const whole = vms.map((vm, number): SeedVm => {
    return { ...vm, number, name: `vm${number}`, cpus: 1, diskGib: 1, cluster: null, tie: null };
  });
  return { ...seed, hostMemoryMib: 64 * GIB, vms: whole };
}

describe('VMs that a rule keeps together', () => {
  const files = (seed: Seed, rule: string): Files => ({
    ...WRITERS['proxmox']?.(seed),
    'pve/ha/rules.cfg': rule,
  });
  const together = 'resource-affinity: pair\n\tresources vm:100,vm:101\n\taffinity positive\n';

  it('go to one host, though each alone would fit elsewhere', async () => {
    // 30 + 30 GiB: two hosts have 30 GiB free each, and neither takes what runs on the other.
    const seed = estateOf([[30, 30], [34], [34]]);
    assert.equal(hostIn(await reportOfFiles(files(seed, '')), 'node000').verdict, 'can');
    const host = hostIn(await reportOfFiles(files(seed, together)), 'node000');
    assert.equal(host.verdict, 'not proved');
    assert.match(host.doubts[0]?.text ?? '', /no placement was found for vm0, vm1/);
    const roomy = estateOf([[30, 30], [24], []]);
    assert.equal(hostIn(await reportOfFiles(files(roomy, together)), 'node000').verdict, 'can');
  });

  it('keep their host if no other host is as large', async () => {
    const seed = estateOf([[40, 40], [], []]);
    const host = hostIn(await reportOfFiles(files(seed, together)), 'node000');
    assert.equal(host.verdict, 'cannot');
    assert.match(host.reasons[0]?.text ?? '', /rule "pair" keeps 2 VMs on one host, they need 80 GiB/);
    assert.equal(host.reasons[0]?.cure, 'lift the rule');
  });
});

describe('room for lost hosts', () => {
  const das = (seed: Seed, level: number, enabled = true): Files => ({
    ...vsphereFiles(seed),
    'cluster.json': JSON.stringify([
      {
        self: { type: 'ClusterComputeResource', value: 'domain-c1' },
        name: 'Prod',
        configurationEx: { dasConfig: { enabled, admissionControlEnabled: true, failoverLevel: level }, rule: [] },
      },
    ]),
  });
  const verdicts = async (files: Files) => (await reportOfFiles(files)).hosts.map(({ verdict }) => verdict);

  it('of two hosts, one that may be lost leaves none to drain to', async () => {
    const seed = estateOf([[8], [8]]);
    assert.deepEqual(await verdicts(das(seed, 0)), ['can', 'can']);
    assert.deepEqual(await verdicts(das(seed, 1, false)), ['can', 'can'], 'without HA nothing is kept');
    const report = await reportOfFiles(das(seed, 1));
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      ['not proved', 'not proved'],
    );
    assert.match(report.hosts[0]?.doubts[0]?.text ?? '', /room for the loss of 1 host; .* no host would be left/);
    assert.match(JSON.stringify(report.hosts[0]?.doubts[0]?.evidence), /dasConfig\.failoverLevel/);
    assert.deepEqual(await verdicts(das(estateOf([[8], [8], [8]]), 1)), ['can', 'can', 'can']);
  });

  it('counts reserved memory, and is read from vCluster of RVTools too', async () => {
    const seed = estateOf([[30], [30], [30]]);
    const tabs = rvtoolsTabs(seed);
    const reserved: Tabs = {
      ...tabs,
      vMemory: (tabs['vMemory'] ?? []).map((row, number) => (number === 0 ? row : row.with(2, row[1] ?? ''))),
      vCluster: [
        ['Name', 'HA enabled', 'Failover Level', 'AdmissionControlEnabled'],
        ['Prod', 'True', '1', 'True'],
      ],
    };
    const report = await reportOfFiles(csvFiles(reserved));
    assert.match(report.hosts[0]?.doubts[0]?.text ?? '', /90 GiB of reserved memory would have 64 GiB/);
    assert.deepEqual(await verdicts(csvFiles({ ...tabs, vCluster: reserved['vCluster'] ?? [] })), [
      'can',
      'can',
      'can',
    ]);
  });
});

describe('vMultiPath of RVTools', () => {
  const naa = '6005076801810523400000000000abcd';
  const seed = makeSeed({ seed: 3, hosts: 3, vmsPerHost: 1, guestClusters: 1 });
  const withPaths = (hosts: readonly string[], rawId: string, shared = true): Files => {
    const tabs = rvtoolsTabs(seed);
    return csvFiles({
      ...tabs,
      vDisk: (tabs['vDisk'] ?? []).map((row) =>
        row.map((cell, column) => {
          if (/^naa\./.test(cell)) return rawId;
          // Hardware version 19 moves a physical bus live.
          return shared || column !== 8 ? cell : 'noSharing';
        }),
      ),
      vMultiPath: [
        ['Host', 'Datastore', 'Disk'],
        ...seed.hosts.map((host) => [host, 'san1', 'naa.6005076801810523400000000000ffff']),
        ...hosts.map((host) => [host, '', `naa.${naa}`]),
      ],
    });
  };

  it('a LUN that only one host sees keeps the VM that opens it', async () => {
    const members = seed.vms.filter(({ cluster }) => cluster === 0);
    const home = seed.hosts[members[0]?.host ?? 0] ?? '';
    const vml = `02000b0000${naa}323134352020`;
    const free = await reportOfFiles(withPaths(seed.hosts, vml));
    assert.deepEqual(
      free.hosts.map(({ verdict }) => verdict),
      ['can', 'can', 'can'],
      JSON.stringify(free.hosts),
    );
    const tied = hostIn(await reportOfFiles(withPaths([home], vml)), home);
    assert.equal(tied.verdict, 'cannot');
    assert.match(tied.reasons[0]?.text ?? '', /has a disk on storage "naa\.6005076801810523400000000000abcd"/);
    assert.match(JSON.stringify(tied.reasons[0]?.evidence), /tab vMultiPath/);
  });

  it('a LUN without a datastore is a sign where the raw disks have no ID', async () => {
    const report = await reportOfFiles(withPaths(seed.hosts, ''));
    assert.deepEqual(confidences(report), ['probable']);
    assert.match(report.clusters[0]?.signs.join() ?? '', /a LUN that no datastore uses: naa\.6005/);
  });
});
