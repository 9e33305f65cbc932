/**
 * Finds VMs that form a cluster inside their guests, with a confidence in words, never in per cent: certain, member
 * (peers unseen), collision, probable, hint. `certain` needs an identity: two VMs open the same disk, and a setting
 * permits it. `probable` needs signs of three independent families, one of them structural. Names alone prove nothing:
 * half of an estate looks like families.
 */

import type { Disk, Evidence, Identity, Permit, Vm } from '../estate/estate.ts';
import { compare } from '../estate/estate-builder.ts';
import type { EstateIndex } from './estate-index.ts';
import { rulesAmong, type Sign, signsOf, structures } from './signs.ts';

export type Confidence = 'certain' | 'member' | 'probable' | 'collision' | 'hint';

export interface ClusterFinding {
  readonly confidence: Confidence;
  readonly vms: readonly Vm[];
  /** Disks that several VMs open, or that one VM opens with a setting that permits sharing. */
  readonly identities: readonly Identity[];
  readonly permits: readonly Permit[];
  readonly signs: readonly Sign[];
  readonly evidence: readonly Evidence[];
}

/** The most evidence that is kept per finding. */
const EVIDENCE_MAX = 40;
const FAMILIES_MIN = 3;

interface Use {
  readonly vm: Vm;
  readonly disk: Disk;
  readonly identity: Identity;
}

/** Returns all findings, the most certain first and hints last. */
export function findGuestClusters(index: EstateIndex): readonly ClusterFinding[] {
  const shared = sharedDisks(index);
  const certain = merged(shared.filter(({ uses }) => uses.some(({ disk }) => disk.permit !== null))).map((finding) => ({
    ...finding,
    signs: rulesAmong(finding.vms, index),
  }));
  const claimed = new Set(certain.flatMap(({ vms }) => vms.map(({ key }) => key)));
  const collisions = merged(shared.filter(({ uses }) => uses.every(({ disk }) => disk.permit === null)))
    .filter(({ vms }) => vms.some(({ key }) => !claimed.has(key)))
    .map((finding) => ({ ...finding, confidence: 'collision' as const }));
  const byStructure = structuralFindings(index, claimed);
  for (const { confidence, vms } of byStructure)
    if (confidence === 'probable') for (const { key } of vms) claimed.add(key);
  const members = membersAlone(index, claimed);
  const order: readonly Confidence[] = ['certain', 'member', 'probable', 'collision', 'hint'];
  return [...certain, ...members, ...byStructure, ...collisions].toSorted(
    (a, b) => order.indexOf(a.confidence) - order.indexOf(b.confidence) || compare(nameOf(a), nameOf(b)),
  );
}

function nameOf({ vms }: ClusterFinding): string {
  return vms.map(({ key }) => key).join(' ');
}

interface SharedDisk {
  readonly uses: readonly Use[];
  /** VMs by their identity. */
  readonly people: ReadonlyMap<string, Vm>;
}

/** Returns identities that at least two different VMs have; templates and read-only media do not count. */
function sharedDisks(index: EstateIndex): readonly SharedDisk[] {
  const uses = new Map<string, Use[]>();
  const personOf = personsOf(index);
  for (const vm of index.estate.vms.values()) {
    if (vm.isTemplate) continue;
    for (const disk of vm.disks) {
      if (disk.isReadOnly || disk.isMedia) continue;
      for (const identity of disk.identities) {
        const all = uses.get(identity.key);
        if (all === undefined) uses.set(identity.key, [{ vm, disk, identity }]);
        else all.push({ vm, disk, identity });
      }
    }
  }
  return [...uses]
    .filter(([, all]) => all.length > 1 && new Set(all.map(({ vm }) => personOf(vm))).size > 1)
    .toSorted(([a], [b]) => compare(a, b))
    .map(([, all]) => ({ uses: all, people: new Map(all.map(({ vm }) => [personOf(vm), vm])) }));
}

/**
 * Returns a function that identifies VMs: one VM in two exports counts once. Copies of a VM may keep its UUID, so that
 * a UUID that two VMs of one export have identifies neither.
 */
function personsOf(index: EstateIndex): (vm: Vm) => string {
  const copies = new Set<string>();
  const seen = new Set<string>();
  const inGroup = ({ group, uuid }: Vm): string => `${group}|${uuid.toLowerCase()}`;
  for (const vm of index.estate.vms.values()) {
    if (vm.uuid !== '' && seen.has(inGroup(vm))) copies.add(vm.uuid.toLowerCase());
    seen.add(inGroup(vm));
  }
  return (vm) => (vm.uuid === '' || copies.has(vm.uuid.toLowerCase()) ? vm.key : vm.uuid.toLowerCase());
}

