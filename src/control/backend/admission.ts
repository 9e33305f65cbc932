/**
 * Admission of a new VM: a request becomes records, or a refusal that says what is wrong. Nothing is written here.
 *
 * Guarantees: what is admitted names only objects that exist; its disks are on one storage node that holds its image and has room; its
 * addresses and ports are free at the revisions the writes compare; nothing in it ties the VM to a host.
 */
import { createHash } from 'node:crypto';
import type { CreateVm } from '../../api/requests.ts';
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import {
  type DiskId,
  parseDiskId,
  parseImageName,
  parseNetworkName,
  parseSha256,
  parseVmId,
  type Sha256,
  type StorageName,
  type VmId,
} from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import {
  type DiskRecord,
  type DiskSource,
  GATEWAY_MAC,
  type ImageRecord,
  type NetworkRecord,
  type TaskRecord,
} from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE } from '../../core/model/ports.ts';
import type { VmBoot, VmDisk, VmNic, VmRecord, VmSpec } from '../../core/model/vm.ts';
import { place } from '../../core/plan/placement/placement.ts';
import {
  demandAppend,
  demandCardCount,
  demandDiskCount,
  demandMemoryFor,
  largestDiskBytes,
  type PoolFiles,
} from '../../core/plan/vm-admission.ts';
import { makeSeedIso } from '../../wire/iso9660/seed-iso.ts';
import type { Unchanged, Write } from '../store/cluster-store.ts';
import { allocateAddress } from './addresses.ts';
import { newTask, taskWrite } from './changes.ts';
import { seedFiles } from './cloud-init.ts';
import type { BackendContext } from './context.ts';
import { indexOfStore } from './records-index.ts';

const MIB = 1024 * 1024;
const DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1, storagePatienceMs: 30_000 } as const;
/** Kept free in a pool: a thin disk that is created there must at least be able to begin. */
const POOL_RESERVE_BYTES = 64 * MIB;
/** OVMF_VARS_4M.fd of Debian 12. */
const NVRAM_BYTES = 540_672;

export interface Admitted {
  readonly vm: VmRecord;
  readonly task: TaskRecord | null;
  /** The storage node of the VM's disks. */
  readonly node: StorageName;
  readonly writes: readonly Write[];
  /** The images it was made from: they must still be there. */
  readonly unchanged: readonly Unchanged[];
}

interface PlannedDisk {
  readonly role: VmDisk['role'];
  readonly sizeBytes: number;
  readonly source: DiskSource;
}

/** The parts of a new VM that stay the same in every attempt to admit it. */
export interface Newcomer {
  readonly id: VmId;
  readonly seed: Seed | null;
  /** The storage node that has the seed; null until one is chosen. */
  readonly node: StorageName | null;
}

/** The NoCloud seed of a VM, as a file that is stored by its hash. */
export interface Seed {
  readonly sha256: Sha256;
  readonly content: Uint8Array;
}

/** Chooses a VM ID and builds the seed for it. */
export function newcomer(context: BackendContext, request: CreateVm): Newcomer {
  const id = parseVmId(`vm-${context.randomHex(6)}`);
  return { id, seed: seedOf(request, id), node: null };
}

