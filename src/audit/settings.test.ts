/**
 * Tests each setting that holds a VM, or shows what somebody wants for it, one by one on estates that are free of ties.
 */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import type { Report } from './report/report.ts';
import { type Files, hostIn, reportOfFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { makeSeed, uuidOf } from './testing/seeded/seed.ts';

const seed = makeSeed({ seed: 81, hosts: 3, vmsPerHost: 1, guestClusters: 0 });
const [HOST = '', SECOND = ''] = seed.hosts;
const json = (value: unknown): string => JSON.stringify(value);
type Value = ReturnType<typeof JSON.parse>;

function written(platform: string): Files {
  return WRITERS[platform]?.(seed) ?? assert.fail(platform);
}

/** Changes one JSON file of a platform's export. */
function changed(platform: string, file: string, change: (value: Value) => void): Files {
  const files = written(platform);
  const value: Value = JSON.parse(String(files[file]));
  change(value);
  return { ...files, [file]: json(value) };
}

/** Replaces text in the files whose names match. */
function replaced(platform: string, name: RegExp, from: string, to: string): Files {
  const entries = Object.entries(written(platform)).map(([file, text]): [string, string | Uint8Array] => {
    if (!name.test(file)) return [file, text];
    assert.ok(String(text).includes(from), `${file} has ${from}`);
    return [file, String(text).replace(from, to)];
  });
  return Object.fromEntries(entries);
}

/** Returns kind, level and column of each tie. */
function ties(report: Report): readonly string[] {
  return report.ties.map(({ kind, level, evidence }) => `${kind} ${level} ${evidence[0]?.column}`);
}

describe('an encrypted guest is not moved live', () => {
  for (const [column, config] of [
    ['config.sevEnabled', { sevEnabled: true }],
    ['config.tdxEnabled', { tdxEnabled: true }],
    ['config.sgxInfo.epcSize', { sgxInfo: { epcSize: 64 } }],
  ] as const)
    it(`vSphere: ${column}`, async () => {
      const files = changed('vsphere', 'vms.json', ({ virtualMachines: [first] }) => {
        Object.assign(first.config, config);
      });
      const report = await reportOfFiles(files);
      assert.deepEqual(ties(report), [`encrypted memory blocks ${column}`]);
      assert.equal(hostIn(report, HOST).verdict, 'cannot');
    });

  it('libvirt: launchSecurity', async () => {
    const one = new RegExp(`^${HOST}/qemu/`);
    const report = await reportOfFiles(replaced('libvirt', one, '<devices>', "<launchSecurity type='sev'/><devices>"));
    assert.deepEqual(ties(report), ['encrypted memory blocks launchSecurity']);
    assert.equal(hostIn(report, HOST).verdict, 'cannot');
    assert.equal(hostIn(report, SECOND).verdict, 'can');
  });

  it('OpenStack: hw:mem_encryption', async () => {
    const files = changed('openstack', 'servers.json', ({ servers: [first] }) => {
      first.flavor.extra_specs = { 'hw:mem_encryption': 'True' };
    });
    const report = await reportOfFiles(files);
    assert.deepEqual(ties(report), ['encrypted memory blocks flavor.extra_specs hw:mem_encryption']);
    assert.equal(hostIn(report, `${HOST}.cloud`).verdict, 'cannot');
  });
});

describe('settings that warn or inform leave a host drainable', () => {
  const cases: readonly (readonly [name: string, files: () => Files, tie: string])[] = [
    [
      'KubeVirt: evictionStrategy None',
      () =>
        changed('kubevirt', 'vmis.json', ({ items: [first] }) => {
          first.spec.evictionStrategy = 'None';
        }),
      'eviction warns evictionStrategy',
    ],
    [
      'Proxmox VE: a hook script',
      () => replaced('proxmox', /node000\/qemu-server/, 'name:', 'hookscript: local:snippets/a.pl\nname:'),
      'node file warns hookscript',
    ],
    [
      'RVTools: Direct Path IO, once for each VM',
      () => {
        const text = String(written('rvtools')['RVTools_tabvNetwork.csv']);
        const [head = '', first = '', ...others] = text.trimEnd().split('\r\n');
        const rows = [
          `${head},Direct Path IO`,
          `${first},True`,
          `${first},True`,
          ...others.map((row) => `${row},False`),
        ];
        return { ...written('rvtools'), 'RVTools_tabvNetwork.csv': `${rows.join('\r\n')}\r\n` };
      },
      'direct path informs Direct Path IO',
    ],
    [
      'oVirt: preferred hosts',
      () =>
        changed('ovirt', 'vms.json', ({ vm: [first] }) => {
          first.placement_policy.hosts = { host: [{ id: uuidOf(2, 1) }] };
        }),
      'preferred host informs placement_policy.hosts',
    ],
  ];
  for (const [name, files, tie] of cases)
    it(name, async () => {
      const report = await reportOfFiles(files());
      assert.deepEqual(ties(report), [tie]);
      assert.equal(hostIn(report, HOST).verdict, 'can', json(hostIn(report, HOST)));
    });

  it('oVirt: the hosts of a pinned VM are part of its tie', async () => {
    const files = changed('ovirt', 'vms.json', ({ vm: [first] }) => {
      first.placement_policy = { affinity: 'pinned', hosts: { host: [{ id: uuidOf(2, 0) }] } };
    });
    assert.deepEqual(ties(await reportOfFiles(files)), ['pinned blocks placement_policy.affinity']);
  });
});

describe('rules between VMs', () => {
  const apart = /a rule keeps them on different hosts: spread/;
  const signs = (report: Report): string => json(report.clusters.map(({ signs: all }) => all));
  const three = [0, 1, 2].map((number) => uuidOf(1, number));

  it('XCP-ng: a group that is spread is a sign, and refuses nothing', async () => {
    const record = (fields: Readonly<Record<string, string>>): string =>
      Object.entries(fields)
        .map(([name, value]) => `${name.padStart(20)} ( RO): ${value}\n`)
        .join('');
    const group = {
      uuid: uuidOf(7, 1),
      'name-label': 'spread',
      placement: 'anti_affinity',
      'VM-uuids': three.join('; '),
    };
    for (const written of [record(group), json({ 'OpaqueRef:g': { ...group, name_label: 'spread', VMs: three } })]) {
      const report = await reportOfFiles(
        { ...WRITERS['xcpng']?.(seed), [written.startsWith('{') ? 'group.json' : 'group.txt']: written },
        { hints: true },
      );
      assert.match(signs(report), apart);
      assert.equal(report.summary.can, 3);
    }
  });

  it('Nutanix: a policy of version 4 that spreads the VMs of a category', async () => {
    const files = changed('nutanix', 'vms.json', ({ data }) => {
      for (const vm of data) vm.categories = [{ extId: 'cat-1' }];
    });
    const policy = { $objectType: 'vmm.v4.ahv.policies.VmAntiAffinityPolicy', extId: 'p', name: 'spread' };
    const policies = json({ data: [{ ...policy, categories: [{ extId: 'cat-1' }] }] });
    const report = await reportOfFiles({ ...files, 'policies.json': policies }, { hints: true });
    assert.match(signs(report), apart);
    assert.equal(report.summary.can, 3);
  });
});

describe('Nutanix: a policy between VMs and hosts', () => {
  const files = changed('nutanix', 'vms.json', ({ data: [first] }) => {
    first.categories = [{ extId: 'vms-1' }];
  });
  const policy = {
    $objectType: 'vmm.v4.ahv.policies.VmHostAffinityPolicy',
    extId: 'p',
    name: 'licence',
    vmCategories: [{ extId: 'vms-1' }],
    hostCategories: [{ extId: 'hosts-1' }],
  };
  const policies = { 'policies.json': json({ data: [policy] }) };
  const categories = (hosts: readonly number[]): Files => ({
    'categories.json': json({
      data: [
        {
          $objectType: 'prism.v4.config.Category',
          extId: 'hosts-1',
          detailedAssociations: hosts.map((host) => ({ resourceType: 'HOST', resourceId: uuidOf(2, host) })),
        },
      ],
    }),
  });

  it('without the categories of the hosts nothing is proved about the host of the VM', async () => {
    const report = await reportOfFiles({ ...files, ...policies });
    assert.deepEqual(
      report.hosts.map(({ verdict }) => verdict),
      ['not proved', 'can', 'can'],
    );
  });

  it('with the categories the VM may go only to the hosts that have them', async () => {
    const alone = await reportOfFiles({ ...files, ...policies, ...categories([0]) });
    assert.equal(hostIn(alone, HOST).verdict, 'cannot');
    assert.match(json(hostIn(alone, HOST).reasons), /only on hosts that a rule names.*licence/);
    const two = await reportOfFiles({ ...files, ...policies, ...categories([0, 1]) });
    assert.equal(hostIn(two, HOST).verdict, 'can');
  });
});

describe('networks that some hosts do not have', () => {
  it('KubeVirt: a bridge that only one node offers', async () => {
    const files = (nodes: number, resourceName = 'bridge.network.kubevirt.io/br1'): Files => ({
      ...changed('kubevirt', 'vmis.json', ({ items: [first] }) => {
        first.spec.networks = [{ name: 'beat', multus: { networkName: 'beat' } }];
      }),
      'nodes.json':
        changed('kubevirt', 'nodes.json', ({ items }) => {
          for (const node of items.slice(0, nodes)) node.status.allocatable['bridge.network.kubevirt.io/br1'] = '1k';
        })['nodes.json'] ?? '',
      'networks.json': json({
        apiVersion: 'v1',
        kind: 'List',
        items: [
          {
            apiVersion: 'k8s.cni.cncf.io/v1',
            kind: 'NetworkAttachmentDefinition',
            metadata: {
              name: 'beat',
              namespace: 'prod',
              annotations: resourceName === '' ? {} : { 'k8s.v1.cni.cncf.io/resourceName': resourceName },
            },
          },
        ],
      }),
    });
    const verdict = async (all: Files) => hostIn(await reportOfFiles(all), HOST).verdict;
    assert.equal(await verdict(files(1)), 'cannot');
    assert.equal(await verdict(files(2)), 'can');
    assert.equal(await verdict(files(0, '')), 'can');
  });

  it('oVirt: a network that only one host has attached', async () => {
    const files = (hosts: number, network: object = {}): Files => ({
      ...changed('ovirt', 'vms.json', ({ vm: [first] }) => {
        first.nics = { nic: [{ id: 'n', interface: 'virtio', vnic_profile: { id: 'profile' } }] };
      }),
      'hosts.json':
        changed('ovirt', 'hosts.json', ({ host }) => {
          for (const [number, one] of host.entries())
            one.network_attachments = {
              network_attachment: [
                { network: { id: 'lan' } },
                ...(number < hosts ? [{ network: { id: 'beat' } }] : []),
              ],
            };
        })['hosts.json'] ?? '',
      'networks.json': json({
        network: [{ href: '/ovirt-engine/api/networks/beat', id: 'beat', name: 'beat', ...network }],
      }),
      'profiles.json': json({
        vnic_profile: [{ href: '/ovirt-engine/api/vnicprofiles/profile', id: 'profile', network: { id: 'beat' } }],
      }),
    });
    const verdict = async (all: Files) => hostIn(await reportOfFiles(all), HOST).verdict;
    assert.equal(await verdict(files(1)), 'cannot');
    assert.equal(await verdict(files(2)), 'can');
    assert.equal(await verdict(files(0, { external_provider: { id: 'ovn' } })), 'can');
  });
});

describe('a sum of memory', () => {
  it('cites the largest VMs and hosts, also for the loss of a host', async () => {
    const files = changed('nutanix', 'vms.json', ({ data }) => {
      for (const vm of data) vm.memorySizeBytes = seed.hostMemoryMib * 2 ** 20 * 0.6;
    });
    const report = await reportOfFiles(files);
    const [reason] = [...hostIn(report, HOST).reasons, ...hostIn(report, HOST).doubts];
    assert.ok((reason?.evidence.length ?? 0) > 0, json(reason));
    assert.deepEqual(
      report.losses.map(({ verdict, evidence }) => [verdict, evidence.length > 1]),
      [0, 1, 2].map(() => ['not covered', true]),
    );
  });
});
