/** Checks the findings in real inventories: each line of a reader's expectations is a test. */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { exitCodeOf } from './audit.ts';
import { confidences, hostIn, INVENTORIES, reportOf } from './testing/run-audit.ts';

const inventory = (...paths: readonly string[]) => reportOf(INVENTORIES, paths);
const withHints = (path: string) => reportOf(INVENTORIES, [path], { hints: true });

describe('OVF packages', () => {
  for (const [file, rule] of [
    ['aag-2-vm-vapp.ovf', 'group-4'],
    ['soft-aag-2-vm-vapp-no-group.ovf', 'group-4'],
  ] as const)
    it(`${file}: a placement group of two is a hint, and nothing more`, async () => {
      assert.deepEqual(confidences(await inventory(`vsphere/${file}`)), []);
      const report = await withHints(`vsphere/${file}`);
      assert.deepEqual(confidences(report), ['hint']);
      assert.match(report.clusters[0]?.signs.join() ?? '', new RegExp(rule));
    });

  it('nostalgia-two-disks-same.ovf: one disk twice in one VM is no cluster', async () => {
    const report = await withHints('vsphere/nostalgia-two-disks-same.ovf');
    assert.equal(report.summary.vms, 1);
    assert.deepEqual(confidences(report), []);
  });

  it('haoUnOS2VMs.ovf: two VMs with disks of their own are no cluster', async () => {
    const report = await withHints('vsphere/haoUnOS2VMs.ovf');
    assert.equal(report.summary.vms, 2);
    assert.deepEqual(confidences(report), []);
    assert.deepEqual(report.ties, []);
    assert.equal(exitCodeOf(report, null), 3);
  });
});

describe('RVTools', () => {
  it('migration-planner_example1.xlsx: hosts that VMs name are unknown, so nothing is proved', async () => {
    const report = await inventory('vsphere/migration-planner_example1.xlsx');
    assert.equal(report.summary.vms, 9);
    assert.equal(report.summary.hosts, 7);
    assert.equal(report.summary.notProved, 7);
    assert.deepEqual(report.clusters, []);
    const missing = report.coverage.map(({ text }) => text).join('\n');
    for (const tab of ['vNetwork', 'vDatastore', 'vCD', 'vUSB', 'vMultiPath'])
      assert.match(missing, new RegExp(`tab ${tab} is missing`));
    assert.match(missing, /Host names something that is not in the export .*10\.5\.126\.198/);
    assert.match(missing, /tab vInfo: Host is missing .*1 time/, 'vm-9 runs on no host');
    assert.doesNotMatch(JSON.stringify(report), /Disk Path/);
    assert.equal(exitCodeOf(report, null), 3);
  });

  it('mjvincent_rvtools-small-complete.xlsx: a controller and a drive that is not connected tie nobody', async () => {
    const report = await inventory('vsphere/mjvincent_rvtools-small-complete.xlsx');
    assert.deepEqual(
      report.ties.map(({ level, kind, vm }) => [level, kind, vm]),
      [['informs', 'snapshot', 'sample-db-01']],
    );
    assert.equal(report.summary.cannot, 0);
    assert.equal(report.summary.can, 0, 'half of the columns are missing');
  });
});

