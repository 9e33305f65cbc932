/** Signs that VMs form a cluster, in families that are independent of each other. */

import type { Disk, Evidence, Vm } from '../estate/estate.ts';
import { compare } from '../estate/estate-builder.ts';
import type { EstateIndex } from './estate-index.ts';

/** `network`, `rule`, `lun` and `raw lun` are structural. `kubernetes` speaks against a cluster with shared disks. */
export type Family =
  | 'network'
  | 'rule'
  | 'lun'
  | 'raw lun'
  | 'names'
  | 'shape'
  | 'addresses'
  | 'words'
  | 'bus'
  | 'together'
  | 'kubernetes';

export interface Sign {
  readonly family: Family;
  /** The network, rule, LUN, stem, address or word; empty if the family says all. */
  readonly subject: string;
  /** False if the platform only prefers the structure. */
  readonly isHard: boolean;
  readonly evidence: readonly Evidence[];
}

export interface Structure {
  readonly vms: readonly Vm[];
  readonly sign: Sign;
}

const SIZE_MIN = 2;
const SIZE_MAX = 5;
const STEM_MIN = 3;
const WORDS =
  /(?<![a-z])(wsfc|mscs|msfc|failover|cluster(?!ctl)|clu|rac|asm|pacemaker|corosync|quorum|witness|heartbeat|hb|drbd|oracle|sqlag|alwayson|hacmp|serviceguard|vcs|gfs2?|ocfs2?|sofs|s2d)(?![a-z])/i;
const KUBERNETES =
  /(?<![a-z])(kube\w*|k8s\w*|k3s\w*|rke2?|ocp\d*|openshift|okd\d*|tkg\w*|worker|control-?plane|gardener|talos)(?![a-z])/i;

/** Returns groups of 2 to 5 VMs that a structure of the estate connects. */
export function* structures(index: EstateIndex): Iterable<Structure> {
  const { estate } = index;
  const people = (keys: Iterable<string>): readonly Vm[] =>
    [...keys]
      .toSorted(compare)
      .flatMap((key) => estate.vms.get(key) ?? [])
      .filter(({ isTemplate }) => !isTemplate);
  const isSmall = (vms: readonly Vm[]): boolean => vms.length >= SIZE_MIN && vms.length <= SIZE_MAX;
  for (const network of estate.networks.values()) {
    const vms = people(index.vmsPerNetwork.get(network.key) ?? []);
    if (network.isIsolated && isSmall(vms)) {
      const evidence = [network.evidence, ...vms.flatMap((vm) => nicEvidence(vm, network.key))];
      yield { vms, sign: { family: 'network', subject: network.name, isHard: true, evidence } };
    }
  }
  for (const rule of estate.rules) {
    const vms = people(new Set(rule.vms));
    if (rule.kind === 'apart' && rule.perHost === 1 && isSmall(vms))
      yield { vms, sign: { family: 'rule', subject: rule.name, isHard: rule.isHard, evidence: [rule.evidence] } };
  }
  yield* aroundLuns(index);
}

/**
 * Groups VMs with a raw disk of unknown LUN on the hosts that see a LUN that is always reserved, or that no datastore
 * uses.
 */
function* aroundLuns(index: EstateIndex): Iterable<Structure> {
  const isUnknown = ({ permit, identities, isRaw }: Disk): boolean =>
    permit !== null && (isRaw || identities.length === 0) && identities.every(({ kind }) => kind !== 'LUN');
  for (const lun of index.estate.guestLuns) {
    const vms = [...lun.hosts]
      .flatMap((host) => index.vmsOn.get(host) ?? [])
      .filter(({ disks }) => disks.some(isUnknown))
      .toSorted((a, b) => compare(a.key, b.key));
    if (vms.length >= SIZE_MIN && vms.length <= SIZE_MAX) {
      const family = lun.isReserved ? 'lun' : 'raw lun';
      yield { vms, sign: { family, subject: lun.name, isHard: true, evidence: [lun.evidence] } };
    }
  }
}

function nicEvidence(vm: Vm, network: string): readonly Evidence[] {
  return vm.nics.filter((nic) => nic.network === network).map(({ evidence }) => evidence);
}

