/** The records of a large cluster in which every VM runs, as a leader finds them when it begins to lead. */

import type { Generation } from '../../../src/base/ids.ts';
import { parseDiskId, parseHostName, parseNetworkName, parseStorageName, parseVmId } from '../../../src/base/ids.ts';
import type { DiskRecord, HostRecord, NetworkRecord, StorageRecord } from '../../../src/core/model/cluster.ts';
import { keyOf } from '../../../src/core/model/keys.ts';
import type { VmRecord } from '../../../src/core/model/vm.ts';

/** Hosts are numbered from 0; VM n is on host n modulo the number of hosts, in the slot that is free then. */
export interface Shape {
  readonly hosts: number;
  readonly vmsPerHost: number;
  readonly storageNodes: number;
  /** VMs of one network: neighbours by number, and so each on another host. */
  readonly vmsPerNetwork: number;
}

const GIB = 2 ** 30;
const VM_BYTES = 2 * GIB;
/** Room for half as many VMs again as each host has. */
const SPARE = 1.5;
/** Members of an anti-affinity group. */
const GROUP = 5;
const EPOCH_MS = 1_700_000_000_000;

/** Name of host `n`, from 0. */
export const hostName = (n: number) => parseHostName(`h${n}`);
/** Name of storage node `n`, from 0. */
export const storageName = (n: number) => parseStorageName(`s${n}`);
const hex = (n: number): string => n.toString(16).padStart(12, '0');
/** Id of VM `n`, from 0. */
const vmIdOf = (n: number) => parseVmId(`vm-${hex(n)}`);
const address = (network: number, n: number): string => `10.${network}.${n >> 8}.${n & 255}`;

/** Host `n`, with no more than it needs. */
function hostRecord(n: number, { vmsPerHost }: Shape): HostRecord {
  return {
    name: hostName(n),
    addresses: { control: address(0, n), storage: address(1, n), overlay: address(2, n) },
    capacity: hostCapacity(vmsPerHost),
    cordoned: false,
    quarantine: null,
    joinedAt: EPOCH_MS,
  };
}

/** The capacity that a host's agent reports. */
export function hostCapacity(vmsPerHost: number): HostRecord['capacity'] {
  return { memoryBytes: vmsPerHost * SPARE * VM_BYTES, vcpus: 64, accelerator: 'kvm', cpuModels: ['EPYC', 'Skylake'] };
}

/** The disk of VM `n`: each VM has one. */
export function diskRecord(n: number, { storageNodes }: Shape): DiskRecord {
  return {
    id: parseDiskId(`disk-${hex(n)}`),
    vm: vmIdOf(n),
    node: storageName(n % storageNodes),
    port: 30_000 + Math.floor(n / storageNodes),
    sizeBytes: 20 * GIB,
    source: { kind: 'blank' },
    phase: 'ready',
  };
}

function macOf(n: number): string {
  return `52:54:00:${hex(n)
    .slice(6)
    .replace(/(..)(..)(..)/, '$1:$2:$3')}`;
}

/** VM `n`, running as generation 1 on the host that its number determines. */
export function vmRecord(n: number, shape: Shape): VmRecord {
  const slot = Math.floor(n / shape.hosts);
  const network = Math.floor(n / shape.vmsPerNetwork);
  return {
    id: vmIdOf(n),
    name: `vm${n}`,
    spec: {
      vcpus: 2,
      memoryBytes: VM_BYTES,
      cpuModel: 'baseline',
      boot: { firmware: 'bios' },
      disks: [{ disk: parseDiskId(`disk-${hex(n)}`), role: 'data', bus: 'virtio' }],
      nics: [
        { network: parseNetworkName(`net${network}`), mac: macOf(n), address: `172.16.0.${n % shape.vmsPerNetwork}` },
      ],
      restartPolicy: 'on-failure',
      labels: { tier: `t${n % 7}`, owner: `team${n % 50}` },
      image: null,
      storagePatienceMs: 30_000,
      antiAffinity: n % 10 < GROUP ? `group${Math.floor(n / 10)}` : null,
    },
    intent: 'running',
    generation: 1 as Generation,
    phase: { kind: 'running', incarnation: { generation: 1 as Generation, host: hostName(n % shape.hosts), slot } },
    migrationRequest: null,
    stopRequest: null,
    resetRequest: null,
    startTask: null,
    deleting: false,
    failures: null,
    createdAt: EPOCH_MS,
    phaseSince: EPOCH_MS,
  };
}

function networkRecord(n: number, { vmsPerNetwork }: Shape): NetworkRecord {
  const members = Array.from({ length: vmsPerNetwork }, (_, i) => n * vmsPerNetwork + i);
  const reservation = (vm: number, i: number) => [
    macOf(vm),
    { address: `172.16.0.${i}`, vm: vmIdOf(vm), hostname: `vm${vm}` },
  ];
  return {
    name: parseNetworkName(`net${n}`),
    vni: 10_000 + n,
    cidr: '172.16.0.0/24',
    gateway: '172.16.0.1',
    dhcp: true,
    nat: false,
    reservations: Object.fromEntries(members.map(reservation)),
    createdAt: EPOCH_MS,
  };
}

/** Every key of the cluster with its value, as etcd holds it. */
export function* recordsOf(shape: Shape): Generator<readonly [key: string, value: string]> {
  const vms = shape.hosts * shape.vmsPerHost;
  for (let n = 0; n < shape.hosts; n++) {
    const host = hostRecord(n, shape);
    yield [keyOf.host(host.name), JSON.stringify(host)];
  }
  for (let n = 0; n < shape.storageNodes; n++) {
    const addresses = { control: address(3, n), storage: address(4, n) };
    const node: StorageRecord = { name: storageName(n), addresses, joinedAt: EPOCH_MS };
    yield [keyOf.storage(node.name), JSON.stringify(node)];
  }
  for (let n = 0; n * shape.vmsPerNetwork < vms; n++) {
    const network = networkRecord(n, shape);
    yield [keyOf.network(network.name), JSON.stringify(network)];
    yield [keyOf.networkVni(network.vni), JSON.stringify(network.name)];
  }
  for (let n = 0; n < vms; n++) {
    const [vm, disk] = [vmRecord(n, shape), diskRecord(n, shape)];
    yield [keyOf.vm(vm.id), JSON.stringify(vm)];
    yield [keyOf.vmName(vm.name), JSON.stringify(vm.id)];
    yield [keyOf.disk(disk.id), JSON.stringify(disk)];
    yield [keyOf.diskPort(disk.node, disk.port), JSON.stringify(disk.id)];
  }
}