/** Admits `request` against the present state. */
export function admitVm(context: BackendContext, request: CreateVm, given = newcomer(context, request)): Admitted {
  demandFreeName(context, request.name);
  const { id, seed } = given;
  const image = request.image === undefined ? null : findImage(context, request.image);
  const settings = settingsOf(request, image);
  demandMemory(image, settings.memoryBytes, 'created');
  const boot = bootOf(request, image);
  demandBootable(boot, settings.memoryBytes, 'created');
  const planned = [...dataDisks(context, request, image), ...specialDisks(boot, seed)];
  demandDisks(request.name, planned);
  const node = chooseNode(context, roomFor(planned), given.node);
  if (given.node !== null && node !== given.node)
    throw new CodedError(
      'unavailable',
      `Storage node ${given.node}, which took the seed of ${request.name}, has no room now.`,
      {
        advice: 'Nothing was created. Try again.',
      },
    );
  const ports = portsFree(context, node, planned.length);
  const disks = planned.map((disk, index) =>
    diskRecord(context, { vm: id, disk, node: present(node, 'storage node'), port: present(ports[index], 'port') }),
  );
  const { nics, networkWrites } = nicsOf(context, request, id);
  const start = request.start ?? true;
  const task = start
    ? newTask(context, { kind: 'vm.start', target: { kind: 'vm', name: request.name }, message: 'Starting.' })
    : null;
  const now = context.clock.wallMs();
  const vm: VmRecord = {
    id,
    name: request.name,
    spec: {
      ...settings,
      boot,
      disks: disks.map((disk, index) => ({ disk: disk.id, role: planned[index]?.role ?? 'data', bus: 'virtio' })),
      nics,
      // Even none: its machine has a place for those that come while it runs.
      sharedDisks: [],
    },
    intent: start ? 'running' : 'stopped',
    generation: 0,
    phase: { kind: 'stopped' },
    migrationRequest: null,
    stopRequest: null,
    resetRequest: null,
    startTask: task?.id ?? null,
    deleting: false,
    failures: null,
    createdAt: now,
    phaseSince: now,
  };
  checkFits(context, vm, start);
  const writes: Write[] = [
    { key: keyOf.vm(id), value: vm, expect: 0 },
    { key: keyOf.vmName(vm.name), value: id, expect: 0 },
    ...disks.flatMap((disk) => [
      { key: keyOf.disk(disk.id), value: disk, expect: 0 },
      { key: keyOf.diskPort(disk.node, disk.port), value: disk.id, expect: 0 },
    ]),
    ...networkWrites,
    ...(task === null ? [] : [taskWrite(task)]),
  ];
  return { vm, task, node, writes, unchanged: imagesOf(context, request) };
}

function demandFreeName(context: BackendContext, name: string): void {
  if (context.store.vmNames.get(name) !== undefined) {
    throw new CodedError('exists', `A VM named ${name} exists.`, {
      advice: 'Nothing was created. Choose another name, or delete that VM first.',
    });
  }
  if (/^vm-[0-9a-f]{12}$/.test(name)) {
    throw new CodedError('bad-input', `${name} has the form of an id, which would make it ambiguous.`, {
      advice: 'Nothing was created. Choose another name.',
    });
  }
}

function demandDisks(name: string, planned: readonly PlannedDisk[]): void {
  if (planned.length === 0) {
    // Also required with direct boot: fencing cuts a VM's access to its disks, so a VM without disks could not be
    // fenced.
    throw new CodedError('bad-input', `${name} has no disk, so it could not be fenced when its host is lost.`, {
      advice: 'Nothing was created. Name an image with a disk, or a disk of any size.',
    });
  }
  const count = (role: VmDisk['role']): number => planned.filter((disk) => disk.role === role).length;
  demandDiskCount({ data: count('data'), seed: count('seed'), nvram: count('nvram') });
}

/** What a request says of a VM, or its image, or nobody. */
function settingsOf(request: CreateVm, image: ImageRecord | null): Omit<VmSpec, 'boot' | 'disks' | 'nics'> {
  return {
    vcpus: request.vcpus ?? image?.defaults.vcpus ?? DEFAULTS.vcpus,
    memoryBytes: request.memoryBytes ?? image?.defaults.memoryBytes ?? DEFAULTS.memoryBytes,
    cpuModel: request.cpuModel ?? 'baseline',
    restartPolicy: request.restartPolicy ?? 'on-failure',
    labels: request.labels ?? {},
    image: image?.name ?? null,
    storagePatienceMs: request.storagePatienceMs ?? DEFAULTS.storagePatienceMs,
    antiAffinity: request.antiAffinity ?? null,
  };
}

