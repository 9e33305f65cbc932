/** Writes a seeded estate as KubeVirt exports it. */
import type { Files } from '../run-audit.ts';
import { type Seed, type SeedVm, uuidOf } from './seed.ts';
import { hasSigns, isShared, json } from './write.ts';

/** The files. */
export function kubevirtFiles(seed: Seed): Files {
  return {
    'vmis.json': vmisFile(seed),
    'pvcs.json': pvcsFile(seed),
    'nodes.json': nodesFile(seed),
  };
}

function vmisFile(seed: Seed): string {
  return list(
    seed.vms.map((vm) => ({
      apiVersion: 'kubevirt.io/v1',
      kind: 'VirtualMachineInstance',
      metadata: { name: vm.name, namespace: 'prod', uid: uuidOf(1, vm.number), labels: { set: label(vm) } },
      spec: {
        ...(hasSigns(seed, vm)
          ? {
              affinity: {
                podAntiAffinity: {
                  requiredDuringSchedulingIgnoredDuringExecution: [
                    { labelSelector: { matchLabels: { set: label(vm) } }, topologyKey: 'kubernetes.io/hostname' },
                  ],
                },
              },
            }
          : {}),
        domain: {
          memory: { guest: `${vm.memoryMib}Mi` },
          cpu: { cores: vm.cpus },
          devices: {
            disks: [
              { name: 'root', disk: {} },
              ...(isShared(seed, vm) ? [{ name: 'shared', disk: {}, shareable: true }] : []),
            ],
            ...(vm.tie === 'device' ? { hostDevices: [{ name: 'd', deviceName: 'vendor/device' }] } : {}),
          },
        },
        volumes: [
          { name: 'root', persistentVolumeClaim: { claimName: `${vm.name}-root` } },
          ...(isShared(seed, vm)
            ? [{ name: 'shared', persistentVolumeClaim: { claimName: `shared-${vm.cluster}` } }]
            : []),
          ...(vm.tie === 'media' ? [{ name: 'host', hostDisk: { path: '/var/a.img' } }] : []),
        ],
        networks: [{ name: 'default', pod: {} }],
      },
      status: {
        phase: 'Running',
        nodeName: seed.hosts[vm.host],
        conditions: [
          vm.tie === null
            ? { type: 'LiveMigratable', status: 'True' }
            : { type: 'LiveMigratable', status: 'False', reason: 'HostDeviceNotLiveMigratable' },
        ],
      },
    })),
  );
}

function pvcsFile(seed: Seed): string {
  return list(
    [
      ...new Set(
        seed.vms.flatMap((vm) => [`${vm.name}-root`, ...(isShared(seed, vm) ? [`shared-${vm.cluster}`] : [])]),
      ),
    ].map((name) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace: 'prod' },
      spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '20Gi' } } },
    })),
  );
}

function nodesFile(seed: Seed): string {
  return list(
    seed.hosts.map((name) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'kubevirt.io/schedulable': 'true', 'kubernetes.io/hostname': name } },
      spec: {},
      status: { allocatable: { memory: `${seed.hostMemoryMib}Mi` }, conditions: [{ type: 'Ready', status: 'True' }] },
    })),
  );
}

function list(items: readonly unknown[]): string {
  return json({ apiVersion: 'v1', kind: 'List', items });
}

function label(vm: SeedVm): string {
  return vm.cluster === null ? 'none' : `c${vm.cluster}`;
}
