/** Plausible objects for the fake backend. */
import { randomBytes } from 'node:crypto';
import type { AddNic, CreateVm } from '../../../api/requests.ts';
import type { Disk, Host, StorageNode, Vm, VmDetail } from '../../../api/views.ts';

const GIB = 1024 ** 3;
const hex = (): string => randomBytes(6).toString('hex');

/** A stopped VM as `request` asks for it. */
export function fakeVm(request: CreateVm, revision: string): Vm {
  const at = new Date().toISOString();
  return {
    id: `vm-${hex()}`,
    name: request.name,
    revision,
    verdict: 'stopped',
    host: null,
    generation: 0,
    intent: 'stopped',
    phase: 'stopped',
    phaseSince: at,
    destination: null,
    because: ['nobody asked for it to run'],
    spec: {
      vcpus: request.vcpus ?? 1,
      memoryBytes: request.memoryBytes ?? GIB / 2,
      cpuModel: request.cpuModel ?? 'baseline',
      firmware: request.firmware ?? 'bios',
      append: request.append ?? null,
      image: request.image ?? null,
      restartPolicy: request.restartPolicy ?? 'on-failure',
      antiAffinity: request.antiAffinity ?? null,
      storagePatienceMs: request.storagePatienceMs ?? 60_000,
    },
    nics: (request.networks ?? []).map((nic, index) => ({
      network: typeof nic === 'string' ? nic : nic.network,
      mac: (typeof nic === 'string' ? undefined : nic.mac) ?? `52:54:00:00:00:0${index}`,
      address: (typeof nic === 'string' ? undefined : nic.address) ?? `10.20.0.1${index}`,
      state: 'attached',
    })),
    disks: (request.disks ?? []).map((disk) => ({
      id: `disk-${hex()}`,
      role: 'data',
      bus: 'virtio',
      sizeBytes: disk.sizeBytes ?? GIB,
      node: 's1',
    })),
    sharedDisks: [],
    guestCluster: null,
    labels: request.labels ?? {},
    task: null,
    failure: null,
    createdAt: at,
  };
}

/** Adds a network card to a VM. */
export function fakeNic({ network, address, mac }: AddNic, { nics, phase }: Vm): Vm['nics'][number] {
  const number = nics.length;
  return {
    network,
    mac: mac ?? `52:54:00:00:00:0${number}`,
    address: address ?? `10.20.0.1${number}`,
    state: phase === 'stopped' ? 'attached' : 'attaching',
  };
}

/** The VM with observations that fit its verdict. */
export function detailOf(vm: Vm): VmDetail {
  const runs = vm.host !== null;
  return {
    ...vm,
    undeclared: [],
    observations: {
      agent: {
        host: vm.host,
        state: runs ? 'alive' : 'unknown',
        process: runs ? 'present' : 'unknown',
        ageMs: runs ? 210 : null,
      },
      qmp: { state: runs ? 'answers' : 'unknown', status: runs ? 'running' : null, ageMs: runs ? 120 : null },
      storage: vm.disks.map(({ id, node }) => ({
        node: node ?? 's1',
        disk: id,
        admitted: runs ? [vm.generation] : [],
        connected: runs ? [vm.generation] : [],
        ageMs: 450,
      })),
    },
  };
}

/** An empty, healthy host; the last digit of its name is that of its addresses. */
export function fakeHost(name: string, revision: string): Host {
  const digit = name.slice(-1);
  return {
    name,
    revision,
    agent: 'alive',
    agentAgeMs: 300,
    drainable: true,
    drainBlockers: [],
    cordoned: false,
    quarantined: false,
    quarantineReason: null,
    vms: [],
    memoryUsedBytes: 0,
    memoryTotalBytes: 4 * GIB,
    vcpus: 2,
    accelerator: 'tcg',
    cpuModels: ['qemu64'],
    addresses: { control: `10.0.0.2${digit}`, storage: `10.1.0.2${digit}`, overlay: `10.2.0.2${digit}` },
    joinedAt: new Date().toISOString(),
  };
}

/** The only storage node. */
export function fakeStorageNode(): StorageNode {
  const addresses = { control: '10.0.0.11', storage: '10.1.0.11' };
  const sizes = { room: 'enough' as const, faults: [], disks: 0, usedBytes: 0, totalBytes: 1024 ** 4 };
  return {
    name: 's1',
    revision: '1',
    state: 'alive',
    served: null,
    because: [],
    ageMs: 10,
    addresses,
    ...sizes,
    joinedAt: new Date().toISOString(),
  };
}

/** The disks of a VM. */
export function fakeDisks({ name, revision, disks }: Vm): Disk[] {
  return disks.map(({ id, role, node, sizeBytes }) => {
    const placed = { node: node ?? 's1', source: 'blank', phase: 'ready' } as const;
    return { id, revision, vm: name, role, sizeBytes, ...placed };
  });
}
