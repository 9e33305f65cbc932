/** Writes a seeded estate as oVirt exports it. */
import type { Files } from '../run-audit.ts';
import { membersOf, type Seed, type SeedVm, uuidOf } from './seed.ts';
import { groups, isShared, json, MIB } from './write.ts';

/** The files. */
export function ovirtFiles(seed: Seed): Files {
  const href = (kind: string, id: string) => ({ href: `/ovirt-engine/api/${kind}/${id}`, id });
  const disk = (id: string, name: string, shareable: boolean) => ({
    ...href('disks', id),
    alias: name,
    shareable: String(shareable),
    content_type: 'data',
    provisioned_size: '1073741824',
    storage_domains: { storage_domain: [{ id: 'sd1' }] },
  });
  const attached = (vm: SeedVm) => [uuidOf(3, vm.number), ...(isShared(seed, vm) ? [uuidOf(4, vm.cluster ?? 0)] : [])];
  return {
    'vms.json': json({
      vm: seed.vms.map((vm) => ({
        ...href('vms', uuidOf(1, vm.number)),
        name: vm.name,
        status: 'up',
        memory: String(vm.memoryMib * MIB),
        cpu: { topology: { cores: String(vm.cpus), sockets: '1', threads: '1' } },
        host: { id: uuidOf(2, vm.host) },
        cluster: { id: 'c1' },
        placement_policy: { affinity: vm.tie === 'media' ? 'pinned' : 'migratable' },
        disk_attachments: { disk_attachment: attached(vm).map((id) => ({ id, disk: { id } })) },
        nics: { nic: [{ id: 'n', interface: 'virtio' }] },
        host_devices: vm.tie === 'device' ? { host_device: [{ name: 'pci_0000_01' }] } : {},
      })),
    }),
    'hosts.json': json({
      host: seed.hosts.map((name, number) => ({
        ...href('hosts', uuidOf(2, number)),
        name,
        status: 'up',
        memory: String(seed.hostMemoryMib * MIB),
        cluster: { id: 'c1' },
      })),
    }),
    'clusters.json': json({ cluster: [{ ...href('clusters', 'c1'), name: 'Default' }] }),
    'disks.json': json({
      disk: [
        ...seed.vms.map((vm) => disk(uuidOf(3, vm.number), `${vm.name}-root`, false)),
        ...(seed.clusters === 'identity' ? [...membersOf(seed).keys()] : []).map((number) =>
          disk(uuidOf(4, number), `shared${number}`, true),
        ),
      ],
    }),
    'storagedomains.json': json({
      storage_domain: [{ ...href('storagedomains', 'sd1'), name: 'nfs1', storage: { type: 'nfs' } }],
    }),
    'affinitygroups.json': json({
      affinity_group: [
        { ...href('affinitygroups', 'none'), name: 'none', vms_rule: { enabled: 'false' } },
        ...groups(seed).map(([number, vms]) => ({
          ...href('affinitygroups', String(number)),
          name: `apart-${number}`,
          vms_rule: { enabled: 'true', positive: 'false', enforcing: 'true' },
          vms: { vm: vms.map((vm) => ({ id: uuidOf(1, vm.number) })) },
        })),
      ],
    }),
  };
}
