/** Writes a seeded estate as OpenStack exports it. */
import type { Files } from '../run-audit.ts';
import { membersOf, type Seed, type SeedVm, uuidOf } from './seed.ts';
import { groups, isShared, json } from './write.ts';

/** The files. */
export function openstackFiles(seed: Seed): Files {
  const volumes =
    seed.clusters === 'identity'
      ? [...membersOf(seed)].map(([number, vms]) => ({
          id: uuidOf(5, number),
          name: `shared${number}`,
          size: 10,
          multiattach: true,
          attachments: vms.map((vm) => ({ server_id: uuidOf(1, vm.number) })),
        }))
      : [];
  const specs = (vm: SeedVm) =>
    vm.tie === 'device' ? { 'pci_passthrough:alias': 'a:1' } : vm.tie === 'media' ? { 'resources:VGPU': '1' } : {};
  return {
    'servers.json': json({
      servers: seed.vms.map((vm) => ({
        id: uuidOf(1, vm.number),
        name: vm.name,
        status: 'ACTIVE',
        'OS-EXT-STS:power_state': 1,
        'OS-EXT-SRV-ATTR:host': seed.hosts[vm.host],
        flavor: { ram: vm.memoryMib, vcpus: vm.cpus, extra_specs: specs(vm) },
        'os-extended-volumes:volumes_attached': isShared(seed, vm) ? [{ id: uuidOf(5, vm.cluster ?? 0) }] : [],
        addresses: {},
      })),
    }),
    'hypervisors.json': json({
      hypervisors: seed.hosts.map((name) => ({
        hypervisor_hostname: `${name}.cloud`,
        state: 'up',
        status: 'enabled',
        memory_mb: seed.hostMemoryMib,
        cpu_info: { model: 'Icelake-Server' },
        service: { host: name },
      })),
    }),
    'aggregates.json': json({ aggregates: [{ name: 'az1', availability_zone: 'az1', hosts: seed.hosts }] }),
    'server-groups.json': json({
      server_groups: groups(seed).map(([number, vms]) => ({
        id: String(number),
        name: `apart-${number}`,
        policy: 'anti-affinity',
        rules: {},
        members: vms.map((vm) => uuidOf(1, vm.number)),
      })),
    }),
    'volumes.json': json({ volumes }),
    'ports.json': json({
      ports: seed.vms.map((vm) => ({ device_id: uuidOf(1, vm.number), 'binding:vnic_type': 'normal' })),
    }),
  };
}
