/**
 * The certificates of a cluster in a world of their own: the real keepers of several leaders, the real requests and
 * decisions, over one store and machines that are slow, silent, removed, wiped and join again. A seed fixes everything.
 *
 * Rules: C1, a machine is given only what the records know, so that it can be denied; C2, in the end everybody refuses
 * who was removed; C3, in the end every member has a good certificate of the authority that issues, and an authority is
 * dropped only when no member has one of it; C4, no leader takes a removal back, although the record of a host that was
 * declared lost stays for a while.
 */
import { CodedError } from '../../base/errors.ts';
import { parseHostName, type Term } from '../../base/ids.ts';
import type { IssuedCertificate, MachineIdentity, Trust } from '../../base/machine-identity.ts';
import { CertificateKeeper, type CertificateKeeperPorts } from '../../core/loop/duties/certificate-keeper.ts';
import { AUTHORITIES, type AuthoritiesRecord } from '../../core/model/authorities.ts';
import type { CertificateRecord } from '../../core/model/certificate.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { Change, Commit, Entry, Snapshot } from '../../core/ports/store.ts';
import { joinedCertificate, removedCertificates } from '../../core/request/member-certificates.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';

const HOSTS = ['h1', 'h2', 'h3', 'h4'];
const LIFE_MS = 120_000;
const FAULTS_MS = 600_000;
const CALM_MS = 100_000_000;
const EVENT_MS = 4_000;
/** Until the record of a host that was declared lost goes, in ms. */
const GOING_MS = 20_000;
const ROUND_MS = 2_000;
const CALM_ROUND_MS = 400_000;

type Ports = CertificateKeeperPorts;

/** What a planted mistake replaces. */
export interface CertificateMistake {
  readonly says: string;
  readonly rule: string;
  readonly plant: (ports: Ports) => Ports;
}

interface Machine {
  certificate: IssuedCertificate | null;
  trust: Trust | null;
  term: number;
  silentUntil: number;
}

/** Plays one seed; returns what rules were broken. */
export async function playCertificates(
  seed: number,
  mistake: CertificateMistake | null = null,
): Promise<readonly string[]> {
  const world = new CertificateWorld(seed, mistake);
  return world.play();
}

class CertificateWorld {
  readonly #clock = new SimClock();
  readonly #random: SimRandom;
  readonly #mistake: CertificateMistake | null;
  readonly #certificates: Snapshot['certificates'] & Map<string, Entry<never>> = new Map();
  readonly #hosts: Snapshot['hosts'] & Map<string, Entry<never>> = new Map() as never;
  readonly #authorities: Snapshot['authorities'] & Map<string, Entry<never>> = new Map();
  readonly #machines = new Map<string, Machine>();
  readonly #broken = new Set<string>();
  #revision = 1;
  #term = 0;
  #serials = 0;
  #keeper: CertificateKeeper | null = null;
  #isCalm = false;

  constructor(seed: number, mistake: CertificateMistake | null) {
    this.#random = new SimRandom(seed);
    this.#mistake = mistake;
  }

