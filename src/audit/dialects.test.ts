/** Forms of exports other than those of the seeded estates: older tools, other encodings, single objects. */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { confidences, hostIn, reportOfFiles } from './testing/run-audit.ts';
import { makeSeed } from './testing/seeded/seed.ts';
import { vsphereFiles } from './testing/seeded/vsphere.ts';

const seed = makeSeed({ seed: 31, hosts: 3, vmsPerHost: 2, guestClusters: 1, ties: 1 });

/** Capitalises field names and removes type names, as in PowerCLI's JSON. */
function likePowerCli(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(likePowerCli);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => name !== '_typeName');
  return Object.fromEntries(
    entries.map(([name, inner]) => [
      name === 'self' ? 'MoRef' : name.charAt(0).toUpperCase() + name.slice(1),
      name === 'powerState' ? 1 : likePowerCli(inner),
    ]),
  );
}

describe('vSphere', () => {
  it('PowerCLI: capitals, enumerations as numbers, no names of types', async () => {
    const files = Object.entries(vsphereFiles(seed)).map(
      ([name, text]) => [name, JSON.stringify(likePowerCli(JSON.parse(String(text))))] as const,
    );
    const report = await reportOfFiles(Object.fromEntries(files));
    const plain = await reportOfFiles(vsphereFiles(seed));
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      plain.hosts.map(({ verdict }) => verdict),
    );
    assert.deepEqual(confidences(report), ['certain']);
  });

  it('a mandatory rule of VMs and hosts limits them; one that leaves no other host keeps its host', async () => {
    const files = vsphereFiles(makeSeed({ seed: 32, hosts: 3, vmsPerHost: 1, guestClusters: 0 }));
    const ref = (type: string, value: string) => ({ type, value });
    const group = (hosts: readonly number[]) => [
      { name: 'licensed', host: hosts.map((host) => ref('HostSystem', `host-${host}`)) },
      { name: 'db', vm: [ref('VirtualMachine', 'vm-0')] },
    ];
    const rule = {
      name: 'licence',
      enabled: true,
      mandatory: true,
      vmGroupName: 'db',
      affineHostGroupName: 'licensed',
    };
    const withRule = (hosts: readonly number[]) => ({
      ...files,
      'cluster.json': JSON.stringify([
        {
          self: ref('ClusterComputeResource', 'domain-c1'),
          name: 'Prod',
          configurationEx: { rule: [rule], group: group(hosts) },
        },
      ]),
    });
    assert.equal(hostIn(await reportOfFiles(withRule([0, 1])), 'node000').verdict, 'can');
    const alone = hostIn(await reportOfFiles(withRule([0])), 'node000');
    assert.equal(alone.verdict, 'cannot');
    assert.match(alone.reasons[0]?.text ?? '', /only on hosts that a rule names: licence/);
  });

  it('a LUN that is always reserved, a shared bus and a like name make a cluster without a disk probable', async () => {
    const estate = makeSeed({ seed: 33, hosts: 2, vmsPerHost: 1, guestClusters: 1 });
    const files = vsphereFiles(estate);
    const change = (name: string, text: (before: string) => string) => text(String(files[name]));
    const report = await reportOfFiles({
      ...files,
      'vms.json': change('vms.json', (text) =>
        text
          .replaceAll('"fileName": "[san1] shared/0.vmdk",', '')
          .replaceAll('"sharing": "sharingMultiWriter",', '')
          .replaceAll('"noSharing"', '"physicalSharing"')
          .replaceAll(/"fileName": "\[san1\] sql[^"]*",/g, ''),
      ),
      'hosts.json': change('hosts.json', (text) =>
        text.replaceAll(
          '"config": {',
          '"config": {"storageDevice": {"scsiLun": [{"canonicalName": "naa.6001", "perenniallyReserved": true}]},',
        ),
      ),
    });
    assert.ok(confidences(report).includes('probable'), JSON.stringify(report.clusters));
    assert.match(JSON.stringify(report.clusters), /a LUN that is always reserved: naa\.6001/);
  });

  it('govc collect: properties by dotted names, with their types beside them', async () => {
    const ref = (type: string, value: string) => ({ type, value });
    const host = (number: number) => ({
      kind: 'enter',
      obj: ref('HostSystem', `host-${number}`),
      changeSet: [
        { name: 'name', op: 'assign', val: { _typeName: 'string', _value: `esx${number}` } },
        { name: 'parent', op: 'assign', val: ref('ClusterComputeResource', 'domain-c1') },
        { name: 'summary.hardware.memorySize', op: 'assign', val: { _typeName: 'long', _value: 2 ** 36 } },
        { name: 'summary.hardware.cpuModel', op: 'assign', val: 'Xeon' },
        { name: 'runtime.inMaintenanceMode', op: 'assign', val: number === 1 },
      ],
    });
    const report = await reportOfFiles({ 'hosts.json': JSON.stringify([host(0), host(1)]) });
    assert.deepEqual(
      report.hosts.map((one) => one.host),
      ['esx0', 'esx1'],
    );
    assert.ok(report.coverage.some(({ text }) => text.includes('JSON of type VirtualMachine is not among the files')));
  });

  it('the helpers that vCenter makes for itself hold no host', async () => {
    const files = vsphereFiles(makeSeed({ seed: 34, hosts: 2, vmsPerHost: 1, guestClusters: 0 }));
    const vms = JSON.parse(String(files['vms.json'])) as {
      virtualMachines: { name: string; self: { value: string } }[];
    };
    const [first] = vms.virtualMachines;
    const helper = JSON.parse(
      JSON.stringify({ ...first, name: 'vCLS-1', self: { type: 'VirtualMachine', value: 'vm-900' } }).replaceAll(
        'datastore-1',
        'datastore-local-0',
      ),
    ) as typeof first;
    const report = await reportOfFiles({
      ...files,
      'vms.json': JSON.stringify({ virtualMachines: [...vms.virtualMachines, helper] }),
    });
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      ['can', 'can'],
    );
  });

  it('.vmx: an absent startConnected means connected; multi-writer disks by their path', async () => {
    const vmx = (name: string, more: string) =>
      `config.version = "8"\ndisplayName = "${name}"\nmemSize = "1024"\nscsi0:1.fileName = "/vmfs/volumes/san/q.vmdk"\nscsi0:1.sharing = "multi-writer"\n${more}`;
    const report = await reportOfFiles({
      'a/a.vmx': vmx('a', 'ide1:0.deviceType = "atapi-cdrom"\nide1:0.fileName = "auto detect"\n'),
      'b/b.vmx': vmx(
        'b',
        'ide1:0.deviceType = "atapi-cdrom"\nide1:0.startConnected = "FALSE"\nscsi0:2.deviceType = "scsi-passthru"\nscsi0:2.fileName = "/dev/x"\n',
      ),
    });
    assert.deepEqual(confidences(report), ['certain']);
    assert.deepEqual(
      report.ties.map(({ vm, kind }) => `${vm} ${kind}`).toSorted((one, two) => one.localeCompare(two)),
      ['a host drive', 'b passthrough disk'],
    );
  });
});