/** CodedError 'bad-input' where an image's guest would not boot with so little memory: it would be silent, not tell anybody why. */
export function demandMemory(image: ImageRecord | null, memoryBytes: number, done: 'created' | 'changed'): void {
  const leastBytes = image?.minMemoryBytes ?? 0;
  if (image === null || memoryBytes >= leastBytes) return;
  const [least, given] = [leastBytes, memoryBytes].map((bytes) => Math.ceil(bytes / MIB));
  throw new CodedError(
    'bad-input',
    `Image ${image.name} does not boot with less than ${least} MiB of memory, and this would be ${given} MiB.`,
    { advice: `Nothing was ${done}. Give it at least ${least} MiB (--memory ${least}M).` },
  );
}

function imagesOf({ store }: BackendContext, request: CreateVm): Unchanged[] {
  const names = [request.image, ...(request.disks ?? []).map((disk) => ('image' in disk ? disk.image : undefined))];
  return [...new Set(names)].flatMap((name): Unchanged[] =>
    name === undefined
      ? []
      : [{ key: keyOf.image(parseImageName(name)), expect: store.images.get(name)?.revision ?? 0 }],
  );
}

function findImage(context: BackendContext, name: string): ImageRecord {
  const image = context.store.images.get(parseImageName(name))?.value;
  if (image === undefined)
    throw new CodedError('not-found', `There is no image ${name}.`, {
      advice: 'Nothing was created. List them with "gp image list", or import one.',
    });
  return image;
}

function bootOf(request: CreateVm, image: ImageRecord | null): VmBoot {
  const firmware = request.firmware ?? (image?.direct ? 'direct' : 'bios');
  if (firmware !== 'direct') {
    if (request.append !== undefined)
      throw new CodedError('bad-input', 'A kernel command line needs firmware direct.', {
        advice: 'Nothing was created.',
      });
    return { firmware };
  }
  const direct = image?.direct ?? null;
  if (direct === null) {
    throw new CodedError(
      'bad-input',
      `Firmware direct needs an image with a kernel${image === null ? '' : `, and ${image.name} has none`}.`,
      {
        advice: 'Nothing was created. Import one with --kernel, or boot by bios or uefi.',
      },
    );
  }
  const append = [direct.append, request.append].filter((part) => part !== undefined && part !== '').join(' ');
  demandAppend(Buffer.byteLength(append), 'created');
  return {
    firmware,
    kernel: direct.kernel.sha256,
    kernelBytes: direct.kernel.sizeBytes,
    initrd: direct.initrd?.sha256 ?? null,
    initrdBytes: direct.initrd?.sizeBytes ?? 0,
    append,
  };
}

function cloneOf(image: ImageRecord, sizeBytes: number | undefined): PlannedDisk {
  const { disk } = image;
  if (disk === null)
    throw new CodedError('bad-input', `Image ${image.name} has no disk to clone.`, { advice: 'Nothing was created.' });
  if (sizeBytes !== undefined && sizeBytes < disk.virtualSizeBytes) {
    throw new CodedError(
      'bad-input',
      `A clone of ${image.name} needs at least ${disk.virtualSizeBytes} bytes, not ${sizeBytes}.`,
      { advice: 'Nothing was created.' },
    );
  }
  return {
    role: 'data',
    sizeBytes: sizeBytes ?? disk.virtualSizeBytes,
    source: { kind: 'image', artifact: disk.sha256, format: disk.format },
  };
}

/** The image's own disk first, then those asked for; an image without one brings its default blank disk when no other is asked for. */
function dataDisks(context: BackendContext, request: CreateVm, image: ImageRecord | null): PlannedDisk[] {
  const asked = (request.disks ?? []).map(
    (disk): PlannedDisk =>
      'image' in disk
        ? cloneOf(findImage(context, disk.image), disk.sizeBytes)
        : { role: 'data', sizeBytes: disk.sizeBytes, source: { kind: 'blank' } },
  );
  if (image?.disk) return [cloneOf(image, undefined), ...asked];
  const blank = image?.defaults.blankDiskBytes ?? null;
  if (asked.length === 0 && blank !== null) return [{ role: 'data', sizeBytes: blank, source: { kind: 'blank' } }];
  return asked;
}

