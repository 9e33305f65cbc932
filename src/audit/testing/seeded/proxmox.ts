/** Writes a seeded estate as Proxmox VE exports it. */
import type { Files } from '../run-audit.ts';
import type { Seed } from './seed.ts';
import { groups, hasSigns, isShared, json, MIB } from './write.ts';

/** The files. */
export function proxmoxFiles(seed: Seed): Files {
  const files: Record<string, string> = {
    'pve/storage.cfg': 'dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\nrbd: ceph\n\tpool vm\n\tcontent images\n',
    'pve/ha/rules.cfg': groups(seed)
      .map(
        ([number, vms]) =>
          `resource-affinity: apart-${number}\n\tresources ${vms.map((vm) => `vm:${vm.number + 100}`).join(',')}\n\taffinity negative\n`,
      )
      .join('\n'),
    'resources.json': json([
      ...seed.hosts.map((node) => ({
        id: `node/${node}`,
        type: 'node',
        node,
        status: 'online',
        maxmem: seed.hostMemoryMib * MIB,
      })),
      ...seed.vms.map((vm) => ({
        id: `qemu/${vm.number + 100}`,
        type: 'qemu',
        vmid: vm.number + 100,
        name: vm.name,
        node: seed.hosts[vm.host],
        status: 'running',
        ...(hasSigns(seed, vm) ? { hastate: 'started' } : {}),
      })),
    ]),
  };
  for (const node of seed.hosts)
    files[`networks/${node}.json`] = json([
      { iface: 'vmbr0', type: 'bridge', bridge_ports: 'eno1' },
      ...groups(seed).map(([number]) => ({ iface: `vmbr${number + 10}`, type: 'bridge', bridge_ports: '' })),
    ]);
  for (const vm of seed.vms) {
    const id = vm.number + 100;
    files[`pve/nodes/${seed.hosts[vm.host]}/qemu-server/${id}.conf`] = [
      `cores: ${vm.cpus}`,
      `memory: ${vm.memoryMib}`,
      `name: ${vm.name}`,
      `net0: virtio=BC:24:11:00:00:01,bridge=vmbr0`,
      ...(hasSigns(seed, vm) ? [`net1: virtio=BC:24:11:00:00:02,bridge=vmbr${(vm.cluster ?? 0) + 10}`] : []),
      `scsi0: ceph:vm-${id}-disk-0,size=${vm.diskGib}G`,
      ...(isShared(seed, vm) ? [`scsi1: ceph:shared-${vm.cluster},size=10G,shared=1`] : []),
      ...(vm.tie === 'device' ? ['hostpci0: 0000:01:00.0'] : []),
      ...(vm.tie === 'media' ? ['ide2: local:iso/a.iso,media=cdrom'] : ['ide2: none,media=cdrom']),
      'ostype: l26',
      '',
    ].join('\n');
  }
  return files;
}
