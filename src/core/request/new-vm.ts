/**
 * Admission of a new VM: a request becomes records, or a refusal that says what is wrong. Pure; nothing is written
 * here.
 * Guarantees: an admitted VM names only objects that exist; its disks are on one storage node that holds its image and
 * has room; its addresses and ports are free at the revisions that the changes depend on; nothing in it ties the VM to
 * a host.
 */
import { present } from '../../base/assert.ts';
import { floorOfEpoch } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import {
  type HostName,
  parseHostName,
  parseImageName,
  parseVmId,
  type StorageName,
  type VmId,
} from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { utf8Bytes } from '../../base/utf8.ts';
import type { ImageRecord, TaskRecord } from '../model/cluster.ts';
import type { HostObservation } from '../model/observation.ts';
import type { MigrationPolicy, VmBoot, VmNic, VmRecord, VmSpec } from '../model/vm.ts';
import { place } from '../plan/placement/placement.ts';
import type { Change, ObjectRef } from '../ports/store.ts';
import { type Admitted, type Basis, newTask, type Observed, taskChange, vmChange } from './basis.ts';
import { type CardRequest, type ChangedNetworks, networkChanges, newCard } from './cards.ts';
import { demandAppend, demandMemoryFor } from './demands.ts';
import {
  type DiskRequest,
  dataDisks,
  demandDisks,
  newDisk,
  roomFor,
  type SeedFile,
  specialDisks,
} from './new-disks.ts';
import { chooseNode, portsFree } from './storage-choice.ts';

const MIB = 1024 * 1024;
const DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1, storagePatienceMs: 30_000 } as const;

/** A VM that somebody asks for. What is absent comes from its image, or from the defaults. */
export interface NewVm {
  readonly name: string;
  readonly image?: string | undefined;
  readonly vcpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly cpuModel?: string | undefined;
  readonly firmware?: VmBoot['firmware'] | undefined;
  /** Kernel command line, after the image's; only with firmware `direct`. */
  readonly append?: string | undefined;
  /** Besides the disk of the image. */
  readonly disks?: readonly DiskRequest[] | undefined;
  /** Names of networks, or cards with an address or MAC address of their own. */
  readonly networks?: readonly (string | CardRequest['wanted'])[] | undefined;
  readonly restartPolicy?: VmSpec['restartPolicy'] | undefined;
  readonly antiAffinity?: string | undefined;
  /** The only host that it may be on. */
  readonly pin?: string | undefined;
  readonly labels?: VmSpec['labels'] | undefined;
  readonly storagePatienceMs?: number | undefined;
  readonly migrationPolicy?: MigrationPolicy | undefined;
  /** `vga`: a display; by default there is none. */
  readonly display?: 'none' | 'vga' | undefined;
  /** Whether the VM starts at once; by default it does. */
  readonly start?: boolean | undefined;
}

/** The parts of a new VM that stay the same in every attempt to admit it. */
export interface Newcomer {
  readonly id: VmId;
  readonly seed: SeedFile | null;
  /** The storage node that has the seed; null until one is chosen. */
  readonly node: StorageName | null;
}

/** A VM that was admitted. */
export interface CreatedVm {
  readonly vm: VmRecord;
  /** The task of its start; null for a VM that stays stopped. */
  readonly task: TaskRecord | null;
  /** The storage node of its disks. */
  readonly node: StorageName;
}

/** An id for a new VM. */
export function newVmId({ randomHex }: Pick<Basis, 'randomHex'>): VmId {
  return parseVmId(`vm-${randomHex(6)}`);
}

/**
 * Admits a new VM. CodedError 'exists', 'bad-input', 'not-found', 'conflict', or 'no-capacity'; 'unavailable' if the
 * storage node that took the seed has no room any more.
 */
export function createVm(
  basis: Basis,
  observed: Observed | null,
  request: NewVm,
  given?: Newcomer,
): Admitted<CreatedVm> {
  const admitted = plannedVm(basis, observed, request, given);
  demandFits(basis, observed, admitted.result);
  return admitted;
}

