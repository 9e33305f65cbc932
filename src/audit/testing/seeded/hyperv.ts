/** Writes a seeded estate as Hyper-V exports it. */
import type { Files } from '../run-audit.ts';
import { type Seed, type SeedVm, uuidOf } from './seed.ts';
import { groups, hasSigns, isShared, json, MIB } from './write.ts';

/** The files. */
export function hypervFiles(seed: Seed): Files {
  return {
    'Get-VM.json': getVMFile(seed),
    'Get-VMHost.json': getVMHostFile(seed),
    'Get-ClusterNode.json': json(
      seed.hosts.map((Name) => ({ Name, State: 0, NodeWeight: 1, DynamicWeight: 1, Cluster: 'prod' })),
    ),
    'Get-ClusterSharedVolume.json': json([
      { Name: 'Volume1', SharedVolumeInfo: [{ FriendlyVolumeName: 'C:\\ClusterStorage\\Volume1' }] },
    ]),
    'Get-VMSwitch.json': json(switches(seed)),
    'Get-VMHardDiskDrive.json': json(disks(seed)),
    'Get-VMDvdDrive.json': getVMDvdDriveFile(seed),
    'Get-VMNetworkAdapter.json': json(adapters(seed)),
    'Get-VMAssignableDevice.json': json(
      seed.vms.filter((vm) => vm.tie === 'device').map((vm) => ({ ...owner(seed, vm), LocationPath: 'PCIROOT(0)' })),
    ),
    'Get-VMGpuPartitionAdapter.json': '',
    'Win32_Processor.json': winProcessorFile(seed),
  };
}

function getVMFile(seed: Seed): string {
  return json(
    seed.vms.map((vm) => ({
      ...owner(seed, vm),
      Name: vm.name,
      State: 2,
      Generation: 2,
      ProcessorCount: vm.cpus,
      MemoryAssigned: vm.memoryMib * MIB,
      ConfigurationLocation: `C:\\ClusterStorage\\Volume1\\${vm.name}`,
      IsClustered: true,
    })),
  );
}

function getVMHostFile(seed: Seed): string {
  return json(
    seed.hosts.map((ComputerName) => ({
      ComputerName,
      MemoryCapacity: seed.hostMemoryMib * MIB,
      LogicalProcessorCount: 64,
      VirtualHardDiskPath: 'C:\\',
    })),
  );
}

function getVMDvdDriveFile(seed: Seed): string {
  return json(
    seed.vms.map((vm) => ({
      ...owner(seed, vm),
      DvdMediaType: vm.tie === 'media' ? 1 : 0,
      Path: vm.tie === 'media' ? 'C:\\iso\\a.iso' : null,
    })),
  );
}

function winProcessorFile(seed: Seed): string {
  return json(
    seed.hosts.map((SystemName) => ({
      SystemName,
      Name: 'Xeon Gold',
      Manufacturer: 'GenuineIntel',
      NumberOfLogicalProcessors: 64,
    })),
  );
}

function owner(seed: Seed, vm: SeedVm) {
  return { VMName: vm.name, VMId: uuidOf(1, vm.number), ComputerName: seed.hosts[vm.host] };
}

function disks(seed: Seed) {
  return seed.vms.flatMap((vm) => [
    {
      ...owner(seed, vm),
      Path: `C:\\ClusterStorage\\Volume1\\${vm.name}.vhdx`,
      ControllerType: 'SCSI',
      DiskNumber: null,
      SupportPersistentReservations: false,
    },
    ...(isShared(seed, vm)
      ? [
          {
            ...owner(seed, vm),
            Path: `C:\\ClusterStorage\\Volume1\\shared${vm.cluster}.vhdx`,
            ControllerType: 'SCSI',
            DiskNumber: null,
            SupportPersistentReservations: true,
          },
        ]
      : []),
  ]);
}

function adapters(seed: Seed) {
  return seed.vms.flatMap((vm) => [
    { ...owner(seed, vm), SwitchName: 'LAN', MacAddress: '00155D000001', IPAddresses: [] },
    ...(hasSigns(seed, vm)
      ? [
          {
            ...owner(seed, vm),
            SwitchName: `beat-${vm.cluster}`,
            MacAddress: '00155D000002',
            IPAddresses: ['169.254.3.4'],
          },
        ]
      : []),
  ]);
}

/** The members of a cluster on a private switch are on one host. */
function switches(seed: Seed) {
  const lan = seed.hosts.flatMap((ComputerName) => [{ Name: 'LAN', SwitchType: 2, ComputerName }]);
  const beats = groups(seed).map(([number, [first]]) => ({
    Name: `beat-${number}`,
    SwitchType: 0,
    ComputerName: seed.hosts[first?.host ?? 0],
  }));
  return [...lan, ...beats];
}
