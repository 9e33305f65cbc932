/** Writes a seeded estate as vSphere exports it. */
import type { Files } from '../run-audit.ts';
import { type Seed, type SeedVm, uuidOf } from './seed.ts';
import { groups, hasSigns, isShared, json, MIB } from './write.ts';

/** The files. */
export function vsphereFiles(seed: Seed): Files {
  return {
    'vms.json': vmsFile(seed),
    'hosts.json': hostsFile(seed),
    'datastores.json': datastoresFile(seed),
    'cluster.json': clusterFile(seed),
    'portgroups.json': portgroupsFile(seed),
  };
}

function vmsFile(seed: Seed): string {
  return json({
    virtualMachines: seed.vms.map((vm) => ({
      self: ref('VirtualMachine', `vm-${vm.number}`),
      name: vm.name,
      config: {
        template: false,
        version: 'vmx-19',
        instanceUuid: uuidOf(1, vm.number),
        hardware: { memoryMB: vm.memoryMib, numCPU: vm.cpus, device: devicesOf(seed, vm) },
      },
      runtime: { powerState: 'poweredOn', host: host(vm.host) },
    })),
  });
}

function hostsFile(seed: Seed): string {
  return json({
    hostSystems: seed.hosts.map((name, number) => ({
      self: host(number),
      name,
      parent: ref('ClusterComputeResource', 'domain-c1'),
      summary: {
        hardware: { memorySize: seed.hostMemoryMib * MIB, cpuModel: 'Xeon' },
        currentEVCModeKey: 'intel-icelake',
      },
      runtime: { inMaintenanceMode: false, connectionState: 'connected' },
      config: {
        network: {
          vswitch: [{ name: 'vSwitch0', pnic: ['vmnic0'] }],
          portgroup: [{ spec: { name: 'LAN', vswitchName: 'vSwitch0' } }],
        },
      },
    })),
  });
}

function datastoresFile(seed: Seed): string {
  return json({
    datastores: [
      {
        self: ref('Datastore', 'datastore-1'),
        name: 'san1',
        summary: { multipleHostAccess: true },
        host: seed.hosts.map((_name, number) => ({ key: host(number) })),
      },
      ...seed.hosts.map((name, number) => ({
        self: ref('Datastore', `datastore-local-${number}`),
        name: `${name}-local`,
        summary: { multipleHostAccess: false },
        host: [{ key: host(number) }],
      })),
    ],
  });
}

function clusterFile(seed: Seed): string {
  return json([
    {
      obj: ref('ClusterComputeResource', 'domain-c1'),
      propSet: [
        { name: 'name', val: 'Prod' },
        {
          name: 'configurationEx',
          val: {
            rule: groups(seed).map(([number, vms]) => ({
              _typeName: 'ClusterAntiAffinityRuleSpec',
              name: `apart-${number}`,
              enabled: true,
              vm: vms.map((vm) => ref('VirtualMachine', `vm-${vm.number}`)),
            })),
          },
        },
      ],
    },
  ]);
}

function portgroupsFile(seed: Seed): string {
  return json(
    groups(seed).map(([number]) => ({
      self: ref('DistributedVirtualPortgroup', `dvportgroup-${number}`),
      name: `beat-${number}`,
      host: seed.hosts.map((_name, at) => host(at)),
      config: {
        defaultPortConfig: {
          uplinkTeamingPolicy: { uplinkPortOrder: { activeUplinkPort: [], standbyUplinkPort: [] } },
        },
      },
    })),
  );
}

function ref(type: string, value: string) {
  return { type, value };
}

function host(number: number) {
  return ref('HostSystem', `host-${number}`);
}

function devicesOf(seed: Seed, vm: SeedVm) {
  return [
    {
      _typeName: 'ParaVirtualSCSIController',
      key: 1000,
      sharedBus: 'noSharing',
      deviceInfo: { label: 'SCSI controller 0' },
    },
    {
      _typeName: 'VirtualDisk',
      key: 2000,
      controllerKey: 1000,
      capacityInKB: vm.diskGib * MIB,
      deviceInfo: { label: 'Hard disk 1' },
      backing: { fileName: `[san1] ${vm.name}/${vm.name}.vmdk`, datastore: ref('Datastore', 'datastore-1') },
    },
    ...(isShared(seed, vm)
      ? [
          {
            _typeName: 'VirtualDisk',
            key: 2001,
            controllerKey: 1000,
            capacityInKB: MIB,
            deviceInfo: { label: 'Hard disk 2' },
            backing: {
              fileName: `[san1] shared/${vm.cluster}.vmdk`,
              sharing: 'sharingMultiWriter',
              datastore: ref('Datastore', 'datastore-1'),
            },
          },
        ]
      : []),
    {
      _typeName: 'VirtualVmxnet3',
      key: 4000,
      macAddress: '00:50:56:00:00:01',
      deviceInfo: { label: 'Network adapter 1' },
      backing: { deviceName: 'LAN' },
      connectable: { connected: true },
    },
    ...(hasSigns(seed, vm)
      ? [
          {
            _typeName: 'VirtualVmxnet3',
            key: 4001,
            macAddress: '00:50:56:00:00:02',
            deviceInfo: { label: 'Network adapter 2' },
            backing: { port: { portgroupKey: `dvportgroup-${vm.cluster}` } },
            connectable: { connected: true },
          },
        ]
      : []),
    ...(vm.tie === 'device'
      ? [{ _typeName: 'VirtualPCIPassthrough', key: 13000, deviceInfo: { label: 'PCI device 0' } }]
      : []),
    ...(vm.tie === 'media'
      ? [
          {
            _typeName: 'VirtualCdrom',
            key: 3000,
            deviceInfo: { label: 'CD/DVD drive 1' },
            connectable: { connected: true },
            backing: { fileName: '[local] a.iso', datastore: ref('Datastore', `datastore-local-${vm.host}`) },
          },
        ]
      : []),
  ];
}