/** Builds the NoCloud seed of a request; null if the request has no cloud-init. */
function seedOf({ name, cloudInit }: CreateVm, id: VmId): Seed | null {
  if (cloudInit === undefined) return null;
  const content = makeSeedIso({ volumeLabel: 'CIDATA', files: seedFiles(cloudInit, { id, name }) });
  return { content, sha256: parseSha256(createHash('sha256').update(content).digest('hex')) };
}

function specialDisks(boot: VmBoot, seed: Seed | null): PlannedDisk[] {
  const disks: PlannedDisk[] = [];
  if (seed !== null) {
    const source = { kind: 'content', artifact: seed.sha256 } as const;
    disks.push({ role: 'seed', sizeBytes: seed.content.length, source });
  }
  if (boot.firmware === 'uefi') disks.push({ role: 'nvram', sizeBytes: NVRAM_BYTES, source: { kind: 'nvram' } });
  return disks;
}

/** CodedError 'bad-input' if QEMU would refuse to start with so little memory. */
export function demandBootable(boot: VmBoot, memoryBytes: number, done: 'created' | 'changed'): void {
  if (boot.firmware === 'direct') demandMemoryFor(boot, memoryBytes, done);
}

/** What disks ask of a storage node. */
interface Room {
  readonly artifacts: readonly Sha256[];
  /** Free bytes with which they can begin. */
  readonly neededBytes: number;
  /** The largest disk of each format: the pool's file system must support files of that size. */
  readonly largest: readonly LargestDisk[];
}

interface LargestDisk {
  readonly sizeBytes: number;
  readonly format: 'qcow2' | 'raw';
}

function roomFor(disks: readonly PlannedDisk[]): Room {
  return {
    artifacts: disks.flatMap(({ source }) => (source.kind === 'image' ? [source.artifact] : [])),
    neededBytes: disks.reduce(
      (sum, { source }) => sum + (source.kind === 'content' || source.kind === 'nvram' ? 2 * MIB : MIB),
      POOL_RESERVE_BYTES,
    ),
    largest: [{ sizeBytes: Math.max(...disks.map(({ sizeBytes }) => sizeBytes)), format: 'qcow2' }],
  };
}

/** The room that blank shared disks of these sizes need on a storage node: they are sparse files. */
export function roomForShared(disks: readonly { readonly sizeBytes: number }[]): Room {
  return {
    artifacts: [],
    neededBytes: POOL_RESERVE_BYTES + disks.length * MIB,
    largest: disks.map(({ sizeBytes }) => ({ sizeBytes, format: 'raw' })),
  };
}

/** Returns why a pool's file system cannot hold one of the disks; null if it can hold all. */
function tooLargeFor(pool: PoolFiles, node: StorageName, largest: Room['largest']): string | null {
  for (const { sizeBytes, format } of largest) {
    const most = largestDiskBytes(pool, format);
    if (sizeBytes > most)
      return `the file system of ${node} has disks of at most ${most} bytes, and ${sizeBytes} are asked for`;
  }
  return null;
}

/** CodedError 'no-capacity' if the pool of a shared disk cannot hold a file of that size. */
export function demandPoolFile(context: BackendContext, node: StorageName, sizeBytes: number): void {
  const pool = context.leading()?.controller.storageObserver.report(node)?.pool ?? {};
  const why = tooLargeFor(pool, node, [{ sizeBytes, format: 'raw' }]);
  if (why === null) return;
  throw new CodedError('no-capacity', `The disk cannot become so large: ${why}.`, {
    advice: 'Nothing was changed. Choose a smaller size.',
  });
}

/**
 * The storage node that answers, holds every image that is cloned, and has the most room; `preferred` where that one will do. CodedError
 * 'no-capacity'.
 */