/** Returns the rules that keep members of a certain cluster together or apart. */
export function rulesAmong(vms: readonly Vm[], index: EstateIndex): readonly Sign[] {
  const keys = new Set(vms.map(({ key }) => key));
  const rules = new Set(vms.flatMap(({ key }) => index.rulesOf.get(key) ?? []));
  return [...rules]
    .filter((rule) => rule.vms.filter((key) => keys.has(key)).length >= SIZE_MIN)
    .map(({ kind, name, isHard, evidence }) => ({
      family: kind === 'apart' ? 'rule' : 'together',
      subject: name,
      isHard,
      evidence: [evidence],
    }));
}

/** Returns the further signs that all, or at least two, of these VMs show. */
export function signsOf(vms: readonly Vm[], index: EstateIndex): readonly Sign[] {
  return [names(vms), shape(vms), addresses(vms), words(vms, index), bus(vms), kubernetes(vms)].flatMap(
    (sign) => sign ?? [],
  );
}

function names(vms: readonly Vm[]): Sign | null {
  const stems = new Set(vms.map(({ name }) => stemOf(name)));
  const [stem] = stems;
  const differ = new Set(vms.map(({ name }) => name)).size === vms.length;
  if (stems.size !== 1 || stem === undefined || stem.length < STEM_MIN || !differ) return null;
  return sign('names', stem, vms);
}

/** Returns a name without its domain and its trailing number. */
function stemOf(name: string): string {
  const short = /^[\d.]+$/.test(name) ? name : (name.split('.')[0] ?? name);
  return short.toLowerCase().replace(/[-_ ]?(?:\d+|(?<=[-_ ])[a-h]|(?<=\d)[a-h])$/, '');
}

function shape(vms: readonly Vm[]): Sign | null {
  const shapes = vms.map(({ cpus, memoryMib, disks }) => {
    const sizes = disks.filter(({ isMedia }) => !isMedia).map(({ sizeGib }) => Math.round((sizeGib ?? 0) * 100));
    return cpus === null || memoryMib === null
      ? null
      : JSON.stringify([cpus, memoryMib, sizes.toSorted((a, b) => a - b)]);
  });
  return shapes.includes(null) || new Set(shapes).size !== 1 ? null : sign('shape', '', vms);
}

function addresses(vms: readonly Vm[]): Sign | null {
  const found = vms.flatMap(({ nics }) => nics.filter(({ address }) => /(?:^|[^\d.])169\.254\./.test(address)));
  const [first] = found;
  const count = vms.filter(({ nics }) => nics.some((nic) => found.includes(nic))).length;
  if (first === undefined || count < SIZE_MIN) return null;
  return { family: 'addresses', subject: '169.254', isHard: true, evidence: found.map(({ evidence }) => evidence) };
}

/** Finds technical terms in the names, notes, guests and networks of at least two VMs. */
function words(vms: readonly Vm[], index: EstateIndex): Sign | null {
  const wordIn = ({ name, notes, guest, nics }: Vm): string | undefined => {
    const networks = nics.map(({ network }) => index.estate.networks.get(network ?? '')?.name ?? '');
    // A domain is excluded: it may contain the name of the company's host cluster.
    const texts = [name.split('.')[0] ?? '', notes, guest, ...networks].map((text) => text.replaceAll('_', ' '));
    return texts.map((text) => WORDS.exec(text)?.[1]).find((word) => word !== undefined);
  };
  const found = vms.flatMap((vm) => wordIn(vm) ?? []);
  const [word] = found;
  return word === undefined || found.length < SIZE_MIN ? null : sign('words', word.toLowerCase(), vms);
}

function bus(vms: readonly Vm[]): Sign | null {
  const permits = vms.flatMap(({ disks }) => disks.flatMap(({ permit }) => permit ?? []));
  const count = vms.filter(({ disks }) => disks.some(({ permit }) => permit !== null)).length;
  if (count < SIZE_MIN) return null;
  const evidence = permits.map((permit) => permit.evidence);
  return { family: 'bus', subject: permits[0]?.kind ?? '', isHard: true, evidence };
}

function kubernetes(vms: readonly Vm[]): Sign | null {
  const found = vms.filter(({ name, guest }) => KUBERNETES.test(name) || KUBERNETES.test(guest));
  return found.length < SIZE_MIN ? null : sign('kubernetes', '', vms);
}

function sign(family: Family, subject: string, vms: readonly Vm[]): Sign {
  return { family, subject, isHard: true, evidence: vms.map(({ evidence }) => evidence) };
}