  async play(): Promise<readonly string[]> {
    for (const name of HOSTS) this.#join(name);
    this.#elect();
    this.#disturb();
    await this.#clock.run(FAULTS_MS);
    this.#isCalm = true;
    for (const machine of this.#machines.values()) machine.silentUntil = 0;
    // Who was away for longer than a certificate lasts joins again, as a person would let it.
    for (const name of HOSTS) if (this.#hosts.has(name as never)) this.#join(name);
    this.#elect();
    await this.#clock.run(FAULTS_MS + CALM_MS);
    this.#judgeEnd();
    this.#keeper?.stop();
    return [...this.#broken];
  }

  #disturb(): void {
    if (this.#isCalm) return;
    const name = this.#random.pick(HOSTS);
    const machine = this.#machines.get(`host:${name}`);
    const roll = this.#random.between(0, 100);
    if (roll < 20) this.#elect();
    else if (roll < 45) this.#remove(name);
    else if (roll < 65) this.#join(name);
    else if (roll < 90 && machine !== undefined)
      machine.silentUntil = this.#clock.monotonicMs() + this.#random.between(1_000, 30_000);
    else this.#rotate();
    this.#clock.after(this.#random.between(50, EVENT_MS), () => this.#disturb());
  }

  /** Removes a host, or declares it lost: then its record goes some time later. */
  #remove(name: string): void {
    const id = parseHostName(name);
    const record = this.#hosts.get(id as never)?.value as HostRecord | undefined;
    if (record === undefined || record.lost !== undefined) return;
    const lost = { ...record, lost: { at: this.#clock.wallMs(), by: 'ann' } };
    const isLost = this.#random.chance(50);
    this.#write([
      { kind: 'host', id, value: isLost ? lost : null },
      removedCertificates(this.#basis, { kind: 'host', name }, { by: 'ann', tunnel: isLost ? name : null }),
    ]);
    if (!isLost) return;
    this.#clock.after(this.#random.between(500, GOING_MS), () => this.#write([{ kind: 'host', id, value: null }]));
  }

  #join(name: string): void {
    const known = this.#hosts.get(name as never)?.value as HostRecord | undefined;
    if (known?.lost !== undefined) return;
    const certificate = this.#issue();
    this.#machines.set(`host:${name}`, { certificate, trust: null, term: 0, silentUntil: 0 });
    const value = { name, addresses: { control: name } } as unknown as HostRecord;
    this.#write([
      { kind: 'host', id: parseHostName(name), value },
      joinedCertificate(this.#basis, { kind: 'host', name }, certificate),
    ]);
  }

  #rotate(): void {
    const before = this.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined;
    if (before !== undefined && before.phase !== 'steady') return;
    const entry = (id: string) => ({ id, certPem: id, crossPem: null, notAfter: Number.MAX_SAFE_INTEGER });
    const version = (before?.version ?? 0) + 1;
    const issuing = this.#issuer;
    const value: AuthoritiesRecord = {
      ...{ id: AUTHORITIES, version, phase: 'trusting', issuing, oldRuns: null },
      authorities: [entry(issuing), entry(`a${version}`)],
      since: this.#clock.wallMs(),
    };
    this.#write([{ kind: 'authority', id: AUTHORITIES, value }]);
  }

