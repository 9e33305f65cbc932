/** Further forms of exports: Prism Element, Xen Orchestra, the `openstack` command; and settings that hold a VM. */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { confidences, type Files, hostIn, reportOfFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { makeSeed } from './testing/seeded/seed.ts';

const json = (value: unknown): string => JSON.stringify(value);
const verdicts = async (files: Files): Promise<readonly string[]> =>
  (await reportOfFiles(files)).hosts.map(({ host, verdict }) => `${host} ${verdict}`);

describe('Nutanix, version 2 of the API (Prism Element)', () => {
  const list = (entities: readonly unknown[]) =>
    json({ metadata: { grand_total_entities: entities.length }, entities });
  const host = (number: number, more = {}) => ({
    uuid: `host-${number}`,
    name: `ahv${number}`,
    hypervisor_address: `10.0.0.${number}`,
    cluster_uuid: 'c1',
    memory_capacity_in_bytes: 2 ** 38,
    state: 'NORMAL',
    hypervisor_state: 'kAcropolisNormal',
    ...more,
  });
  const vm = (number: number, more = {}) => ({
    uuid: `vm-${number}`,
    name: `vm${number}`,
    power_state: 'on',
    host_uuid: `host-${number}`,
    memory_mb: 4096,
    num_vcpus: 2,
    allow_live_migrate: true,
    gpus_assigned: false,
    vm_features: { AGENT_VM: false },
    vm_disk_info: [{ is_cdrom: false, disk_address: { vmdisk_uuid: `d${number}` }, size: 2 ** 30 }],
    vm_nics: [{ network_uuid: 'n1' }],
    ...more,
  });
  const files = (vms: readonly unknown[], hosts = [host(1), host(2)]): Files => ({
    'hosts.json': list(hosts),
    'vms.json': list(vms),
    'clusters.json': list([{ uuid: 'c1', name: 'Prod', num_nodes: 2 }]),
  });

  it('hosts, memory and VMs are read; what the platform refuses to move keeps its host', async () => {
    assert.deepEqual(await verdicts(files([vm(1), vm(2)])), ['ahv1 can', 'ahv2 can']);
    const tied = await reportOfFiles(files([vm(1, { allow_live_migrate: false }), vm(2, { gpus_assigned: true })]));
    assert.deepEqual(
      tied.ties.map(({ kind }) => kind),
      ['platform verdict', 'gpu'],
    );
    assert.equal(tied.summary.cannot, 2);
    assert.equal(tied.hosts[0]?.cluster, 'Prod');
  });

  it('affinity to hosts limits, and a host in maintenance takes nothing', async () => {
    const pinned = vm(1, { affinity: { policy: 'AFFINITY', host_uuids: ['host-1'] } });
    assert.match(json((await reportOfFiles(files([pinned]))).hosts[0]?.reasons), /only on hosts that a rule names/);
    const away = [host(1), host(2, { host_maintenance_mode_reason: 'life_cycle_management' })];
    assert.deepEqual((await verdicts(files([vm(1)], away)))[0], 'ahv1 cannot');
  });

  it('lists without disks or network cards prove nothing', async () => {
    const { vm_disk_info: _disks, ...bare } = vm(1);
    assert.equal((await verdicts(files([bare])))[0], 'ahv1 not proved');
  });

  it('a volume group that two VMs attach is a certain cluster', async () => {
    const group = {
      uuid: 'vg1',
      name: 'sql',
      is_shared: true,
      disk_list: [],
      attachment_list: [{ vm_uuid: 'vm-1' }, { vm_uuid: 'vm-2' }],
    };
    const report = await reportOfFiles({ ...files([vm(1), vm(2)]), 'volume_groups.json': list([group]) });
    assert.deepEqual(confidences(report), ['certain']);
    assert.match(report.clusters[0]?.text ?? '', /vm1, vm2 over volume group sql/);
  });
});

describe('Xen Orchestra', () => {
  const of = (type: string, id: string, more: object, pool = 'p1') => ({ type, id, uuid: id, $pool: pool, ...more });
  const host = (id: string, pool = 'p1') =>
    of(
      'host',
      id,
      { name_label: id, hostname: id, enabled: true, memory: { size: 2 ** 37 }, CPUs: { modelname: 'EPYC' } },
      pool,
    );
  const vm = (id: string, at: string, more = {}) =>
    of('VM', id, {
      name_label: id,
      power_state: 'Running',
      $container: at,
      memory: { static: [2 ** 30, 2 ** 32], size: 2 ** 32 },
      CPUs: { number: 2 },
      other: {},
      ...more,
    });
  const objects = (...more: readonly object[]): Files => ({
    'objects.json': json([
      of('pool', 'p1', { name_label: 'Blue', master: 'h1', HA_enabled: false }),
      host('h1'),
      host('h2'),
      of('SR', 'sr1', { name_label: 'nfs', shared: true, content_type: 'user' }),
      ...['h1', 'h2'].map((at) => of('PBD', `pbd-${at}`, { attached: true, host: at, SR: 'sr1' })),
      of('network', 'n1', { name_label: 'lan', bridge: 'xenbr0' }),
      ...['h1', 'h2'].map((at) => of('PIF', `pif-${at}`, { $host: at, $network: 'n1', device: 'eth0' })),
      vm('a', 'h1'),
      of('VDI', 'vdi-a', { name_label: 'a', size: 2 ** 33, $SR: 'sr1' }),
      of('VBD', 'vbd-a', { VM: 'a', VDI: 'vdi-a', is_cd_drive: false, read_only: false }),
      of('VIF', 'vif-a', { $VM: 'a', $network: 'n1' }),
      ...more,
    ]),
  });

  it('objects are read; a USB device and a PCI device keep the host', async () => {
    assert.deepEqual(await verdicts(objects()), ['h1 can', 'h2 can']);
    const usb = hostIn(await reportOfFiles(objects(of('VUSB', 'u1', { vm: 'a' }))), 'h1');
    assert.match(usb.reasons[0]?.text ?? '', /a uses a USB device of its host/);
    assert.equal(usb.cluster, 'Blue');
  });

  it('hosts of another pool are no targets', async () => {
    const alone = objects(host('x1', 'p2'), of('pool', 'p2', { name_label: 'Red', master: 'x1' }, 'p2'), {
      ...vm('b', 'x1'),
      $pool: 'p2',
    });
    assert.match(json(hostIn(await reportOfFiles(alone), 'x1').reasons), /no other host in service/);
  });
});

describe('the openstack command', () => {
  const flavors = [{ ID: 'f1', Name: 'm1', RAM: 4096, VCPUs: 2, Properties: {} }];
  const server = (id: string, host: string, flavor = 'm1') => ({
    ID: id,
    Name: id,
    Status: 'ACTIVE',
    'Power State': 1,
    Networks: { lan: ['10.0.0.1'] },
    Host: host,
    'Flavor Name': flavor,
  });
  const shown = (name: string) => ({
    hypervisor_hostname: name,
    service_host: name,
    memory_mb: 65_536,
    cpu_info: { model: 'Icelake' },
    state: 'up',
    status: 'enabled',
  });
  const files = (more: Files = {}): Files => ({
    'servers.json': json([server('a', 'h1'), server('b', 'h2')]),
    'flavors.json': json(flavors),
    'hypervisor-h1.json': json(shown('h1')),
    'hypervisor-h2.json': json(shown('h2')),
    'services.json': json([
      { ID: 1, Binary: 'nova-compute', Host: 'h1', Zone: 'az1', Status: 'enabled', State: 'up' },
      { ID: 2, Binary: 'nova-compute', Host: 'h2', Zone: 'az1', Status: 'enabled', State: 'up' },
    ]),
    'server-groups.json': '[]',
    'volumes.json': json([{ ID: 'v', Name: 'v', Size: 1, 'Attached to': [{ server_id: 'a' }, { server_id: 'b' }] }]),
    'ports.json': json({ ports: [{ id: 'p', device_id: 'a', 'binding:vnic_type': 'normal' }] }),
    ...more,
  });

  it('lists are read, flavors are joined, a volume of two servers is a certain cluster', async () => {
    const report = await reportOfFiles(files());
    assert.deepEqual(
      report.hosts.map(({ host, verdict }) => `${host} ${verdict}`),
      ['h1 can', 'h2 can'],
      json(report.coverage),
    );
    assert.deepEqual(confidences(report), ['certain']);
    assert.equal(report.hosts[0]?.cluster, 'az1');
  });

  it('a disabled service takes no VM, and a vTPM is not moved', async () => {
    const service = { ID: 1, Binary: 'nova-compute', Host: 'h1', Zone: 'az1', Status: 'enabled', State: 'up' };
    const listed = { ID: 1, 'Hypervisor Hostname': 'h1', State: 'up', 'Memory MB': 65_536 };
    const report = await reportOfFiles(
      files({
        'hypervisor-h1.json': json([listed]),
        'services.json': json([service, { ...service, Host: 'h2', Status: 'disabled' }]),
        'hypervisor-h2.json': json([{ ...listed, 'Hypervisor Hostname': 'h2' }]),
      }),
    );
    assert.match(json(hostIn(report, 'h1').reasons), /no other host in service/);
    const tpm = [{ ID: 'f1', Name: 'm1', RAM: 4096, VCPUs: 2, Properties: { 'hw:tpm_version': '2.0' } }];
    assert.equal((await reportOfFiles(files({ 'flavors.json': json(tpm) }))).summary.cannot, 2);
  });

  it('an affinity group of two servers on one host keeps both', async () => {
    const group = [{ ID: 'g', Name: 'pair', Policy: 'affinity', Members: ['a', 'c'] }];
    const servers = [server('a', 'h1'), server('b', 'h2'), server('c', 'h1')];
    const report = await reportOfFiles(files({ 'server-groups.json': json(group), 'servers.json': json(servers) }));
    assert.match(json(hostIn(report, 'h1').reasons), /in a group whose VMs must be on one host.*pair/);
    assert.equal(hostIn(report, 'h2').verdict, 'can');
  });
});

describe('Proxmox VE', () => {
  const seed = makeSeed({ seed: 81, hosts: 2, vmsPerHost: 1, guestClusters: 0 });
  const changed = (change: (text: string) => string, more: Files = {}): Files => ({
    ...Object.fromEntries(
      Object.entries(WRITERS['proxmox']?.(seed) ?? {}).map(
        ([name, text]) => [name, name.includes('node000/qemu-server') ? change(String(text)) : text] as const,
      ),
    ),
    ...more,
  });
  const first = async (files: Files) => hostIn(await reportOfFiles(files), 'node000');

  it('an encrypted guest stays; a CPU model needs a processor that is known to be equal', async () => {
    assert.match(json((await first(changed((text) => `amd-sev: type=std\n${text}`))).reasons), /encrypts \(SEV/);
    const named = changed((text) => `cpu: Skylake-Server\n${text}`);
    assert.equal((await first(named)).verdict, 'not proved');
    const status = (model: string) => json({ cpuinfo: { model }, pveversion: 'pve-manager/9' });
    const equal = { 'status/node000.json': status('Xeon'), 'status/node001.json': status('Xeon') };
    assert.equal((await first({ ...named, ...equal })).verdict, 'can');
  });

  it('virtual networks are on the nodes of their zone', async () => {
    const onVnet = (text: string) => text.replace('bridge=vmbr0', 'bridge=vnet1');
    assert.equal((await first(changed(onVnet))).verdict, 'not proved');
    const sdn = (nodes: string) => ({
      'pve/sdn/zones.cfg': `simple: z1\n\tipam pve\n${nodes}`,
      'pve/sdn/vnets.cfg': 'vnet: vnet1\n\tzone z1\n',
    });
    assert.equal((await first(changed(onVnet, sdn('')))).verdict, 'can');
    assert.equal((await first(changed(onVnet, sdn('\tnodes node000\n')))).verdict, 'cannot');
  });
});