describe('SCVMM', () => {
  const of = () => inventory('hyperv/scvmm_get_inventory_output.json');

  it('four and three running VMs on local volumes keep both hosts of the cluster', async () => {
    const report = await of();
    const storage = (host: string) =>
      hostIn(report, host)
        .reasons.filter(({ text }) => text.includes('has a disk on storage'))
        .map(({ vm }) => vm);
    const domain = 'cfme-qe-vmm-ad.rhq.lab.eng.bos.redhat.com';
    assert.deepEqual(storage(`qeblade26.${domain}`).toSorted(), [
      'ag_prov_test0002',
      'ag_test_0003',
      'cfme-vmm-ad-pri-DND',
      'otsuman_test_win_ftp',
    ]);
    assert.deepEqual(storage(`qeblade33.${domain}`).toSorted(), ['DualDVDa', 'cluster-storage', 'scvmm2']);
    assert.equal(report.summary.cannot, 2);
    assert.equal(hostIn(report, 'dhcp129-212.brq.redhat.com').verdict, 'not proved', 'it does not answer');
    assert.equal(exitCodeOf(report, 'undrainable'), 1);
  });

  it('23 VMs are on local volumes, the five on the share are tied to nothing', async () => {
    const report = await of();
    const tied = report.ties.filter(({ kind }) => kind === 'storage');
    assert.equal(tied.length, 23);
    assert.deepEqual(
      tied.filter(({ evidence }) => /cfme_hyperv/.test(JSON.stringify(evidence))),
      [],
    );
  });

  it('DualDVDa has two local images; three VMs that do not run have one each', async () => {
    const media = (await of()).ties.filter(({ kind }) => kind === 'media');
    assert.deepEqual(
      media.filter(({ level }) => level === 'blocks').map(({ vm }) => vm),
      ['DualDVDa', 'DualDVDa'],
    );
    assert.deepEqual(
      media
        .filter(({ level }) => level === 'informs')
        .map(({ vm }) => vm)
        .toSorted(),
      ['MoVM', 'SMIS2', 'centos7min-vm'],
    );
  });

  it('two switches do not leave qeblade33, and no VM is on them', async () => {
    const { notes, clusters } = await of();
    assert.deepEqual(new Set(notes.map(({ text }) => /"([^"]+)"/.exec(text)?.[1])), new Set(['nic-1', 'nic-2']));
    assert.deepEqual(clusters, []);
  });
});

describe('KubeVirt', () => {
  it('userguide_shareable_two_vms.yaml: a certain cluster that a rule keeps on one host', async () => {
    const report = await inventory('kubevirt/userguide_shareable_two_vms.yaml');
    const [cluster] = report.clusters;
    assert.deepEqual(confidences(report), ['certain']);
    assert.deepEqual(
      cluster?.vms.map(({ vm }) => vm),
      ['vm-block-1', 'vm-block-2'],
    );
    assert.match(cluster?.text ?? '', /claim block-pvc, permitted by the mark "shareable"/);
    assert.match(cluster?.signs.join() ?? '', /a rule keeps them on one host/);
    assert.deepEqual(
      report.ties.map(({ kind, vm }) => [kind, vm]),
      [['pod affinity', 'vm-block-2']],
    );
    assert.equal(exitCodeOf(report, 'cluster'), 1);
  });

  const ties: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
    'vmi-sriov.yaml': [['warns', 'sr-iov']],
    'vmi-gpu.yaml': [['blocks', 'gpu']],
    'vmi-usb.yaml': [['blocks', 'host device']],
    'vmi-host-disk.yaml': [['blocks', 'host folder']],
    'vmi-fedora-isolated.yaml': [['warns', 'dedicated cpu']],
    'vmi-migratable.yaml': [],
    'vmi-secureboot.yaml': [],
    'vm-windows-clarge-windows.yaml': [],
  };
  for (const [file, expected] of Object.entries(ties))
    it(`${file}: ${expected.map((one) => one.join(' ')).join(', ') || 'nothing ties it'}`, async () => {
      const report = await inventory(`kubevirt/${file}`);
      assert.deepEqual(
        report.ties.map(({ level, kind }) => [level, kind]),
        expected,
      );
      assert.deepEqual(report.clusters, []);
      assert.ok(report.coverage.length > 0, 'nodes are missing');
    });

  it('apitesting_VirtualMachineInstance.yaml: every field of the schema is read', async () => {
    const report = await inventory('kubevirt/apitesting_VirtualMachineInstance.yaml');
    const kinds = new Set(report.ties.map(({ kind }) => kind));
    for (const kind of ['gpu', 'host device', 'host folder', 'sr-iov', 'node selector', 'dedicated cpu', 'soft tpm'])
      assert.ok(kinds.has(kind), kind);
    assert.deepEqual(confidences(report), ['member']);
    assert.match(report.clusters[0]?.text ?? '', /SCSI reservations/);
  });
});

describe('Nutanix', () => {
  it('a cluster of one host can neither be drained nor lose it', async () => {
    const report = await inventory('nutanix');
    const host = hostIn(report, 'ahv-dev-node-01');
    assert.equal(host.verdict, 'cannot');
    assert.match(host.reasons[0]?.text ?? '', /no other host in service/);
    assert.equal(report.losses.find((one) => one.host === host.host)?.verdict, 'not covered');
    assert.deepEqual(report.clusters, []);
    assert.equal(report.summary.vms, 6);
  });
});

describe('oVirt', () => {
  it('vm_on has no target in its cluster; the empty host of the other cluster can be drained', async () => {
    const report = await inventory('ovirt');
    const host = hostIn(report, 'bodh1');
    assert.equal(host.verdict, 'cannot');
    assert.deepEqual(host.vms, ['vm_on']);
    assert.match(host.reasons[0]?.text ?? '', /no other host in service/);
    assert.equal(hostIn(report, 'bodh2').verdict, 'can');
    assert.doesNotMatch(JSON.stringify(host), /bodh2/);
    assert.deepEqual(report.clusters, [], 'OVF_STORE is shareable and no cluster');
  });
});

describe('OpenStack', () => {
  it('a group without members is nothing; a host that is not exported is not proved', async () => {
    const report = await reportOf(INVENTORIES, ['openstack'], { hints: true });
    assert.deepEqual(report.clusters, []);
    assert.equal(hostIn(report, 'fake-mini').verdict, 'not proved');
  });
});

describe('all inventories at once', () => {
  it('are read together, and two runs give the same bytes', async () => {
    const run = () => inventory('.').then((report) => JSON.stringify(report));
    const [first, second] = [await run(), await run()];
    assert.equal(first, second);
    assert.equal(new Set((await inventory('.')).sources.map(({ platform }) => platform)).size, 7);
  });

  it('have a licence each', () => {
    const lines = readFileSync(join(INVENTORIES, 'LICENSES.tsv'), 'utf8').trim().split('\n').slice(1);
    assert.ok(lines.length > 30);
    for (const line of lines) assert.match(line, /Apache-2\.0|MIT/);
  });
});