describe('Hyper-V', () => {
  it('CLIXML: a VM set of two with one path and reservations is certain', async () => {
    const disk = (vm: string) =>
      `<Obj RefId="${vm}"><TN RefId="0"><T>VMHardDiskDrive</T></TN><ToString>drive</ToString><Props><S N="VMName">${vm}</S><S N="VMId">id-${vm}</S><S N="Path">C:\\ClusterStorage\\Volume1\\q_x0041_.vhdx</S><Obj N="ControllerType" RefId="e${vm}"><ToString>SCSI</ToString><I32>1</I32></Obj><Nil N="DiskNumber"/><B N="SupportPersistentReservations">true</B></Props></Obj>`;
    const vm = (name: string) =>
      `<Obj RefId="v${name}"><ToString>vm</ToString><Props><S N="Name">${name}</S><S N="VMId">id-${name}</S><Obj N="State" RefId="s${name}"><ToString>Running</ToString><I32>2</I32></Obj><I32 N="Generation">2</I32><I64 N="ProcessorCount">2</I64><S N="ComputerName">h1</S></Props></Obj>`;
    const objects = (inner: string) =>
      `<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">${inner}</Objs>`;
    const report = await reportOfFiles({
      'vm.clixml': objects(vm('n1') + vm('n2')),
      'disk.xml': objects(disk('n1') + disk('n2')),
    });
    assert.deepEqual(confidences(report), ['certain']);
    assert.match(
      report.clusters[0]?.text ?? '',
      /n1, n2 over path C:\\ClusterStorage\\Volume1\\qA\.vhdx, permitted by SCSI reservations/,
    );
  });
});

describe('a certain cluster', () => {
  it('says that its members are on one host now', async () => {
    const estate = makeSeed({ seed: 35, hosts: 2, vmsPerHost: 1, guestClusters: 1, onOneHost: true });
    const [cluster] = (await reportOfFiles(vsphereFiles(estate))).clusters;
    assert.match(cluster?.signs.join() ?? '', /all of them are on node00\d now/);
  });
});

describe('traps', () => {
  const virtual = (name: string, disk: string) =>
    `<domain type='kvm' id='1'><name>${name}</name><uuid>${name}</uuid><memory>1</memory><devices><disk type='file' device='disk'><source file='/srv/nfs/${disk}'/><shareable/></disk></devices></domain>`;

  it('libvirt: shareable on one VM alone is nothing, since Cockpit sets it without being asked', async () => {
    assert.deepEqual(
      confidences(await reportOfFiles({ 'h/a.xml': virtual('a', 'a.raw'), 'h/b.xml': virtual('b', 'b.raw') })),
      [],
    );
  });

  it('one disk in two VMs without a permit is a collision, and a template is nobody', async () => {
    const conf = (name: string, more: string) =>
      `name: ${name}\nmemory: 1024\ncores: 1\nscsi0: ceph:vm-100-disk-0,size=1G\n${more}`;
    assert.deepEqual(confidences(await reportOfFiles({ '100.conf': conf('a', ''), '101.conf': conf('b', '') })), [
      'collision',
    ]);
    assert.deepEqual(
      confidences(await reportOfFiles({ '100.conf': conf('a', ''), '101.conf': conf('b', 'template: 1\n') })),
      [],
    );
  });

  it('Kubernetes nodes with a rule, like names and equal shapes are no guest cluster', async () => {
    const servers = [0, 1, 2].map((number) => ({
      id: `k${number}`,
      name: `kube-worker-${number}`,
      status: 'ACTIVE',
      flavor: { ram: 4096, vcpus: 2, extra_specs: {} },
    }));
    const group = { id: 'g', name: 'nodes', policy: 'anti-affinity', members: servers.map(({ id }) => id) };
    const report = await reportOfFiles(
      { 'servers.json': JSON.stringify({ servers }), 'groups.json': JSON.stringify({ server_groups: [group] }) },
      { hints: true },
    );
    assert.deepEqual(confidences(report), ['hint']);
  });
});