  /** A leader begins its term; the one before goes on for a while without knowing it. */
  #elect(): void {
    const term = ++this.#term;
    const old = this.#keeper;
    if (old !== null) this.#clock.after(this.#random.between(0, 3_000), () => old.stop());
    const ports = this.#ports(term);
    this.#keeper = new CertificateKeeper(this.#mistake?.plant(ports) ?? ports);
    this.#keeper.start();
  }

  #ports(term: number): Ports {
    const world = this;
    return {
      clock: this.#clock,
      log: { info: () => undefined, warn: () => undefined },
      intervalMs: this.#isCalm ? CALM_ROUND_MS : ROUND_MS,
      store: {
        term: term as Term,
        get snapshot() {
          return world.#snapshot();
        },
        leads: () => true,
        commit: (commit) => this.#commit(term, commit, this.#expected(commit)),
      },
      identities: {
        read: async ({ name }) => {
          await this.#pause();
          return this.#says(`host:${name}`);
        },
        give: async ({ name }, order) => {
          await this.#pause();
          const machine = this.#answering(`host:${name}`);
          if (order.term < machine.term) throw new CodedError('stale-order', 'An older leader.');
          machine.term = order.term;
          machine.trust = order.trust;
          if (order.certPem !== null) this.#take(`host:${name}`, machine, JSON.parse(order.certPem));
          if (this.#random.chance(5)) throw new CodedError('unavailable', 'The answer was lost.');
        },
      },
      certifier: {
        get caPem() {
          return (
            (world.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined)?.authorities
              .map(({ id }) => id)
              .join(' ') ?? 'a0'
          );
        },
        get bundle() {
          return String((world.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined)?.version ?? 0);
        },
        get issuer() {
          return world.#issuer;
        },
        keyOf: () => null,
        certify: async () => {
          await this.#pause();
          const issued = this.#issue();
          return { certPem: JSON.stringify(issued), issued };
        },
      },
    };
  }

  #take(id: string, machine: Machine, certificate: IssuedCertificate): void {
    machine.certificate = certificate;
    const record = this.#certificates.get(id)?.value as
      | { issued: IssuedCertificate[]; denied: IssuedCertificate[] }
      | undefined;
    const known = [...(record?.issued ?? []), ...(record?.denied ?? [])];
    if (!known.some(({ serial }) => serial === certificate.serial)) this.#broken.add('C1-issued-is-recorded');
  }

  #says(id: string): MachineIdentity {
    const { certificate, trust } = this.#answering(id);
    if (certificate === null || certificate.notAfter <= this.#clock.wallMs())
      throw new CodedError('unavailable', `${id} has no good certificate.`);
    return { certificate, requestPem: 'request', trust: trust?.tag ?? null };
  }

  #answering(id: string): Machine {
    const machine = this.#machines.get(id);
    if (machine === undefined || machine.silentUntil > this.#clock.monotonicMs())
      throw new CodedError('unavailable', `${id} does not answer.`);
    return machine;
  }

  /** The revisions that a commit depends on are those of the moment in which it is decided. */
  #expected({ changes }: Commit): readonly (number | undefined)[] {
    return changes.map(({ kind, id }) => this.#table(kind).get(id)?.revision);
  }

  async #commit(
    term: number,
    { changes }: Commit,
    expected: readonly (number | undefined)[],
  ): Promise<'committed' | 'conflict' | 'deposed'> {
    await this.#pause();
    if (term !== this.#term) return 'deposed';
    const isSame = changes.every(({ kind, id }, i) => this.#table(kind).get(id)?.revision === expected[i]);
    if (!isSame) return 'conflict';
    for (const { kind, id, value } of changes) if (kind === 'certificate') this.#judgeRemoval(id, value);
    const before = this.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined;
    this.#write(changes);
    const after = this.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined;
    if (before?.phase === 'renewing' && after?.phase === 'steady') this.#judgeDrop(after);
    return 'committed';
  }

  #judgeRemoval(id: string, after: CertificateRecord | null): void {
    const before = this.#certificates.get(id)?.value as CertificateRecord | undefined;
    if (before !== undefined && before.removed !== null && after?.removed === null)
      this.#broken.add('C4-removals-stand');
  }

  #judgeDrop({ issuing }: AuthoritiesRecord): void {
    for (const name of this.#members) {
      const machine = this.#machines.get(`host:${name}`);
      if (machine?.certificate?.authority !== issuing) this.#broken.add('C3-dropped-when-unused');
    }
  }

  #judgeEnd(): void {
    const now = this.#clock.wallMs();
    for (const name of this.#members) {
      const { certificate, trust } = this.#machines.get(`host:${name}`) ?? {};
      if (certificate == null || certificate.notAfter <= now || certificate.authority !== this.#issuer)
        this.#broken.add('C3-members-are-good');
      for (const removed of HOSTS.filter((one) => !this.#hosts.has(one as never)))
        if (this.#certificates.has(`host:${removed}`) && trust?.denied.identities.includes(`host:${removed}`) !== true)
          this.#broken.add('C2-removed-are-denied');
    }
    const record = this.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined;
    if (record !== undefined && record.phase !== 'steady' && this.#hosts.size > 0) this.#broken.add('C3-rotation-ends');
  }

  #issue(): IssuedCertificate {
    const now = this.#clock.wallMs();
    const notAfter = now + (this.#isCalm ? LIFE_MS * 100 : LIFE_MS);
    return { serial: `S${++this.#serials}`, notBefore: now, notAfter, authority: this.#issuer };
  }

  /** Hosts that have a record and were not declared lost. */
  get #members(): readonly string[] {
    const records = [...this.#hosts.values()].map(({ value }) => value as HostRecord);
    return records.flatMap(({ name, lost }) => (lost === undefined ? [name] : []));
  }

  get #issuer(): string {
    return (this.#authorities.get(AUTHORITIES)?.value as AuthoritiesRecord | undefined)?.issuing ?? 'a0';
  }

  get #basis() {
    return { now: this.#clock.wallMs(), records: { certificates: this.#certificates as Snapshot['certificates'] } };
  }

  #table(kind: Change['kind']): Map<string, Entry<never>> {
    const tables = { certificate: this.#certificates, host: this.#hosts, authority: this.#authorities };
    return tables[kind as keyof typeof tables] as Map<string, Entry<never>>;
  }

  #write(changes: readonly Change[]): void {
    this.#revision++;
    for (const { kind, id, value } of changes) {
      if (value === null) this.#table(kind).delete(id);
      else this.#table(kind).set(id, { value: value as never, revision: this.#revision });
    }
    this.#keeper?.wake();
  }

  #snapshot(): Snapshot {
    const none = new Map();
    return {
      revision: this.#revision,
      completeRevision: this.#revision,
      hosts: this.#hosts,
      certificates: this.#certificates,
      authorities: this.#authorities,
      ...{ storage: none, controls: none, vms: none, unreadable: none },
    } as unknown as Snapshot;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(this.#random.between(1, 400), resolve));
  }
}
