/**
 * A leader's care for the certificates of machines: each is renewed while its machine runs, and every machine is told
 * which authorities to trust and which certificates to refuse (core/ports/identity-link.ts).
 * Guarantees: a certificate is recorded before it is handed out, in a transaction that fails if its machine was removed
 * in the meantime, so that every issued certificate can be denied; a machine without a record gets no certificate; at
 * most `VISITS_MAX` machines are asked at a time, each by a deadline; a round costs the event loop some milliseconds,
 * however many machines there are; a machine that cannot take a certificate is given the same one again, at growing
 * intervals; a machine's report about its certificate counts for its own name only; nothing begins after `stop`.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { IdentityOrder, IssuedCertificate, MachineIdentity, Trust } from '../../../base/machine-identity.ts';
import { AUTHORITIES } from '../../model/authorities.ts';
import {
  CERTIFICATE_DAYS_LEFT_MIN,
  type CertificateRecord,
  certificateFinding,
  deniedBy,
  ISSUED_MAX,
  isRenewalDue,
  withIssued,
  withRemoved,
  withSaid,
} from '../../model/certificate.ts';
import { keyOf, PREFIX } from '../../model/keys.ts';
import { machineWaitsFor, nextPhase, oldWaitsFor } from '../../plan/duties/authority-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Certifier, IdentityLink, MachineRef } from '../../ports/identity-link.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore, Snapshot } from '../../ports/store.ts';

export interface CertificateKeeperPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'snapshot' | 'commit' | 'leads' | 'term'>;
  readonly identities: IdentityLink;
  readonly certifier: Certifier;
  /** The time between two rounds, in ms; by default as in production. */
  readonly intervalMs?: number | undefined;
}

const INTERVAL_MS = 10_000;
/** The delay after a denial, in ms: several changes at one moment share one round. */
const SOON_MS = 20;
const CALL_MS = 3_000;
const VISITS_MAX = 32;
/** Machines that did not answer are asked apart from the others, who hear of what is denied at once. */
const SILENT_VISITS_MAX = 8;
/** A machine that did not answer is asked again after this, in ms. */
const AGAIN_MS = 10_000;
/** A machine that was asked is asked again after this time, in ms: it may have been restored from a backup. */
const LOOK_MS = 600_000;
/**
 * A machine that did not take its certificate is asked again after `AGAIN_MS`, then after twice as long, up to this
 * time, in ms.
 */
const REFUSED_MS_MAX = 3_600_000;
/** Knowledge of a removed machine is dropped after this time, in ms: all of its certificates have ended by then. */
const FORGOTTEN_MS = 92 * 86_400_000;

/** A machine, and where it is. */
interface Member extends MachineRef {
  /** Common name of its identity. */
  readonly id: string;
  readonly address: string;
}

/** A machine's last report, or that it did not answer. */
interface Seen {
  readonly identity: MachineIdentity | null;
  readonly isSilent: boolean;
  /** Monotonic ms. */
  readonly nextAt: number;
  /** Set while it does not take what it is given. */
  readonly refused: Refused | null;
}

/** How often in a row a machine did not take its certificate; which trust it was offered last, and when. */
interface Refused {
  readonly times: number;
  readonly tag: string;
  /** Monotonic ms. */
  readonly at: number;
}

/** A certificate that was recorded, and that its machine has not taken yet. */
interface Held {
  readonly certPem: string;
  readonly issued: IssuedCertificate;
}

const NOBODY = { vm: null, vmName: null, host: null, generation: null } as const;

/** See the module's comment. One for each term, from `start` to `stop`. */
export class CertificateKeeper {
  readonly #ports: CertificateKeeperPorts;
  readonly #seen = new Map<string, Seen>();
  /** Certificates by identity: given again instead of issuing another one. */
  readonly #held = new Map<string, Held>();
  readonly #warned = new Set<string>();
  #cancel: (() => void) | null = null;
  #isBusy = false;
  #isAskingSilent = false;
  #again = false;
  #isStopped = false;