export function chooseNode(
  context: BackendContext,
  { artifacts, neededBytes, largest }: Room,
  preferred: StorageName | null = null,
): StorageName {
  const observer = context.leading()?.controller.storageObserver;
  const reasons: string[] = [];
  let best: { node: StorageName; free: number } | null = null;
  for (const { value } of context.store.storage.values()) {
    const report = observer?.answers(value.name) === true ? observer.report(value.name) : null;
    const tooLarge = report === null ? null : tooLargeFor(report.pool, value.name, largest);
    if (report === null) reasons.push(`${value.name} does not answer`);
    else if (artifacts.some((artifact) => !report.artifacts.includes(artifact)))
      reasons.push(`${value.name} does not hold the image yet (it is copied there from a node that does)`);
    else if (report.pool.freeBytes < neededBytes)
      reasons.push(`${value.name} has ${Math.floor(report.pool.freeBytes / MIB)} MiB free`);
    else if (tooLarge !== null) reasons.push(tooLarge);
    else if (value.name === preferred) return value.name;
    else if (best === null || report.pool.freeBytes > best.free)
      best = { node: value.name, free: report.pool.freeBytes };
  }
  if (best !== null) return best.node;
  const none = context.store.storage.size === 0 ? 'no storage node has joined' : listed(reasons);
  throw new CodedError('no-capacity', `No storage node can hold the disks: ${none}.`, {
    advice: 'Nothing was created. Free some room, start the storage service, or ask for smaller disks.',
  });
}

function portsFree(context: BackendContext, node: StorageName, count: number): number[] {
  const ports: number[] = [];
  for (let port = DISK_PORT_BASE; port < DISK_PORT_BASE + DISK_PORTS_PER_NODE && ports.length < count; port++) {
    if (context.store.diskPorts.get(`${node}/${port}`) === undefined) ports.push(port);
  }
  if (ports.length < count)
    throw new CodedError('no-capacity', `${node} serves ${DISK_PORTS_PER_NODE} disks already.`, {
      advice: 'Nothing was created.',
    });
  return ports;
}

function diskRecord(
  { randomHex }: BackendContext,
  given: { readonly vm: VmId; readonly disk: PlannedDisk; readonly node: StorageName; readonly port: number },
): DiskRecord {
  const { vm, disk, node, port } = given;
  const id: DiskId = parseDiskId(`disk-${randomHex(6)}`);
  return { id, vm, node, port, sizeBytes: disk.sizeBytes, source: disk.source, phase: 'creating' };
}

function nicsOf(context: BackendContext, request: CreateVm, vm: VmId): { nics: VmNic[]; networkWrites: Write[] } {
  const changed = new Map<string, NetworkRecord>();
  const nics: VmNic[] = [];
  for (const asked of request.networks ?? []) {
    const wanted = typeof asked === 'string' ? { network: asked } : asked;
    nics.push(newCard(context, { wanted, vm, hostname: request.name, others: nics }, changed));
  }
  return { nics, networkWrites: networkWritesOf(context, changed) };
}

/** A card that a VM is to have. */
export interface CardRequest {
  readonly wanted: {
    readonly network: string;
    readonly address?: string | undefined;
    readonly mac?: string | undefined;
  };
  readonly vm: VmId;
  readonly hostname: string;
  /** The cards that it has. */
  readonly others: readonly VmNic[];
}