/** A new VM, whether or not a host has room for it. CodedError as `createVm`. */
export function plannedVm(
  basis: Basis,
  observed: Pick<Observed, 'storageObserver'> | null,
  request: NewVm,
  given: Newcomer = { id: newVmId(basis), seed: null, node: null },
): Admitted<CreatedVm> {
  demandFreeName(basis, request.name);
  const { id, seed } = given;
  const image = request.image === undefined ? null : findImage(basis, request.image);
  if (request.pin !== undefined) demandHost(basis, request.pin, 'created');
  const settings = settingsOf(request, image);
  demandMemory(image, settings.memoryBytes, 'created');
  const boot = bootOf(request, image);
  demandBootable(boot, settings.memoryBytes, 'created');
  const planned = [
    ...dataDisks(request.disks ?? [], image, (name) => findImage(basis, name)),
    ...specialDisks(boot, seed),
  ];
  demandDisks(request.name, planned);
  const node = chooseNode(basis, observed, roomFor(planned), given.node);
  if (given.node !== null && node !== given.node)
    throw new CodedError(
      'unavailable',
      `Storage node ${given.node}, which took the seed of ${request.name}, has no room now.`,
      {
        advice: 'Nothing was created. Try again.',
      },
    );
  const ports = portsFree(basis, node, planned.length);
  const disks = planned.map((disk, index) =>
    newDisk(basis, { vm: id, disk, node, port: present(ports[index], 'port') }),
  );
  const { nics, changed } = cardsOf(basis, request, id);
  const start = request.start ?? true;
  const task = start
    ? newTask(basis, { kind: 'vm.start', target: { kind: 'vm', name: request.name }, message: 'Starting.' })
    : null;
  const { now } = basis;
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
      guestAgent: true,
    },
    intent: start ? 'running' : 'stopped',
    generation: floorOfEpoch(basis.records.epoch.number),
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
  const changes: Change[] = [
    vmChange(vm),
    ...disks.map((value): Change => ({ kind: 'disk', id: value.id, value })),
    ...networkChanges(changed),
    ...(task === null ? [] : [taskChange(task)]),
  ];
  return { changes, unchanged: imagesOf(request), result: { vm, task, node } };
}

