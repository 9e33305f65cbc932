/** Writes a seeded estate as Nutanix exports it. */
import type { Files } from '../run-audit.ts';
import { membersOf, type Seed, uuidOf } from './seed.ts';
import { isShared, json, MIB } from './write.ts';

/** The files. */
export function nutanixFiles(seed: Seed): Files {
  return {
    'vms.json': json({
      data: seed.vms.map((vm) => ({
        $objectType: 'vmm.v4.ahv.config.Vm',
        extId: uuidOf(1, vm.number),
        name: vm.name,
        powerState: 'ON',
        cluster: { extId: uuidOf(9, 1) },
        host: { extId: uuidOf(2, vm.host) },
        numSockets: vm.cpus,
        numCoresPerSocket: 1,
        memorySizeBytes: vm.memoryMib * MIB,
        isAgentVm: false,
        isLiveMigrateCapable: vm.tie === null,
        disks: [
          { extId: 'a', backingInfo: { diskSizeBytes: vm.diskGib * 2 ** 30 } },
          ...(isShared(seed, vm)
            ? [{ extId: 'b', backingInfo: { volumeGroupExtId: uuidOf(5, vm.cluster ?? 0) } }]
            : []),
        ],
        nics: [{ networkInfo: { nicType: 'NORMAL_NIC', subnet: { extId: uuidOf(6, 1) } } }],
        ...(vm.tie === 'device' ? { gpus: [{ mode: 'PASSTHROUGH_GRAPHICS' }] } : {}),
      })),
    }),
    'hosts.json': json({
      data: seed.hosts.map((hostName, number) => ({
        $objectType: 'clustermgmt.v4.config.Host',
        extId: uuidOf(2, number),
        hostName,
        maintenanceState: 'normal',
        memorySizeBytes: seed.hostMemoryMib * MIB,
        cpuModel: 'Xeon',
        cluster: { uuid: uuidOf(9, 1), name: 'prod' },
      })),
    }),
    'volume-groups.json': json({
      data:
        seed.clusters === 'identity'
          ? [...membersOf(seed).keys()].map((number) => ({
              $objectType: 'volumes.v4.config.VolumeGroup',
              extId: uuidOf(5, number),
              name: `vg${number}`,
              sharingStatus: 'SHARED',
            }))
          : [],
    }),
  };
}