/** Merges disks that the same VMs share into one finding, and disks that have one VM in common. */
function merged(shared: readonly SharedDisk[]): readonly ClusterFinding[] {
  interface Group {
    readonly vms: Map<string, Vm>;
    readonly uses: Use[];
  }
  const groups = new Set<Group>();
  const groupOf = new Map<string, Group>();
  for (const { uses, people } of shared) {
    const touching = new Set([...people.keys()].flatMap((key) => groupOf.get(key) ?? []));
    // The largest group takes in the others, so that a long chain of disks costs no more than many pairs.
    const ordered = [...touching].toSorted((a, b) => b.vms.size - a.vms.size);
    const [group = { vms: new Map<string, Vm>(), uses: [] }, ...others] = ordered;
    groups.add(group);
    const join = (key: string, vm: Vm): void => {
      group.vms.set(key, vm);
      groupOf.set(key, group);
    };
    for (const other of others) {
      for (const [key, vm] of other.vms) join(key, vm);
      for (const use of other.uses) group.uses.push(use);
      groups.delete(other);
    }
    for (const [key, vm] of people) join(key, vm);
    for (const use of uses) group.uses.push(use);
  }
  return [...groups].map(({ vms, uses }) => fromUses('certain', [...vms.values()], uses));
}

function fromUses(confidence: Confidence, vms: readonly Vm[], uses: readonly Use[]): ClusterFinding {
  const identities = new Map(uses.map(({ identity }) => [identity.key, identity]));
  const permits = new Set(uses.flatMap(({ disk }) => disk.permit?.kind ?? []));
  const evidence = uses.flatMap(({ disk }) => [disk.evidence, ...(disk.permit === null ? [] : [disk.permit.evidence])]);
  return {
    confidence,
    vms: vms.toSorted((a, b) => compare(a.key, b.key)),
    identities: [...identities.values()],
    permits: [...permits],
    signs: [],
    evidence: distinct(evidence).slice(0, EVIDENCE_MAX),
  };
}

function distinct(all: readonly Evidence[]): readonly Evidence[] {
  return [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
}

/** Returns VMs with a shareable disk that no visible VM shares. */
function membersAlone(index: EstateIndex, claimed: ReadonlySet<string>): readonly ClusterFinding[] {
  return [...index.estate.vms.values()].flatMap((vm) => {
    if (vm.isTemplate || claimed.has(vm.key)) return [];
    // Cockpit sets "shareable" on disks by itself, so that this setting alone proves nothing there.
    const means = (disk: Disk): boolean =>
      disk.permit !== null && !disk.isReadOnly && !(vm.platform === 'libvirt' && disk.permit.kind === 'shareable');
    const disks = vm.disks.filter(means);
    if (disks.length === 0) return [];
    const uses = disks.flatMap((disk) => disk.identities.map((identity) => ({ vm, disk, identity })));
    const finding = fromUses('member', [vm], uses);
    const permits = [...new Set(disks.flatMap(({ permit }) => permit?.kind ?? []))];
    const evidence = disks.flatMap(({ permit }) => permit?.evidence ?? []).slice(0, EVIDENCE_MAX);
    return [{ ...finding, permits, evidence }];
  });
}

function structuralFindings(index: EstateIndex, claimed: ReadonlySet<string>): readonly ClusterFinding[] {
  const groups = new Map<string, { vms: readonly Vm[]; signs: Sign[] }>();
  for (const { vms, sign } of structures(index)) {
    if (vms.every(({ key }) => claimed.has(key))) continue;
    const key = vms.map((vm) => vm.key).join(' ');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { vms, signs: [sign] });
    else group.signs.push(sign);
  }
  return [...groups.values()].map(({ vms, signs: structural }) => {
    const signs = [...structural, ...signsOf(vms, index)];
    // Both families of LUNs are one sign.
    const families = new Set(signs.map(({ family }) => (family === 'raw lun' ? 'lun' : family)));
    const isProbable =
      families.size >= FAMILIES_MIN && structural.some(({ isHard }) => isHard) && !families.has('kubernetes');
    return {
      confidence: isProbable ? 'probable' : 'hint',
      vms,
      identities: [],
      permits: [],
      signs,
      evidence: distinct(signs.flatMap(({ evidence }) => evidence)).slice(0, EVIDENCE_MAX),
    };
  });
}
