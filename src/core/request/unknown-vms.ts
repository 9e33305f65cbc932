/**
 * VMs that no record knows (plan/restore/unknown.ts) and what people decide about them. Pure.
 *
 * Guarantees: adopting and deleting make the same kind of record, marked as one of which it is not known what runs: the
 * leader finds that out as after a restore (plan/restore/adoption.ts), which adopts only what storage serves on every disk
 * and fences everything else first; the record's generation is above all that were given before. So
 * nothing runs twice and no number is given twice, whatever was seen. A disk is deleted only by the ordinary end of a VM
 * that is being deleted, after everything of it is fenced.
 */
import { floorOfEpoch } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import { type DiskId, type Generation, isName, parseSha256, type TaskId, type VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { utf8Bytes } from '../../base/utf8.ts';
import type { DiskRecord, EventRecord } from '../model/cluster.ts';
import { LIMITS, type Limit } from '../model/limits.ts';
import type { VmBoot, VmDisk, VmNic, VmRecord, VmSpec } from '../model/vm.ts';
import type { UnknownDisk, UnknownVm } from '../plan/restore/unknown.ts';
import type { MachineFacts } from '../ports/qmp-link.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, newTask, taskChange, vmChange } from './basis.ts';
import { type ChangedNetworks, networkChanges, newCard } from './cards.ts';
import { NVRAM_BYTES } from './new-disks.ts';
import { demandFreeName } from './new-vm.ts';
import { portsFree } from './storage-choice.ts';

/** What a person says of an unknown VM. Absent: as its QEMU tells. */
export interface Adoption {
  readonly name?: string | undefined;
  readonly vcpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** The network of each of its cards, and the address that the guest has there. */
  readonly nics?: readonly {
    readonly mac: string;
    readonly network: string;
    readonly address?: string | undefined;
  }[];
}

const MIB = 1024 * 1024;
/** A machine that is never launched: its VM is deleted. */
const ANY_MEMORY_BYTES = 128 * MIB;
const PATIENCE_MS = 30_000;
/** Processes and disks of a VM that are named. */
const WORDS_MAX = 2 * LIMITS.vmDisks.max;

/**
 * Makes a record of an unknown VM. `facts`: what its QEMU tells; null: it does not run, or does not answer. CodedError
 * 'exists' for the name, 'bad-input' that names what cannot be known and has to be said, 'conflict' for what cannot be
 * adopted.
 */
export function adoptUnknown(
  basis: Basis,
  unknown: UnknownVm,
  facts: MachineFacts | null,
  said: Adoption & { readonly by: string },
): Admitted<VmRecord> {
  demandWhole(unknown);
  demandClear(basis, unknown);
  const { name: vmName, vcpus, memoryBytes } = demandSaid(unknown, facts, said);
  demandFreeName(basis, vmName);
  if (facts !== null && facts.sharedDisks.length > 0)
    throw new CodedError('conflict', `${vmName} has shared disks: ${listed(facts.sharedDisks)}.`, {
      advice: 'Nothing was changed. Shut its guest down first; then it can be adopted without them.',
    });
  const disks = inOrder(unknown, facts);
  const changed: ChangedNetworks = new Map();
  const nics: VmNic[] = [];
  for (const { mac, network, address } of said.nics ?? [])
    nics.push(
      newCard(basis, { wanted: { mac, network, address }, vm: unknown.vm, hostname: vmName, others: nics }, changed),
    );
  const spec: VmSpec = {
    ...defaults(),
    vcpus,
    memoryBytes,
    cpuModel: facts?.cpuModel ?? 'baseline',
    boot: bootOf(basis, facts, disks),
    disks: disks.map(({ disk, role }): VmDisk => ({ disk: disk.disk, role, bus: 'virtio' })),
    nics,
    ...(facts?.hasDisplay === true ? { display: 'vga' as const } : {}),
    ...(facts?.hasGuestAgent === true ? { guestAgent: true as const } : {}),
  };
  const vm: VmRecord = {
    ...recordOf(basis, unknown.vm, vmName, spec),
    intent: unknown.processes.length > 0 ? 'running' : 'stopped',
  };
  const message = `${vmName} is a VM of the cluster again: ${said.by} adopted it. What runs of it is found out.`;
  return {
    changes: [vmChange(vm), ...diskChanges(basis, unknown, disks), ...networkChanges(changed)],
    events: [eventOf(basis, vm, 'unknown-vm-adopted', message)],
    result: vm,
  };
}

/** Has an unknown VM deleted: it is fenced and ended, then its disks go. Its task ends with that. */
export function deleteUnknown(basis: Basis, unknown: UnknownVm, by: string): Admitted<TaskId> {
  const name = `unknown-${unknown.vm.slice('vm-'.length)}`;
  demandWhole(unknown);
  demandClear(basis, unknown);
  demandFreeName(basis, name);
  const disks = inOrder(unknown, null);
  const boot: VmBoot = { firmware: 'bios' };
  const spec: VmSpec = {
    ...defaults(),
    ...{ vcpus: 1, memoryBytes: ANY_MEMORY_BYTES, cpuModel: 'baseline', boot, nics: [] },
    disks: disks.map(({ disk, role }): VmDisk => ({ disk: disk.disk, role, bus: 'virtio' })),
  };
  const vm: VmRecord = { ...recordOf(basis, unknown.vm, name, spec), deleting: true };
  const task = newTask(basis, { kind: 'vm.delete', target: { kind: 'vm', name }, message: 'Deleting.' });
  const message = `${by} deletes ${unknown.vm}, which no record knew: ${wordsOf(unknown)}.`;
  return {
    changes: [vmChange(vm), ...diskChanges(basis, unknown, disks), taskChange(task)],
    events: [eventOf(basis, vm, 'unknown-vm-deleted', message)],
    result: task.id,
  };
}

/** What is seen of an unknown VM, in words: all of an honest one, some of what a node makes up. */
export function wordsOf({ processes, disks }: UnknownVm): string {
  const runs = processes.map(({ host, generation }) => `generation ${generation} runs on ${host}`);
  const kept = disks.map(({ disk, node, sizeBytes }) => `${disk} on ${node} (${Math.ceil(sizeBytes / MIB)} MiB)`);
  return listed([...runs, ...kept], WORDS_MAX);
}

/** Refuses to decide upon a part of a VM: a disk that is not seen would be neither fenced nor deleted. */
function demandWhole({ vm, unheard }: UnknownVm): void {
  if (unheard.length === 0) return;
  throw new CodedError('unavailable', `Storage nodes have not said yet what they hold: ${listed(unheard)}.`, {
    advice:
      `Nothing was changed. They may have disks of ${vm}. Try again in a minute; bring up those that are down, and ` +
      'mend what alarms say of their pools; declare lost only what is gone for good.',
  });
}

/** Refuses what not all storage nodes can be right about: nothing is made of what one of them makes up. */
function demandClear({ records }: Basis, { vm, disks }: UnknownVm): void {
  const wrong = (what: string, nodes: readonly string[]): CodedError =>
    new CodedError('conflict', `${what}.`, {
      advice: `Nothing was changed. See what is in the pools of ${listed([...new Set(nodes)])}: what is said is wrong.`,
    });
  const { max } = LIMITS.vmDisks;
  const nodes = disks.map(({ node }) => node);
  if (disks.length > max)
    throw wrong(`${disks.length} disks are said to be of ${vm}, and a VM has at most ${max}`, nodes);
  const holders = new Map<string, string>();
  for (const { disk, node, port } of disks) {
    const other = holders.get(disk);
    if (other !== undefined) throw wrong(`${other} and ${node} each say that they hold ${disk}`, [other, node]);
    holders.set(disk, node);
    if (port === null) continue;
    const place = `${node}/${port}`;
    const user = records.diskPorts.get(place)?.value ?? holders.get(place);
    if (user !== undefined) throw wrong(`${disk} is served at port ${port} of ${node}, which ${user} has`, [node]);
    holders.set(place, disk);
  }
}

interface Machine {
  readonly name: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
}

/** Returns what its QEMU tells of a VM, but for what no VM can be: a host is not trusted. */
function credible(facts: MachineFacts | null): Partial<Machine> {
  if (facts === null) return {};
  const { name, vcpus, memoryBytes } = facts;
  const isWithin = (value: number, { min, max }: Limit): boolean => value >= min && value <= max;
  return {
    ...(name !== null && isName(name) ? { name } : {}),
    ...(isWithin(vcpus, LIMITS.vmVcpus) ? { vcpus } : {}),
    ...(isWithin(memoryBytes, LIMITS.vmMemoryBytes) ? { memoryBytes } : {}),
  };
}

/** Refuses what leaves something open that nobody can see. Returns the machine as it is told and said. */
function demandSaid(unknown: UnknownVm, facts: MachineFacts | null, said: Adoption): Machine {
  const { nics = [] } = said;
  const told = credible(facts);
  const name = said.name ?? told.name;
  const vcpus = said.vcpus ?? told.vcpus;
  const memoryBytes = said.memoryBytes ?? told.memoryBytes;
  const missing: string[] = [];
  if (name === undefined) missing.push('its name');
  if (vcpus === undefined) missing.push('its vCPUs');
  if (memoryBytes === undefined) missing.push('its memory');
  const unsaid = (facts?.macs ?? []).filter((mac) => !nics.some((nic) => nic.mac.toLowerCase() === mac));
  if (unsaid.length > 0) missing.push(`the network of its card ${listed(unsaid)}`);
  const known = new Set(unknown.disks.map(({ disk }) => disk));
  const unseen = (facts?.disks ?? []).filter(({ disk }) => !known.has(disk));
  if (unseen.length > 0)
    throw new CodedError('conflict', `${unknown.vm} uses disks that no storage node reports: ${disksIn(unseen)}.`, {
      advice: 'Nothing was changed. Bring their storage nodes up, then try again.',
    });
  const strange = nics.filter(({ mac }) => facts !== null && !facts.macs.includes(mac.toLowerCase()));
  if (strange.length > 0)
    throw new CodedError('bad-input', `${unknown.vm} has no card ${listed(strange.map(({ mac }) => mac))}.`, {
      advice: `Nothing was changed. Its cards: ${listed(facts?.macs ?? []) || 'none'}.`,
    });
  if (unknown.disks.length === 0)
    throw new CodedError('conflict', `No storage node has a disk of ${unknown.vm}, so it could not be fenced.`, {
      advice: 'Nothing was changed. Bring its storage nodes up; or delete it.',
    });
  if (name !== undefined && vcpus !== undefined && memoryBytes !== undefined && missing.length === 0)
    return { name, vcpus, memoryBytes };
  throw new CodedError('bad-input', `Say what cannot be seen of ${unknown.vm}: ${listed(missing)}.`, {
    advice: 'Nothing was changed. gp unknown adopt VM --name NAME --vcpus N --memory SIZE --nic MAC=NETWORK[,ADDRESS]',
  });
}

const disksIn = (disks: readonly { readonly disk: DiskId }[]): string => listed(disks.map(({ disk }) => disk));

interface RoledDisk {
  readonly disk: UnknownDisk;
  readonly role: VmDisk['role'];
}

/** The disks in the order of the machine; those that it has no device of after them. */
function inOrder({ disks }: UnknownVm, facts: MachineFacts | null): readonly RoledDisk[] {
  const places = new Map(facts?.disks.map(({ disk }, place) => [disk, place]));
  const place = ({ disk }: UnknownDisk): number => places.get(disk) ?? places.size;
  const readOnly = new Set(facts?.disks.flatMap(({ disk, isReadOnly }) => (isReadOnly ? [disk] : [])));
  const hasVariables = facts !== null && facts.diskNodes > facts.disks.length;
  return disks
    .toSorted((a, b) => place(a) - place(b) || (a.disk < b.disk ? -1 : 1))
    .map((disk) => {
      const isVariables = hasVariables && !places.has(disk.disk) && disk.sizeBytes === NVRAM_BYTES;
      return { disk, role: isVariables ? 'nvram' : readOnly.has(disk.disk) ? 'seed' : 'data' };
    });
}

function bootOf({ records }: Basis, facts: MachineFacts | null, disks: readonly RoledDisk[]): VmBoot {
  const direct = facts?.direct ?? null;
  if (direct === null) return { firmware: disks.some(({ role }) => role === 'nvram') ? 'uefi' : 'bios' };
  const sizeOf = (sha256: string): number | undefined => {
    for (const { value } of records.images.values())
      for (const file of [value.direct?.kernel, value.direct?.initrd])
        if (file?.sha256 === sha256) return file.sizeBytes;
    return undefined;
  };
  const [kernelBytes, initrdBytes] = [sizeOf(direct.kernel), direct.initrd === null ? 0 : sizeOf(direct.initrd)];
  if (kernelBytes === undefined || initrdBytes === undefined)
    throw new CodedError('conflict', 'It boots from a kernel that no image of the cluster has.', {
      advice: `Nothing was changed. Import the image again (gp image import), whose kernel is ${direct.kernel}.`,
    });
  const initrd = direct.initrd === null ? null : parseSha256(direct.initrd);
  const { append } = direct;
  if (utf8Bytes(append) > LIMITS.kernelAppendBytes.max || /[\n\0]/.test(append))
    throw new CodedError('conflict', 'Its kernel command line is none that a VM may have.', {
      advice: 'Nothing was changed. Shut its guest down first; then it can be adopted, and boots by its firmware.',
    });
  return { firmware: 'direct', kernel: parseSha256(direct.kernel), kernelBytes, initrd, initrdBytes, append };
}

/** The parts of a specification that cannot be seen. */
function defaults(): Pick<
  VmSpec,
  'restartPolicy' | 'labels' | 'image' | 'storagePatienceMs' | 'antiAffinity' | 'sharedDisks'
> {
  return {
    ...{ restartPolicy: 'on-failure', labels: {}, image: null, storagePatienceMs: PATIENCE_MS },
    ...{ antiAffinity: null, sharedDisks: [] },
  };
}

/**
 * The generation is above all that the VM was ever given: those of older epochs, and those of this one, if it was adopted
 * and deleted in it before. Each of those was given in a transaction of its own, so that etcd's revision is above them.
 */
function recordOf({ records, now }: Basis, id: VmId, name: string, spec: VmSpec): VmRecord {
  const { number } = records.epoch;
  const generation = (floorOfEpoch(number) + records.completeRevision) as Generation;
  return {
    ...{ id, name, spec, intent: 'stopped', generation, phase: { kind: 'stopped' } },
    ...{ migrationRequest: null, stopRequest: null, resetRequest: null, startTask: null, failures: null },
    ...{ deleting: false, restored: number, createdAt: now, phaseSince: now },
  };
}

/** A disk that is served keeps its port: guests come back to it. */
function diskChanges(basis: Basis, { vm }: UnknownVm, disks: readonly RoledDisk[]): readonly Change[] {
  const unserved = disks.filter(({ disk }) => disk.port === null);
  const free = new Map(
    [...new Set(unserved.map(({ disk }) => disk.node))].map((node) => [
      node,
      portsFree(basis, node, unserved.filter(({ disk }) => disk.node === node).length),
    ]),
  );
  return disks.map(({ disk: { disk: id, node, port, sizeBytes }, role }): Change => {
    const value: DiskRecord = {
      ...{ id, vm, node, sizeBytes, phase: 'ready' },
      port: port ?? free.get(node)?.shift() ?? 0,
      source: role === 'nvram' ? { kind: 'nvram' } : { kind: 'blank' },
    };
    return { kind: 'disk', id, value };
  });
}

function eventOf({ now: at }: Basis, { id, name }: VmRecord, kind: string, message: string): EventRecord {
  return { at, kind, vm: id, vmName: name, host: null, generation: null, message };
}
