/**
 * Reads VMs of KubeVirt and their running instances: both have the same specification, and an instance also has the
 * platform's own verdict.
 */
import { own } from '../../../base/own.ts';
import { plainDisk, plainVm } from '../../estate/defaults.ts';
import {
  type Disk,
  type Evidence,
  keyOf,
  type Nic,
  type Reach,
  type Tie,
  type Unknown,
  type Vm,
} from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { ExportSite } from '../export-site.ts';
import { type Fields, fieldsOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { deviceTies, verdictOf } from './guest-ties.ts';
import { matches, matchesTerm, requiredTerms } from './selectors.ts';

export interface Claim {
  readonly file: string;
  readonly name: string;
  readonly modes: readonly string[];
  readonly sizeGib: number | null;
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Parses a Kubernetes quantity to MiB; null if it is none. */
export function quantityMib(text: string): number | null {
  const [, number, unit = ''] = /^([0-9.]+)([A-Za-z]*)$/.exec(text) ?? [];
  const factor = own(UNITS, unit);
  return number === undefined || factor === undefined ? null : (Number(number) * factor) / 2 ** 20;
}

/** The parts that the specifications of a VM and of its instance have in common. */
interface Guest {
  readonly file: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly spec: unknown;
  readonly fields: Fields;
}

interface Affinity {
  readonly vm: string;
  readonly namespace: string;
  readonly selector: unknown;
  readonly isAnti: boolean;
  readonly evidence: Evidence;
}

/** Reads VMs and instances one by one; `finish` adds the rules between them. */
export class GuestReader {
  readonly #site: ExportSite<string, unknown>;
  readonly #claims: ReadonlyMap<string, Claim>;
  readonly #fix: string;
  readonly #labels = new Map<string, { namespace: string; labels: Fields }>();
  readonly #affinities: Affinity[] = [];

  constructor(site: ExportSite<string, unknown>, claims: ReadonlyMap<string, Claim>, fix: string) {
    this.#site = site;
    this.#claims = claims;
    this.#fix = fix;
  }

  /** Adds a running instance. */
  instance(file: string, fields: Fields): void {
    const guest = this.#guest(file, 'VirtualMachineInstance', fields, valueAt(fields, 'spec'));
    const phase = textAtPath(fields, 'status', 'phase');
    const ended = /^(?:Succeeded|Failed)$/.test(phase);
    const said = textAtPath(fields, 'status', 'nodeName');
    const nodeKey = this.#site.key('node', said);
    const host = said !== '' && this.#site.into.hosts.has(nodeKey) ? nodeKey : null;
    const hasStatus = valueAt(fields, 'status') !== undefined;
    if (!ended && host === null)
      this.#site.gap('vms', said === '' ? 'column' : 'join', file, guest.kind, 'status.nodeName', said);
    const power: Vm['power'] = ended ? 'stopped' : !hasStatus ? 'unknown' : 'running';
    this.#add(guest, { host, hostSaid: said, power, labels: fieldsOf(valueAt(fields, 'metadata', 'labels')) });
  }

  /** Adds a VM without an instance. `isComplete`: instances are exported, so that this VM is stopped. */
  machine(file: string, fields: Fields, isComplete: boolean): void {
    const guest = this.#guest(file, 'VirtualMachine', fields, valueAt(fields, 'spec', 'template', 'spec'));
    const strategy = textAtPath(fields, 'spec', 'runStrategy');
    const isHalted = strategy === 'Halted' || valueAt(fields, 'spec', 'running') === false;
    const power = isHalted || isComplete ? 'stopped' : 'unknown';
    const labels = fieldsOf(valueAt(fields, 'spec', 'template', 'metadata', 'labels'));
    this.#add(guest, { host: null, hostSaid: '', power, labels });
  }

  /** Adds the rules, which need all labels. */
  finish(): void {
    const selected = new Map<string, readonly string[]>();
    const told = new Set<string>();
    for (const affinity of this.#affinities) {
      const { vm, namespace, selector, isAnti } = affinity;
      const key = JSON.stringify([namespace, selector]);
      const found = selected.get(key) ?? this.#selected(namespace, selector);
      selected.set(key, found);
      const vms = [...new Set([vm, ...found])].toSorted();
      // Replicas have one rule each, and all of them say the same.
      const same = JSON.stringify([isAnti, vms]);
      if (vms.length < 2 || told.has(same)) continue;
      told.add(same);
      this.#site.into.rule({
        key: this.#site.key(isAnti ? 'anti' : 'affinity', vm),
        name: `${isAnti ? 'podAntiAffinity' : 'podAffinity'} of ${this.#site.into.vms.get(vm)?.name ?? ''}`,
        kind: isAnti ? 'apart' : 'together',
        isHard: true,
        vms,
        perHost: 1,
        evidence: affinity.evidence,
      });
    }
  }

  /** Returns the VMs of a namespace that a selector means. */
  #selected(namespace: string, selector: unknown): readonly string[] {
    return [...this.#labels].flatMap(([key, one]) =>
      one.namespace === namespace && matches(selector, one.labels) ? [key] : [],
    );
  }

  #guest(file: string, kind: string, fields: Fields, spec: unknown): Guest {
    const name = textAtPath(fields, 'metadata', 'name');
    return { file, kind, name, namespace: textAtPath(fields, 'metadata', 'namespace'), spec, fields };
  }

  #add(guest: Guest, known: Pick<Vm, 'host' | 'hostSaid' | 'power'> & { readonly labels: Fields }): void {
    const { file, kind, name, namespace, spec, fields } = guest;
    const at = (column: string, value: unknown): Evidence => evidence(file, kind, name, column, value);
    const key = this.#site.key(namespace, name);
    const memory =
      quantityMib(textAtPath(spec, 'domain', 'memory', 'guest')) ??
      quantityMib(textAtPath(spec, 'domain', 'resources', 'requests', 'memory')) ??
      quantityMib(textAtPath(fields, 'status', 'memory', 'guestCurrent'));
    const cpu = valueAt(spec, 'domain', 'cpu');
    const cores =
      (numberOf(valueAt(cpu, 'cores')) ?? 1) *
      (numberOf(valueAt(cpu, 'sockets')) ?? 1) *
      (numberOf(valueAt(cpu, 'threads')) ?? 1);
    const { disks, ties, unknowns } = this.#volumes(guest, at);
    const verdict = verdictOf(guest, known.power, at, this.#fix);
    this.#labels.set(key, { namespace, labels: known.labels });
    this.#noteAffinity(key, namespace, spec, at);
    this.#site.into.vm(
      plainVm({
        key,
        uuid: textAtPath(fields, 'metadata', 'uid'),
        name,
        ...this.#site.origin,
        host: known.host,
        hostSaid: known.hostSaid,
        power: known.power,
        memoryMib: memory,
        cpus: cpu === undefined ? null : cores,
        disks,
        nics: this.#nics(spec, namespace, at),
        ties: [
          ...verdict.ties,
          ...ties,
          ...deviceTies(spec, at),
          ...this.#selectorTies(spec, at),
          ...this.#peerTies(spec, at),
        ],
        unknowns: known.power === 'stopped' ? [] : [...verdict.unknowns, ...unknowns],
        notes: Object.values(fieldsOf(valueAt(fields, 'metadata', 'annotations')))
          .filter((one) => typeof one === 'string' && one.length < 200)
          .join(' '),
        guest: textAtPath(fields, 'status', 'guestOSInfo', 'prettyName'),
        evidence: at('metadata.name', name),
      }),
    );
  }

  #volumes(
    guest: Guest,
    at: (column: string, value: unknown) => Evidence,
  ): { disks: Disk[]; ties: Tie[]; unknowns: Unknown[] } {
    const devices = new Map(
      objectsAt(guest.spec, 'domain', 'devices', 'disks').map((disk) => [textAtPath(disk, 'name'), disk]),
    );
    const shared = new Set(
      objectsAt(guest.spec, 'domain', 'devices', 'filesystems').map((one) => textAtPath(one, 'name')),
    );
    const disks: Disk[] = [];
    const ties: Tie[] = [];
    const unknowns: Unknown[] = [];
    for (const volume of objectsAt(guest.spec, 'volumes')) {
      const name = textAtPath(volume, 'name');
      const device = devices.get(name);
      const hostDisk = valueAt(volume, 'hostDisk');
      if (hostDisk !== undefined)
        ties.push({
          kind: 'host folder',
          effect: 'blocks',
          subject: textAtPath(hostDisk, 'path'),
          evidence: at('volumes.hostDisk.path', valueAt(hostDisk, 'path')),
        });
      if (shared.has(name))
        ties.push({ kind: 'host folder', effect: 'warns', subject: name, evidence: at('devices.filesystems', name) });
      const claim =
        textAtPath(volume, 'persistentVolumeClaim', 'claimName') ||
        textAtPath(volume, 'dataVolume', 'name') ||
        textAtPath(volume, 'ephemeral', 'persistentVolumeClaim', 'claimName');
      if (claim === '') continue;
      const found = this.#claims.get(keyOf(guest.namespace, claim));
      const place = at('volumes.claimName', claim);
      const permit = permitOf(device, at);
      const reach = reachOf(found);
      if (reach.kind === 'unknown')
        unknowns.push({ aspect: 'storage', evidence: at('access modes of the claim of volume', name), fix: this.#fix });
      disks.push(
        plainDisk({
          label: claim,
          identities: [{ key: keyOf('claim', guest.namespace, claim), kind: 'claim', name: claim }],
          permit,
          reach: reach.kind === 'unknown' ? { kind: 'every' } : reach,
          sizeGib: found?.sizeGib ?? null,
          isReadOnly: permit === null && isOnlyRead(volume, device),
          evidence: place,
        }),
      );
    }
    return { disks, ties, unknowns };
  }

  #nics(spec: unknown, namespace: string, at: (column: string, value: unknown) => Evidence): readonly Nic[] {
    return objectsAt(spec, 'networks').map((network) => {
      const name = textAtPath(network, 'multus', 'networkName');
      const place = at('networks', name === '' ? 'pod' : name);
      if (name === '') return { network: null, address: '', evidence: place };
      const key = this.#site.key('network', name.includes('/') ? name : `${namespace}/${name}`);
      this.#site.into.network({ key, name, reach: { kind: 'every' }, isIsolated: false, evidence: place });
      return { network: key, address: '', evidence: place };
    });
  }

  #selectorTies(spec: unknown, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
    const wanted = Object.entries(fieldsOf(valueAt(spec, 'nodeSelector')));
    const terms = objectsAt(
      spec,
      'affinity',
      'nodeAffinity',
      'requiredDuringSchedulingIgnoredDuringExecution',
      'nodeSelectorTerms',
    );
    const ties: Tie[] = [];
    const limit = (
      subject: string,
      column: string,
      fits: (name: string, labels: Readonly<Record<string, string>>) => boolean,
    ): void => {
      const hosts = [...this.#site.into.hosts.values()]
        .filter((host) => fits(host.name, host.labels))
        .map(({ key }) => key);
      ties.push({
        kind: 'node selector',
        effect: 'limits',
        subject,
        hosts: new Set(hosts),
        evidence: at(column, subject),
      });
    };
    if (wanted.length > 0)
      limit(wanted.map(([label, value]) => `${label}=${String(value)}`).join(','), 'nodeSelector', (_name, labels) =>
        wanted.every(([label, value]) => own(labels, label) === String(value)),
      );
    if (terms.length > 0)
      limit(JSON.stringify(terms).slice(0, 120), 'affinity.nodeAffinity', (name, labels) =>
        terms.some((term) => matchesTerm(term, name, labels)),
      );
    return ties;
  }

  #peerTies(spec: unknown, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
    return requiredTerms(spec, 'podAffinity').map((term) => {
      const selector = JSON.stringify(valueAt(term, 'labelSelector') ?? {}).slice(0, 120);
      return {
        kind: 'pod affinity',
        effect: 'warns',
        subject: selector,
        evidence: at('affinity.podAffinity', selector),
      };
    });
  }

  #noteAffinity(vm: string, namespace: string, spec: unknown, at: (column: string, value: unknown) => Evidence): void {
    for (const kind of ['podAffinity', 'podAntiAffinity'] as const)
      for (const term of requiredTerms(spec, kind)) {
        const selector = valueAt(term, 'labelSelector');
        const isAnti = kind === 'podAntiAffinity';
        this.#affinities.push({ vm, namespace, selector, isAnti, evidence: at(`affinity.${kind}`, selector) });
      }
  }
}

function isOnlyRead(volume: Fields, device: Fields | undefined): boolean {
  if (valueAt(device, 'cdrom') !== undefined || valueAt(volume, 'ephemeral') !== undefined) return true;
  return valueAt(volume, 'persistentVolumeClaim', 'readOnly') === true;
}

function reachOf(claim: Claim | undefined): Reach {
  if (claim === undefined || claim.modes.length === 0) return { kind: 'unknown' };
  // With any other access mode, the claim itself excludes a second host.
  return claim.modes.includes('ReadWriteMany') || claim.modes.includes('ReadOnlyMany')
    ? { kind: 'every' }
    : { kind: 'local' };
}

function permitOf(device: Fields | undefined, at: (column: string, value: unknown) => Evidence): Disk['permit'] {
  if (valueAt(device, 'lun', 'reservation') === true)
    return { kind: 'reservation', evidence: at('devices.disks.lun.reservation', true) };
  return valueAt(device, 'shareable') === true
    ? { kind: 'shareable', evidence: at('devices.disks.shareable', true) }
    : null;
}
