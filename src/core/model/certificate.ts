/**
 * The cluster's records of the certificates that it issued to its machines. One record for each identity, in etcd, from
 * the first certificate on: it outlives the machine's own record, because a machine that was removed keeps its key.
 */

import type { Denied, DeniedCertificate, IssuedCertificate } from '../../base/machine-identity.ts';

/** The certificates of one identity of a machine. */
export interface CertificateRecord {
  /** The identity's common name, such as `host:h1`. */
  readonly id: string;
  /** The ones that are good, the newest last. Those that ended are left out. */
  readonly issued: readonly IssuedCertificate[];
  /** The ones that are refused although they have not ended. */
  readonly denied: readonly IssuedCertificate[];
  /** Set when the machine was removed: the whole identity is refused until it joins again. Null: it is a member. */
  readonly removed: {
    readonly at: number;
    readonly by: string;
    /**
     * Overlay address of a host that was declared lost: if its machine runs all the same, its guests may still speak
     * there, so that every host drops it until a member has the address. Absent: nothing is dropped.
     */
    readonly tunnel?: string;
  } | null;
}

/** Life of a machine's certificate, in days; it is renewed after two thirds of it. */
export const MACHINE_CERTIFICATE_DAYS = 90;
/**
 * Life of an incarnation's certificate, in days: its QEMU keeps the one that it was started with, so that it is renewed
 * by a move or a start. Longer than a year, in which every host is usually drained once.
 */
export const INCARNATION_CERTIFICATE_DAYS = 400;
/** With so many days left a VM is moved by the leader, if nobody moved it before. */
export const INCARNATION_DAYS_LEFT_MOVED = 60;
/** The most certificates of one identity that are denied at a time. */
export const DENIED_PER_IDENTITY_MAX = 256;
/** The most good certificates of one identity: more are not issued, because each must be deniable. */
export const ISSUED_MAX = 64;

/** Returns what is denied by these records at a time (Unix ms). */
export function deniedBy(records: Iterable<CertificateRecord>, now: number): Denied {
  const identities: string[] = [];
  const certificates: DeniedCertificate[] = [];
  for (const { id, denied, removed } of records) {
    if (removed !== null) identities.push(id);
    for (const { serial, notAfter } of denied) if (notAfter > now) certificates.push({ id, serial });
  }
  return { identities, certificates };
}

/** Returns the record with one certificate more: the machine is a member. */
export function withIssued(
  before: CertificateRecord | undefined,
  id: string,
  { issued, now }: { readonly issued: IssuedCertificate; readonly now: number },
): CertificateRecord {
  const good = (before?.issued ?? []).filter(({ notAfter }) => notAfter > now);
  return {
    id,
    issued: [...good, issued],
    denied: present(before?.denied ?? [], now),
    removed: null,
  };
}

/**
 * Returns the record of a machine that joins, perhaps again: certificates that were issued to its name before are
 * denied, because it is unknown where their keys are.
 */
export function withJoined(
  before: CertificateRecord | undefined,
  id: string,
  { issued, now }: { readonly issued: IssuedCertificate; readonly now: number },
): CertificateRecord {
  // A join whose answer was lost is decided again with the same certificate, which must not be denied by that.
  const earlier = [...(before?.denied ?? []), ...(before?.issued ?? [])].filter(
    ({ serial }) => serial !== issued.serial,
  );
  return { id, issued: [issued], denied: present(earlier, now), removed: null };
}

/**
 * Returns the record of a machine that is removed: its identity and all its certificates are denied. `tunnel`: overlay
 * address of a host that was declared lost; null: none.
 */
export function withRemoved(
  before: CertificateRecord | undefined,
  id: string,
  { by, tunnel, now }: { readonly by: string; readonly tunnel: string | null; readonly now: number },
): CertificateRecord {
  const denied = [...(before?.denied ?? []), ...(before?.issued ?? [])];
  const removed = { at: now, by, ...(tunnel === null ? {} : { tunnel }) };
  return { id, issued: [], denied: present(denied, now), removed };
}