/** A new card, its address reserved in `changed`, which holds the networks as they are to be. CodedError 'not-found', 'conflict', 'no-capacity'. */
export function newCard(
  context: BackendContext,
  { wanted, vm, hostname, others }: CardRequest,
  changed: Map<string, NetworkRecord>,
): VmNic {
  demandCardCount(hostname, others.length + 1);
  const entry = context.store.networks.get(parseNetworkName(wanted.network));
  if (entry === undefined) {
    throw new CodedError('not-found', `There is no network ${wanted.network}.`, {
      advice: 'Nothing was created. Create it with "gp network create".',
    });
  }
  const network = changed.get(wanted.network) ?? entry.value;
  const mac = wanted.mac?.toLowerCase() ?? randomMac(context);
  if (mac === GATEWAY_MAC) {
    throw new CodedError('bad-input', `The MAC address ${mac} is that of the gateways.`, {
      advice: 'Nothing was changed. Choose another one, or none.',
    });
  }
  if (others.some((nic) => nic.mac === mac) || isMacTaken(context, network, mac)) {
    throw new CodedError('conflict', `The MAC address ${mac} is taken in network ${network.name}.`, {
      advice: 'Nothing was created. Choose another one, or none.',
    });
  }
  const address = allocateAddress(network, wanted.address ?? null);
  const reservations =
    address === null ? network.reservations : { ...network.reservations, [mac]: { address, vm, hostname } };
  // Written even where nothing is reserved: a network that is deleted at the same time must notice.
  changed.set(wanted.network, { ...network, reservations });
  return { network: network.name, mac, address };
}

/** The writes of networks in which addresses were reserved. */
export function networkWritesOf({ store }: BackendContext, changed: ReadonlyMap<string, NetworkRecord>): Write[] {
  return [...changed.values()].map((network) => ({
    key: keyOf.network(network.name),
    value: network,
    expect: store.networks.get(network.name)?.revision ?? 0,
  }));
}

function isMacTaken({ store }: BackendContext, network: NetworkRecord, mac: string): boolean {
  return Object.hasOwn(network.reservations, mac) || indexOfStore(store).isMacUsed(network.name, mac);
}

function randomMac({ randomHex }: BackendContext): string {
  return ['52', '54', '00', ...(randomHex(3).match(/../g) ?? [])].join(':');
}

/** Refuses a CPU model that some host cannot offer: it would tie the VM to the others. */
function checkCpuModel(context: BackendContext, cpuModel: string): void {
  const hosts = [...context.store.hosts.values()].map(({ value }) => value);
  if (cpuModel === 'baseline' || hosts.length === 0) return;
  const without = hosts.filter(({ capacity }) => !capacity.cpuModels.includes(cpuModel)).map(({ name }) => name);
  if (without.length === 0) return;
  const nobody = without.length === hosts.length;
  throw new CodedError(
    'bad-input',
    `CPU model ${cpuModel} is not offered by ${nobody ? 'any host' : listed(without)}.`,
    {
      advice: 'Nothing was created. Use a model that every host offers (gp host show), or baseline.',
    },
  );
}

/** Refuses what no host could ever run, and what is to start now and fits nowhere. */
function checkFits(context: BackendContext, vm: VmRecord, start: boolean): void {
  checkCpuModel(context, vm.spec.cpuModel);
  const controller = context.leading()?.controller;
  if (controller === undefined) return;
  const records = [...context.store.hosts.values()].map(({ value }) => value);
  const largest = Math.max(0, ...records.map(({ capacity }) => capacity.memoryBytes));
  if (records.length > 0 && vm.spec.memoryBytes > largest) {
    throw new CodedError(
      'no-capacity',
      `${vm.name} wants ${Math.ceil(vm.spec.memoryBytes / MIB)} MiB of memory; the largest host gives ${Math.floor(largest / MIB)} MiB.`,
      {
        advice: 'Nothing was created. Give it less memory, or add a larger host.',
      },
    );
  }
  if (!start) return;
  const placement = place({
    vm,
    index: indexOfStore(context.store),
    seeHost: (host) => controller.observer.see(host),
    exclude: [],
    only: null,
    isOver: false,
  });
  if (placement.kind === 'placed') return;
  throw new CodedError(
    'no-capacity',
    `No host can run ${vm.name}. ${records.length === 0 ? 'No host has joined' : placement.reasons.join('; ')}.`,
    {
      advice: 'Nothing was created. Free a host, or create it stopped (start: false).',
    },
  );
}
