/** Several sites in one run: their hosts, names and IDs do not mix, whatever the exports call them. */
import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { auditPaths, type Files, reportOf, reportOfFiles, withFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { csvFiles, rvtoolsTabs } from './testing/seeded/rvtools.ts';
import { makeSeed } from './testing/seeded/seed.ts';

const below = (directory: string, files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([name, content]) => [`${directory}/${name}`, content]));

/** A site of one host: nothing on it has another host, unless a reader takes hosts of another site for targets. */
const alone = makeSeed({ seed: 51, hosts: 1, vmsPerHost: 2, guestClusters: 0 });
const other = makeSeed({ seed: 52, hosts: 1, vmsPerHost: 3, guestClusters: 0 });

for (const platform of ['proxmox', 'xcpng', 'kubevirt', 'openstack', 'vsphere', 'rvtools']) {
  const write = WRITERS[platform] ?? assert.fail(platform);
  it(`${platform}: a host of one site is no target of another`, async () => {
    const report = await reportOfFiles({ ...below('a', write(alone)), ...below('b', write(other)) });
    assert.equal(report.summary.vms, 5, 'no VM hides another');
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      ['cannot', 'cannot'],
    );
    for (const { reasons } of report.hosts) assert.match(reasons[0]?.text ?? '', /no other host in service/);
    assert.deepEqual(report.clusters, [], 'a path, volume or claim of one site is none of the other');
  });
}

describe('a document', () => {
  it('that could belong to two sites is refused, with what to do', async () => {
    const write = WRITERS['proxmox'] ?? assert.fail();
    const { 'resources.json': resources = '', ...rest } = write(alone);
    const files = { ...below('a', rest), ...below('b', write(other)), 'resources.json': resources };
    await withFiles(files, async (directory) => {
      const outcome = await auditPaths(directory, ['.']);
      assert.equal(outcome.kind, 'unreadable');
      assert.match(JSON.stringify(outcome), /could belong to a\/pve or to b\/pve.*Move it into the directory/);
    });
  });

  it('of a second vCenter in one directory is refused, since IDs would hide VMs', async () => {
    const write = WRITERS['vsphere'] ?? assert.fail();
    const named = Object.entries(write(other)).map(([name, content]) => [`second-${name}`, content] as const);
    await withFiles({ ...write(alone), ...Object.fromEntries(named) }, async (directory) => {
      const outcome = await auditPaths(directory, ['.']);
      assert.match(JSON.stringify(outcome), /the ID [\w-]+ stands for .* a directory of its own/);
    });
  });
});

it('directories outside the present one that end in one name stay two exports', async () => {
  const files = {
    ...below('x/export', csvFiles(rvtoolsTabs(alone))),
    ...below('y/export', csvFiles(rvtoolsTabs(other))),
    'here/empty.txt': '',
  };
  await withFiles(files, async (directory) => {
    const report = await reportOf(join(directory, 'here'), ['../x/export', '../y/export']);
    assert.equal(report.summary.vms, 5);
    assert.equal(new Set(report.sources.map(({ file }) => file)).size, report.sources.length);
  });
});

it('keys of Proxmox VE in a copy of /etc/pve are not opened', async () => {
  const write = WRITERS['proxmox'] ?? assert.fail();
  const report = await reportOfFiles({ ...write(alone), 'pve/priv/storage.cfg': 'dir: secret\n\tpath /x\n' });
  assert.ok(report.ignored.includes('pve/priv'));
  assert.doesNotMatch(JSON.stringify(report.sources), /priv/);
});