/** Returns the overlay addresses of hosts that were declared lost and have not joined again since. */
export function tunnelsOfLost(records: Iterable<CertificateRecord>): ReadonlySet<string> {
  const tunnels = new Set<string>();
  for (const { removed } of records) if (removed?.tunnel !== undefined) tunnels.add(removed.tunnel);
  return tunnels;
}

function present(denied: readonly IssuedCertificate[], now: number): readonly IssuedCertificate[] {
  return denied.filter(({ notAfter }) => notAfter > now);
}

/**
 * Returns the record with a certificate that was unknown and that its machine reports: it can be denied from now on.
 * The report is believed for the machine's own name only, and for no longer than a certificate can last.
 */
export function withSaid(
  before: CertificateRecord | undefined,
  id: string,
  { said, now }: { readonly said: IssuedCertificate; readonly now: number },
): CertificateRecord {
  const notAfter = Math.min(said.notAfter, now + LIFE_MS_MAX);
  return withIssued(before, id, { issued: { ...said, notAfter }, now });
}

/** Whether a certificate is to be renewed: two thirds of its life are over, or it lasts longer than allowed. */
export function isRenewalDue({ notBefore, notAfter }: IssuedCertificate, now: number): boolean {
  const lifeMs = notAfter - notBefore;
  return now >= notBefore + (lifeMs * 2) / 3 || lifeMs > LIFE_MS_MAX;
}

const DAY_MS = 86_400_000;
/** The longest life that a machine's certificate should have, in ms. */
const LIFE_MS_MAX = (MACHINE_CERTIFICATE_DAYS + 1) * DAY_MS;
/** Below this many days left a certificate is an alarm: its renewal must have failed for some time. */
export const CERTIFICATE_DAYS_LEFT_MIN = 30;

/** Returns true if a VM is to be moved because the certificate of its incarnation ends. `endsAt`, `now`: Unix ms. */
export function isMoveDue(endsAt: number, now: number): boolean {
  return endsAt - now < INCARNATION_DAYS_LEFT_MOVED * DAY_MS;
}

/**
 * Returns the alarm about the certificate of an incarnation, as a sentence; null while the leader has time to move the
 * VM. `why`: what kept the leader from moving it; null: nothing so far.
 */
export function incarnationFinding(
  name: string,
  { endsAt, why }: { readonly endsAt: number; readonly why: string | null },
  now: number,
): string | null {
  if (!isMoveDue(endsAt, now) || (why === null && endsAt - now >= CERTIFICATE_DAYS_LEFT_MIN * DAY_MS)) return null;
  const when = endsAt < now ? 'has ended' : `ends on ${new Date(endsAt).toISOString().slice(0, 10)}`;
  const because = why === null ? '' : ` It could not be moved: ${why}`;
  return (
    `The certificate with which VM ${name} runs ${when}; after that a lost connection to its disk does not come back, ` +
    `and it cannot be managed.${because} Move it (gp vm migrate ${name}), or stop and start it.`
  );
}

/** Returns what is wrong with how long a certificate lasts, as a sentence; null if it is long enough. */
export function certificateFinding(
  who: string,
  { notBefore, notAfter }: IssuedCertificate,
  now: number,
): string | null {
  // A renewal is due with this much left, and has a day to succeed; certificates of short lives have less.
  const leftMsMin = Math.min((CERTIFICATE_DAYS_LEFT_MIN - 1) * DAY_MS, (notAfter - notBefore) * 0.32);
  if (notAfter - now >= leftMsMin) return null;
  const days = Math.floor((notAfter - now) / DAY_MS);
  const when = days < 0 ? 'has ended' : `ends in ${days} days`;
  return `The certificate of ${who} ${when}: it could not be renewed. See that the machine runs and answers, or let it join again.`;
}