  constructor(ports: CertificateKeeperPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#after(SOON_MS);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** The record of a machine, or of its certificates, changed. */
  wake(): void {
    if (this.#isBusy) this.#again = true;
    else this.#after(SOON_MS);
  }

  /** A machine's report about itself in this term; null if it has not answered. */
  identityOf(id: string): MachineIdentity | null {
    return this.#seen.get(id)?.identity ?? null;
  }

  /** The faults of machines' certificates, each with its identity. */
  findings(): readonly { readonly about: string; readonly message: string }[] {
    const { store, clock } = this.#ports;
    return membersIn(store.snapshot).flatMap(({ id, kind, name }) => {
      const used = this.identityOf(id)?.certificate ?? store.snapshot.certificates.get(id)?.value.issued.at(-1);
      const message = used === undefined ? null : certificateFinding(`${kind} ${name}`, used, clock.wallMs());
      return message === null ? [] : [{ about: name, message }];
    });
  }

  #after(delayMs: number): void {
    this.#cancel?.();
    if (!this.#isStopped) this.#cancel = this.#ports.clock.after(delayMs, () => void this.#round());
  }

  async #round(): Promise<void> {
    const { log, intervalMs = INTERVAL_MS } = this.#ports;
    this.#isBusy = true;
    this.#again = false;
    try {
      await this.#sweep();
      await this.#visitAll();
      await this.#advance();
      await this.#warn();
    } catch (error) {
      log.warn('the certificates of machines could not be looked after', { error: messageOf(error) });
    }
    this.#isBusy = false;
    this.#after(this.#again ? SOON_MS : intervalMs);
  }

  /** A machine whose record is gone was removed; one that was removed long ago is forgotten. */
  async #sweep(): Promise<void> {
    const { store, clock } = this.#ports;
    const { snapshot } = store;
    const members = new Set(membersIn(snapshot).map(({ id }) => id));
    const now = clock.wallMs();
    for (const { value, revision } of snapshot.certificates.values()) {
      const { id, removed, denied } = value;
      // Records that were written together with this one may not be here yet.
      if (this.#isStopped || revision > snapshot.completeRevision) continue;
      if (removed === null && !members.has(id) && !isUnreadable(snapshot, id))
        await this.#put(id, withRemoved(value, id, { by: 'the leader', tunnel: null, now }));
      const isOver = removed !== null && denied.length === 0 && now > removed.at + FORGOTTEN_MS;
      if (isOver) await this.#put(id, null);
    }
  }

  async #visitAll(): Promise<void> {
    const { store, clock } = this.#ports;
    const trust = this.#trust();
    const members = membersIn(store.snapshot);
    const known = new Set(members.map(({ id }) => id));
    for (const map of [this.#seen, this.#held]) for (const id of map.keys()) if (!known.has(id)) map.delete(id);
    const nowMs = clock.monotonicMs();
    const due = members.filter(({ id }) => {
      const seen = this.#seen.get(id);
      if (seen === undefined || nowMs >= seen.nextAt) return true;
      // Machines are told of new denials soon, even a machine that has taken nothing for long.
      const { refused } = seen;
      if (refused !== null) return refused.tag !== trust.tag && nowMs >= refused.at + AGAIN_MS;
      return (
        !seen.isSilent && seen.identity !== null && (seen.identity.trust !== trust.tag || this.#isDue(seen.identity))
      );
    });
    const isSilent = ({ id }: Member): boolean => this.#seen.get(id)?.isSilent === true;
    if (!this.#isAskingSilent) {
      this.#isAskingSilent = true;
      void this.#visitEach(due.filter(isSilent), { trust, atOnce: SILENT_VISITS_MAX }).finally(() => {
        this.#isAskingSilent = false;
      });
    }
    await this.#visitEach(
      due.filter((one) => !isSilent(one)),
      { trust, atOnce: VISITS_MAX },
    );
  }

