/**
 * Changing a host (cordoned or not, its rack), and taking it out of the cluster. Its record and its join token are
 * removed; its machine is not told.
 * Guarantees: no VM's record names a host that is removed; a host that may still run an old generation is not
 * forgotten, unless a person confirms that its machine is off, because the other hosts drop its tunnels only while its
 * record says so.
 */
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { HostRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { expectedIncarnations, type VmRecord } from '../model/vm.ts';
import { demandUsersKnown } from '../plan/vm/unreadable.ts';
import type { Change, Entry } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, type Observed, type OfRevision } from './basis.ts';
import { removedCertificates } from './member-certificates.ts';

export interface HostRemoval extends OfRevision {
  readonly name: string;
  /** A person confirms that its machine is off for good. */
  readonly isOff: boolean;
  /** Name of the API token of the request. */
  readonly by: string;
}

/** The changes of a host; absent: unchanged. */
export interface HostChange extends OfRevision {
  readonly name: string;
  /** No VM is placed on it. */
  readonly cordoned?: boolean | undefined;
  /** Its rack; null: the host is a rack of its own. */
  readonly rack?: string | null | undefined;
}

/** Cordons a host or uncordons it, says in which rack it is. CodedError 'not-found', 'stale-revision'. */
export function changeHost(basis: Basis, { name, cordoned, rack, ifMatch }: HostChange): Admitted<null> {
  const { value } = findHost(basis, name, ifMatch);
  const changed: HostRecord = {
    ...value,
    cordoned: cordoned ?? value.cordoned,
    rack: rack === undefined ? (value.rack ?? null) : rack,
  };
  return { changes: [{ kind: 'host', id: value.name, value: changed }], result: null };
}

/**
 * Removes a cordoned host. CodedError 'not-found', 'stale-revision', or 'conflict': it is not cordoned, it has VMs, or
 * it may still run an old generation. Cordoning is a request of its own because a placement that was decided just
 * before it is committed just after it.
 */
export function removeHost(
  basis: Basis,
  observed: Observed | null,
  { name, ifMatch, isOff, by }: HostRemoval,
): Admitted<null> {
  const { value: host } = findHost(basis, name, ifMatch);
  refuse(basis, observed, { host, isOff });
  // A token from before would bring it back.
  const tokens = [...recordsOf(basis.records.tokens)].filter(
    (token) => token.kind === 'join' && token.role === 'host' && token.name === name,
  );
  const changes: Change[] = [
    { kind: 'host', id: host.name, value: null },
    removedCertificates(basis, { kind: 'host', name: host.name }, by),
    ...tokens.map(({ id }): Change => ({ kind: 'token', id, value: null })),
  ];
  return { changes, result: null };
}

function findHost({ records }: Basis, name: string, ifMatch: string | null): Entry<HostRecord> {
  const entry = records.hosts.get(name as HostName);
  if (entry === undefined)
    throw new CodedError('not-found', `There is no host ${name}.`, { advice: 'Nothing was changed.' });
  checkRevision(entry, ifMatch, `Host ${name}`);
  return entry;
}

function refuse(
  { records }: Basis,
  observed: Observed | null,
  { host: { name, cordoned, quarantine }, isOff }: { readonly host: HostRecord; readonly isOff: boolean },
): void {
  demandUsersKnown(records.unreadable);
  const here = [...recordsOf(records.vms)].filter((vm) => isNamed(vm, name));
  if (here.length > 0) {
    const names = here.map((vm) => vm.name).sort();
    throw new CodedError('conflict', `VMs are on ${name}: ${listed(names)}.`, {
      advice: 'Nothing was changed. Migrate them away (gp vm migrate), or stop them.',
    });
  }
  if (!cordoned)
    throw new CodedError('conflict', `${name} is not cordoned: a VM could be placed there at this moment.`, {
      advice: `Nothing was changed. First: gp host cordon ${name}.`,
    });
  if (isOff) return;
  const doubt = doubtOf(quarantine, observed?.observer.see(name));
  if (doubt === null) return;
  throw new CodedError('conflict', `${name} may still run something of an old generation: ${doubt}.`, {
    advice: `Nothing was changed. Bring it back, so that it is cleaned up; or, if its machine is off for good: gp host remove ${name} --off.`,
  });
}

/** Whether the VM is on the host, comes from it, is on its way to it, or was asked to go there. */
function isNamed({ phase, migrationRequest }: VmRecord, host: string): boolean {
  return migrationRequest?.to === host || expectedIncarnations(phase).some((incarnation) => incarnation.host === host);
}

function doubtOf(
  quarantine: HostRecord['quarantine'],
  seen: { readonly agent: string; readonly occupiedSlots: readonly number[] } | undefined,
): string | null {
  if (quarantine !== null) return 'it is quarantined since VMs were lost there';
  if (seen?.agent !== 'alive') return 'its agent does not answer';
  return seen.occupiedSlots.length > 0 ? 'its agent reports processes that are being ended' : null;
}
