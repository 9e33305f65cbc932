/** One site exported twice: every host and VM counts once, and each export adds what the other does not know. */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { confidences, type Files, hostIn, reportOfFiles } from './testing/run-audit.ts';
import { csvFiles, rvtoolsTabs, type Tabs } from './testing/seeded/rvtools.ts';
import { makeSeed, type Seed } from './testing/seeded/seed.ts';
import { vsphereFiles } from './testing/seeded/vsphere.ts';

const below = (directory: string, files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([name, content]) => [`${directory}/${name}`, content]));
const both = (seed: Seed, tabs = rvtoolsTabs(seed), json = vsphereFiles(seed)): Files => ({
  ...below('rvtools', csvFiles(tabs)),
  ...below('json', json),
});
const verdicts = async (files: Files): Promise<readonly string[]> =>
  (await reportOfFiles(files)).hosts.map(({ host, verdict }) => `${host} ${verdict}`);

describe('a vCenter as RVTools and as vSphere JSON', () => {
  const seed = makeSeed({ seed: 71, hosts: 4, vmsPerHost: 3, guestClusters: 2, ties: 2 });

  it('has each host once, with the verdicts of one export, and says so', async () => {
    const report = await reportOfFiles(both(seed));
    assert.equal(report.summary.hosts, 4);
    assert.equal(report.summary.vms, seed.vms.length);
    assert.deepEqual(await verdicts(both(seed)), await verdicts(vsphereFiles(seed)));
    assert.equal(confidences(report).filter((one) => one === 'certain').length, 2);
    const note = report.coverage.find(({ text }) => text.includes('describe the same site')) ?? assert.fail('no note');
    assert.match(note.text, /rvtools and vsphere describe the same site, with 4 hosts in common .*counted once/);
    assert.equal(note.blocks, false);
  });

  it('JSON of VMs alone adds the PCI devices that RVTools does not export', async () => {
    const { 'vms.json': vms = '', 'hosts.json': hosts = '' } = vsphereFiles(seed);
    const report = await reportOfFiles(both(seed, rvtoolsTabs(seed), { 'vms.json': vms, 'hosts.json': hosts }));
    const tied = hostIn(report, 'node000');
    assert.match(JSON.stringify(tied.reasons), /PCI device 0/);
    assert.equal(hostIn(report, 'node003').verdict, 'can', 'gaps of the poorer export are no gaps of the site');
  });

  it('names of hosts with and without a domain are the same', async () => {
    const short = JSON.parse(JSON.stringify(rvtoolsTabs(seed)).replaceAll(/(node\d+)"/g, '$1.corp.example"')) as Tabs;
    assert.equal((await reportOfFiles(both(seed, short))).summary.hosts, 4);
  });

  it('sites with hosts of the same names and no VM in common stay two', async () => {
    const renamed = JSON.parse(JSON.stringify(seed).replaceAll(/"name":"/g, '"name":"other-')) as Seed;
    assert.equal((await reportOfFiles(both(seed, rvtoolsTabs(renamed)))).summary.hosts, 8);
  });

  it('an older and a newer workbook of RVTools are one site', async () => {
    const files = { ...below('monday', csvFiles(rvtoolsTabs(seed))), ...below('friday', csvFiles(rvtoolsTabs(seed))) };
    const report = await reportOfFiles(files);
    assert.equal(report.summary.hosts, 4);
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      (await reportOfFiles(csvFiles(rvtoolsTabs(seed)))).hosts.map(({ verdict }) => verdict),
    );
  });
});