  async #visitEach(
    members: readonly Member[],
    { trust, atOnce }: { readonly trust: Trust; readonly atOnce: number },
  ): Promise<void> {
    const visits = members.values();
    const lane = async (): Promise<void> => {
      for (const one of visits) {
        if (this.#isStopped || !this.#ports.store.leads()) return;
        await this.#visit(one, trust);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, members.length) }, lane));
  }

  async #visit(member: Member, trust: Trust): Promise<void> {
    const { identities, store, clock, log } = this.#ports;
    const { id } = member;
    const before = this.#seen.get(id);
    let hasGiven = false;
    try {
      const said = await identities.read(member, { deadlineMs: CALL_MS });
      if (store.snapshot.certificates.get(id)?.value.removed != null) return;
      const { certificate, fault } = await this.#certificateFor(member, said).then(
        (made) => ({ certificate: made, fault: null }),
        (error: unknown) => ({ certificate: null, fault: asError(error) }),
      );
      // Whether or not there is a certificate for it, a machine is told whom to refuse; a machine that was removed is
      // told nothing.
      if (fault !== null && !this.#isGood(id)) throw fault;
      const authority = this.#authorityFor(member, said);
      if (certificate !== null || said.trust !== trust.tag || authority !== undefined) {
        if (!store.leads()) return;
        hasGiven = true;
        const certPem = certificate?.certPem ?? null;
        await identities.give(member, { term: store.term, certPem, trust, authority }, { deadlineMs: CALL_MS });
      }
      if (fault !== null) throw fault;
      const isSame = certificate === null && authority === undefined;
      const now = isSame ? { ...said, trust: trust.tag } : await identities.read(member, { deadlineMs: CALL_MS });
      if (certificate !== null && now.certificate.serial !== certificate.issued.serial)
        throw new CodedError('failed', `${id} does not use the certificate that it was given.`);
      if (certificate !== null) log.info('a certificate was renewed', { machine: id });
      this.#held.delete(id);
      this.#seen.set(id, { identity: now, isSilent: false, nextAt: clock.monotonicMs() + LOOK_MS, refused: null });
    } catch (error) {
      const at = clock.monotonicMs();
      const times = (before?.refused?.times ?? 0) + 1;
      const refused = hasGiven ? { times, tag: trust.tag, at } : (before?.refused ?? null);
      const pauseMs = hasGiven ? Math.min(AGAIN_MS * 2 ** (times - 1), REFUSED_MS_MAX) : AGAIN_MS;
      this.#seen.set(id, { identity: before?.identity ?? null, isSilent: true, nextAt: at + pauseMs, refused });
      const isOld = error instanceof CodedError && error.code === 'not-found';
      if (hasGiven && times === 1)
        log.warn('a machine does not take its certificate; this is tried again', {
          machine: id,
          error: messageOf(error),
        });
      else if (before === undefined && !isOld)
        log.info('a machine says nothing about its certificate', { machine: id, error: messageOf(error) });
    }
  }

  /**
   * The certificate that a machine is to have instead of its own: a certificate that it has not taken yet, or a new
   * one.
   */
  async #certificateFor(member: Member, said: MachineIdentity): Promise<Held | null> {
    const { store } = this.#ports;
    const { id } = member;
    const record = store.snapshot.certificates.get(id)?.value;
    const isKnown = record?.issued.some(({ serial }) => serial === said.certificate.serial) === true;
    if (isKnown && !this.#isDue(said)) return null;
    const held = this.#held.get(id);
    // A certificate that was denied in the meantime, because the machine joined again, is for a key that the machine no
    // longer has.
    const isGood = held !== undefined && record?.issued.some(({ serial }) => serial === held.issued.serial) === true;
    if (isGood && held.issued.serial !== said.certificate.serial && !this.#isDue({ certificate: held.issued }))
      return held;
    const renewed = await this.#renew(member, said);
    this.#held.set(id, renewed);
    return renewed;
  }

  #isDue({ certificate }: Pick<MachineIdentity, 'certificate'>): boolean {
    const { certifier, clock } = this.#ports;
    return isRenewalDue(certificate, clock.wallMs()) || certificate.authority !== certifier.issuer;
  }

  /** Returns a certificate that was recorded. CodedError 'conflict' if the machine's record changed in the meantime. */
  async #renew(member: Member, { requestPem, certificate }: MachineIdentity): Promise<Held> {
    const { certifier, store, clock } = this.#ports;
    const { id, address } = member;
    const good = store.snapshot.certificates.get(id)?.value.issued ?? [];
    if (good.filter(({ notAfter }) => notAfter > clock.wallMs()).length >= ISSUED_MAX)
      throw new CodedError('conflict', `${id} does not take the certificates that it is given.`);
    const { certPem, issued } = await certifier.certify(member, requestPem, address);
    const now = clock.wallMs();
    const before = store.snapshot.certificates.get(id)?.value;
    if (!this.#isGood(id)) throw new CodedError('conflict', `${id} was removed.`);
    // A certificate that the record does not know (an older version issued it, or etcd was restored) is good until it
    // ends, and can be denied from now on. A number that belongs to another identity is not believed.
    const isAdopted = !hasSerial(before, certificate) && !this.#isOfAnother(id, certificate);
    const adopted = isAdopted ? withSaid(before, id, { said: certificate, now }) : before;
    if (!(await this.#put(id, withIssued(adopted, id, { issued, now }))))
      throw new CodedError('conflict', `The record of ${id} changed in the meantime.`);
    return { certPem, issued };
  }

  /** Whether a machine is a member that was not removed. */
  #isGood(id: string): boolean {
    const { snapshot } = this.#ports.store;
    const removed = snapshot.certificates.get(id)?.value.removed ?? null;
    return removed === null && membersIn(snapshot).some((one) => one.id === id);
  }

  /** Whether another identity's record has the serial number. */
  #isOfAnother(id: string, certificate: IssuedCertificate): boolean {
    for (const { value } of this.#ports.store.snapshot.certificates.values())
      if (value.id !== id && hasSerial(value, certificate)) return true;
    return false;
  }

  async #put(id: string, value: CertificateRecord | null): Promise<boolean> {
    const { store } = this.#ports;
    if (!store.leads()) return false;
    return (await store.commit({ changes: [{ kind: 'certificate', id, value }], events: [] })) === 'committed';
  }

  /**
   * The authority that a control node lacks; undefined if it lacks none, if its key is not here, and for every other
   * kind of machine, whatever it reports: whoever has the key can take any identity.
   */
  #authorityFor({ kind }: Member, { authorities }: MachineIdentity): IdentityOrder['authority'] {
    if (kind !== 'control') return undefined;
    const { store, certifier } = this.#ports;
    const record = store.snapshot.authorities.get(AUTHORITIES)?.value;
    const next = record?.phase === 'steady' ? undefined : record?.authorities.at(-1);
    if (authorities === undefined || next === undefined || authorities.includes(next.id)) return undefined;
    return certifier.keyOf(next.id) ?? undefined;
  }

  /**
   * The conditions that a change of the authority waits for, as sentences. Empty: it waits for nothing, or there is no
   * change.
   */
  rotationWaitsFor(): readonly string[] {
    const { store, clock } = this.#ports;
    const { snapshot } = store;
    const record = snapshot.authorities.get(AUTHORITIES)?.value;
    if (record === undefined || record.phase === 'steady') return [];
    const { tag } = this.#trust();
    const machines = membersIn(snapshot).flatMap((one) => {
      const seen = this.#seen.get(one.id);
      const said = seen === undefined || seen.isSilent ? null : seen.identity;
      const what = machineWaitsFor(record, { kind: one.kind, said, tag });
      return what === null ? [] : [`${one.kind} ${one.name} ${what}.`];
    });
    return record.phase === 'trusting' ? machines : [...machines, ...oldWaitsFor(record, snapshot, clock.wallMs())];
  }

  /** Continues a change of the authority (model/authorities.ts) when nothing is left to wait for. */
  async #advance(): Promise<void> {
    const { store, clock, log } = this.#ports;
    const { snapshot } = store;
    const record = snapshot.authorities.get(AUTHORITIES)?.value;
    if (record === undefined || this.#isStopped || !store.leads()) return;
    const now = clock.wallMs();
    const next = nextPhase(record, {
      vms: Array.from(snapshot.vms.values(), ({ value }) => value),
      waits: this.rotationWaitsFor().length > 0,
      now,
    });
    if (next === null) return;
    const events = next.message === null ? [] : [{ at: now, kind: 'authority', ...NOBODY, message: next.message }];
    const changes = [{ kind: 'authority', id: AUTHORITIES, value: next.record } as const];
    if ((await store.commit({ changes, events })) !== 'committed') return;
    if (next.message !== null) log.info(next.message, {});
    this.#again = true;
  }

  /** The trust that every machine is told now. Its tag follows from the newest record that it depends on. */
  #trust(): Trust {
    const { store, clock, certifier } = this.#ports;
    const records = [...store.snapshot.certificates.values()];
    const denied = deniedBy(
      records.map(({ value }) => value),
      clock.wallMs(),
    );
    const isDenying = ({ value: { removed, denied: some } }: (typeof records)[number]): boolean =>
      removed !== null || some.length > 0;
    const newest = records.filter(isDenying).reduce((most, { revision }) => Math.max(most, revision), 0);
    const counts = `${denied.identities.length}.${denied.certificates.length}`;
    return { tag: `${certifier.bundle}-${newest}-${counts}`, caPem: certifier.caPem, denied };
  }

  /** An event, once in a term, for each certificate that ends soon. */
  async #warn(): Promise<void> {
    const { store, clock, log } = this.#ports;
    const found = this.findings();
    const names = new Set(found.map(({ about }) => about));
    for (const name of this.#warned) if (!names.has(name)) this.#warned.delete(name);
    const fresh = found.filter(({ about }) => !this.#warned.has(about));
    if (fresh.length === 0 || this.#isStopped || !store.leads()) return;
    for (const { about, message } of fresh) {
      this.#warned.add(about);
      log.warn(message, { machine: about });
    }
    const at = clock.wallMs();
    const message =
      fresh.length === 1 && fresh[0] !== undefined
        ? fresh[0].message
        : `The certificates of ${fresh.length} machines end in less than ${CERTIFICATE_DAYS_LEFT_MIN} days, of ${fresh[0]?.about} among them. See the alarms (gp cluster show).`;
    await store.commit({ changes: [], events: [{ at, kind: 'certificate-ending', ...NOBODY, message }] });
  }
}

/** Returns the machines of the cluster in all their roles: those first that serve data. */
function membersIn({ hosts, storage, controls }: Pick<Snapshot, 'hosts' | 'storage' | 'controls'>): readonly Member[] {
  const members: Member[] = [];
  for (const { value } of storage.values())
    if (value.lost === undefined) members.push(member('storage', value.name, value.addresses.control));
  for (const { value } of controls.values()) members.push(member('control', value.name, value.address));
  for (const { value } of hosts.values())
    if (value.lost === undefined) members.push(member('host', value.name, value.addresses.control));
  return members;
}

function member(kind: MachineRef['kind'], name: string, address: string): Member {
  return { kind, name, address, id: `${kind}:${name}` };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}

/** Whether a record has a certificate of this number, good or denied. */
function hasSerial(record: CertificateRecord | undefined, { serial }: Pick<IssuedCertificate, 'serial'>): boolean {
  return record !== undefined && [...record.issued, ...record.denied].some((one) => one.serial === serial);
}

/** Whether the record of the machine exists and cannot be read: then the machine is a member. */
function isUnreadable({ unreadable }: Pick<Snapshot, 'unreadable'>, id: string): boolean {
  const [kind = '', name = ''] = id.split(':');
  const key =
    kind === 'host' ? keyOf.host(name as never) : `${kind === 'storage' ? PREFIX.storage : PREFIX.control}${name}`;
  return unreadable.has(key);
}