/** Refuses a name that is taken, or has the form of an id. CodedError 'exists', 'bad-input'. */
export function demandFreeName({ records }: Basis, name: string): void {
  if (records.vmNames.has(name)) {
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

/** The settings of a VM: from the request, else from its image, else the defaults. */
function settingsOf(request: NewVm, image: ImageRecord | null): Omit<VmSpec, 'boot' | 'disks' | 'nics'> {
  return {
    vcpus: request.vcpus ?? image?.defaults.vcpus ?? DEFAULTS.vcpus,
    memoryBytes: request.memoryBytes ?? image?.defaults.memoryBytes ?? DEFAULTS.memoryBytes,
    cpuModel: request.cpuModel ?? 'baseline',
    restartPolicy: request.restartPolicy ?? 'on-failure',
    labels: request.labels ?? {},
    image: image?.name ?? null,
    storagePatienceMs: request.storagePatienceMs ?? DEFAULTS.storagePatienceMs,
    ...(request.migrationPolicy === undefined ? {} : { migrationPolicy: request.migrationPolicy }),
    antiAffinity: request.antiAffinity ?? null,
    ...(request.display === 'vga' ? { display: 'vga' } : {}),
    ...(request.pin === undefined ? {} : { pin: parseHostName(request.pin) }),
  };
}

/**
 * CodedError 'bad-input' if the guest of an image does not boot with so little memory: it would hang without telling
 * anybody why.
 */
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

/** The images that a VM is made from must still be there. */
function imagesOf(request: NewVm): ObjectRef[] {
  const names = [request.image, ...(request.disks ?? []).map((disk) => ('image' in disk ? disk.image : undefined))];
  return [...new Set(names)].flatMap((name): ObjectRef[] =>
    name === undefined ? [] : [{ kind: 'image', id: parseImageName(name) }],
  );
}

function findImage({ records }: Basis, name: string): ImageRecord {
  const image = records.images.get(parseImageName(name))?.value;
  if (image === undefined)
    throw new CodedError('not-found', `There is no image ${name}.`, {
      advice: 'Nothing was created. List them with "gp image list", or import one.',
    });
  return image;
}

function bootOf(request: NewVm, image: ImageRecord | null): VmBoot {
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
  demandAppend(utf8Bytes(append), 'created');
  return {
    firmware,
    kernel: direct.kernel.sha256,
    kernelBytes: direct.kernel.sizeBytes,
    initrd: direct.initrd?.sha256 ?? null,
    initrdBytes: direct.initrd?.sizeBytes ?? 0,
    append,
  };
}

/** CodedError 'bad-input' if QEMU would refuse to start with so little memory. */
export function demandBootable(boot: VmBoot, memoryBytes: number, done: 'created' | 'changed'): void {
  if (boot.firmware === 'direct') demandMemoryFor(boot, memoryBytes, done);
}

function cardsOf(basis: Basis, request: NewVm, vm: VmId): { nics: VmNic[]; changed: ChangedNetworks } {
  const changed: ChangedNetworks = new Map();
  const nics: VmNic[] = [];
  for (const asked of request.networks ?? []) {
    const wanted = typeof asked === 'string' ? { network: asked } : asked;
    nics.push(newCard(basis, { wanted, vm, hostname: request.name, others: nics }, changed));
  }
  return { nics, changed };
}

/** Refuses a pin to a host that does not exist. CodedError 'not-found'. */
export function demandHost({ records }: Pick<Basis, 'records'>, name: string, done: 'created' | 'changed'): void {
  if (records.hosts.has(parseHostName(name))) return;
  throw new CodedError('not-found', `There is no host ${name}.`, {
    advice: `Nothing was ${done}. Hosts: ${listed([...records.hosts.keys()])}.`,
  });
}

/** Refuses a CPU model that no host offers. One that some hosts offer ties the VM to them (effect.ts). */
function checkCpuModel({ records }: Basis, cpuModel: string): void {
  const hosts = [...records.hosts.values()].map(({ value }) => value);
  if (cpuModel === 'baseline' || hosts.length === 0) return;
  if (hosts.some(({ capacity }) => capacity.cpuModels.includes(cpuModel))) return;
  throw new CodedError('bad-input', `CPU model ${cpuModel} is not offered by any host.`, {
    advice: 'Nothing was created. Use a model that every host offers (gp host show), or baseline.',
  });
}

/** Refuses what no host could ever run, and what is to start now and fits nowhere. */
function demandFits(basis: Basis, observed: Observed | null, { vm, task }: CreatedVm): void {
  checkCpuModel(basis, vm.spec.cpuModel);
  if (observed === null) return;
  const hosts = [...basis.records.hosts.values()].map(({ value }) => value);
  const largest = Math.max(0, ...hosts.map(({ capacity }) => capacity.memoryBytes));
  if (hosts.length > 0 && vm.spec.memoryBytes > largest) {
    throw new CodedError(
      'no-capacity',
      `${vm.name} wants ${Math.ceil(vm.spec.memoryBytes / MIB)} MiB of memory; the largest host gives ${Math.floor(largest / MIB)} MiB.`,
      {
        advice: 'Nothing was created. Give it less memory, or add a larger host.',
      },
    );
  }
  if (task === null) return;
  const { index } = basis;
  const seeHost = (host: HostName): HostObservation => observed.observer.see(host);
  const placement = index.meanwhile(observed.estate.expected(), () =>
    place({ vm, index, seeHost, exclude: [], only: null, isOver: false }),
  );
  if (placement.kind === 'placed') return;
  throw new CodedError(
    'no-capacity',
    `No host can run ${vm.name}. ${hosts.length === 0 ? 'No host has joined' : placement.reasons.join('; ')}.`,
    {
      advice: 'Nothing was created. Free a host, or create it stopped (start: false).',
    },
  );
}
