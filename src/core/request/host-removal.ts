/**
 * Removal of a host: one that is empty, or one that is permanently gone, with what ran on it.
 *
 * Guarantees: no VM's record names a host that was removed as an empty one, and nothing of an old generation runs there.
 * A host is declared lost with confirmation only, and not while its agent or its kernel answers; after that transaction
 * its VMs count as lost, everything that its machine has is denied, its tunnel is dropped and nothing is placed on it;
 * its record goes once all of its VMs are fenced and run elsewhere, or are stopped (plan/hosts/lost-host-decision.ts).
 * Its tunnel stays dropped after that. Repeating the request says how far that is.
 */
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { EventRecord, HostRecord } from '../model/cluster.ts';
import type { HostObservation } from '../model/observation.ts';
import { currentIncarnation, type VmRecord } from '../model/vm.ts';
import { type RemovalWait, removalWait } from '../plan/hosts/lost-host-decision.ts';
import { demandUsersKnown } from '../plan/vm/unreadable.ts';
import { LOST_ROUNDS } from '../plan/vm/verdict.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, type Observed, type OfRevision } from './basis.ts';
import { findHost } from './drains.ts';
import { removedCertificates } from './member-certificates.ts';
import { withoutJoinTokens } from './tokens.ts';

export interface HostRemoval extends OfRevision {
  readonly name: string;
  /** The request says that the host is permanently gone. */
  readonly isLost: boolean;
  /** The request confirms what was listed before. */
  readonly isConfirmed: boolean;
  /** Name of the API token of the request. */
  readonly by: string;
}

/** What the removal of a host does. */
export interface HostLoss {
  readonly host: HostName;
  /** False: its record goes once its VMs are fenced. */
  readonly isRemoved: boolean;
  /** How many VMs that waits for. */
  readonly vmCount: number;
  /** What becomes of the first of them, by name. */
  readonly vms: readonly { readonly vm: string; readonly what: string }[];
}

/** The most VMs in an answer; their number is beside them. */
const VMS_MAX = 1_000;
/** VMs that a message names with what becomes of them. */
const VMS_IN_WORDS_MAX = 10;

/**
 * Removes a cordoned host that is empty, or declares a host lost. CodedError 'not-found', 'stale-revision'; 'conflict':
 * the host is not cordoned, VMs are there, or it may still run something; or, to be declared lost, it answers or
 * `isConfirmed` is false; 'unavailable': the leader does not know yet whether it answers. Cordoning is a request of its
 * own because a placement that was decided just before it is committed just after it.
 */
export function removeHost(
  basis: Basis,
  observed: Observed | null,
  { name, ifMatch, isLost, isConfirmed, by }: HostRemoval,
): Admitted<HostLoss> {
  const entry = findHost(basis, name);
  checkRevision(entry, ifMatch, `Host ${name}`);
  const host = entry.value;
  const waitsFor = removalWait(basis.index, basis.records.unreadable, host.name);
  const loss = hostLossOf(basis, host, waitsFor);
  const words = lossWords(loss, waitsFor?.unreadable ?? null);
  if (host.lost !== undefined) return { changes: [], result: loss };
  if (!isLost) {
    refuseInUse(basis, observed, host);
    const message = `Host ${name} was removed by ${by}. Nothing was on it.`;
    return {
      changes: removal(basis, host, { by, tunnel: null }),
      events: [eventOf(basis, { host: host.name, kind: 'host-removed', message })],
      result: { ...loss, isRemoved: true },
    };
  }
  demandGone(host.name, observed?.observer.see(host.name));
  if (!isConfirmed)
    throw new CodedError(
      'conflict',
      `To declare host ${name} lost gives up what runs there. Its certificate is denied, and its tunnel dropped. ${words}`,
      { advice: `Nothing was changed. If its machine is gone for good: gp host remove ${name} --lost --yes.` },
    );
  const told = `Host ${name} was declared lost by ${by}.`;
  const changes = removal(basis, host, { by, tunnel: host.addresses.overlay });
  if (waitsFor === null) {
    const message = `${told} Nothing was on it: it is removed.`;
    const event = eventOf(basis, { host: host.name, kind: 'host-removed', message });
    return { changes, events: [event], result: { ...loss, isRemoved: true } };
  }
  const quarantine = host.quarantine ?? { since: basis.now, reason: `declared lost by ${by}` };
  const lost: HostRecord = { ...host, cordoned: true, quarantine, lost: { at: basis.now, by } };
  return {
    changes: changes.map((change) => (change.kind === 'host' ? { ...change, value: lost } : change)),
    events: [eventOf(basis, { host: host.name, kind: 'host-lost', message: `${told} ${words}` })],
    result: loss,
  };
}

/** What goes with a host: its record, what it could join with, and everything that its machine has. */
function removal(
  { records, now }: Basis,
  { name }: HostRecord,
  denial: { readonly by: string; readonly tunnel: string | null },
): Change[] {
  return [
    { kind: 'host', id: name, value: null },
    removedCertificates({ records, now }, { kind: 'host', name }, denial),
    ...withoutJoinTokens(records, { role: 'host', name }),
  ];
}

function eventOf(
  { now: at }: Basis,
  { host, kind, message }: Pick<EventRecord, 'host' | 'kind' | 'message'>,
): EventRecord {
  return { at, kind, vm: null, vmName: null, host, generation: null, message };
}

/** Lists the VMs of a host, with what becomes of each if the host is lost. */
function hostLossOf({ index }: Basis, { name }: HostRecord, waitsFor: RemovalWait | null): HostLoss {
  const ids: readonly VmId[] = waitsFor?.vms ?? [];
  const vms = ids
    .flatMap((id) => index.vm(id) ?? [])
    .map((vm) => ({ vm: vm.name, what: fateOf(vm, name) }))
    .sort((a, b) => (a.vm < b.vm ? -1 : 1));
  return { host: name, isRemoved: false, vmCount: vms.length, vms: vms.slice(0, VMS_MAX) };
}

/** What becomes of a VM when a host that its record names is lost. */
function fateOf({ phase, spec, intent, deleting, stopRequest }: VmRecord, host: HostName): string {
  const at = currentIncarnation(phase);
  if (at === null || at.host !== host) return `it stays on ${at?.host ?? 'no host'}, and what is on ${host} is fenced`;
  if (deleting) return 'it is fenced, and deleted';
  if (intent === 'stopped' || stopRequest !== null) return 'it is fenced, and stopped';
  if (spec.restartPolicy === 'never') return 'it is fenced, and stays stopped: it is never restarted';
  if (spec.pin === host)
    return `it is pinned to ${host}: it starts nowhere until that is taken away (gp vm set --no-pin)`;
  return 'it is fenced, and starts from its disks elsewhere, where a host has room';
}

/** What is lost with a host, in words. `unreadable`: a record that may name the host, as a sentence; null: none. */
function lossWords({ vmCount, vms }: HostLoss, unreadable: string | null): string {
  if (vmCount === 0) return unreadable ?? 'No VM is there.';
  const told = vms.map(({ vm, what }) => `${vm} (${what})`);
  const known = `${counted(vmCount, 'VM')} there: ${listed(told, VMS_IN_WORDS_MAX)}.`;
  return unreadable === null ? known : `${known} ${unreadable}`;
}

function refuseInUse(
  { records, index }: Basis,
  observed: Observed | null,
  { name, cordoned, quarantine }: HostRecord,
): void {
  demandUsersKnown(records.unreadable);
  const here = [...new Set([...index.vmsOn(name), ...index.askedTo(name)])].flatMap((id) => index.vm(id) ?? []);
  const doubt = doubtOf(quarantine, observed?.observer.see(name));
  const gone = doubt === null ? '' : ` If its machine is gone for good: gp host remove ${name} --lost.`;
  if (here.length > 0) {
    const names = here.map((vm) => vm.name).sort();
    throw new CodedError('conflict', `VMs are on ${name}: ${listed(names)}.`, {
      advice: `Nothing was changed. Migrate them away (gp vm migrate), or stop them.${gone}`,
    });
  }
  const unfenced = [...index.unfencedOn(name)].flatMap((id) => index.vm(id)?.name ?? []);
  if (unfenced.length > 0)
    throw new CodedError('conflict', `What ran on ${name} may not be fenced yet: ${listed(unfenced.sort())}.`, {
      advice: `Nothing was changed. Try again once these VMs run elsewhere.${gone}`,
    });
  if (!cordoned)
    throw new CodedError('conflict', `${name} is not cordoned: a VM could be placed there at this moment.`, {
      advice: `Nothing was changed. First: gp host cordon ${name}.${gone}`,
    });
  if (doubt === null) return;
  throw new CodedError('conflict', `${name} may still run something of an old generation: ${doubt}.`, {
    advice: `Nothing was changed. Bring it back, so that it is cleaned up.${gone}`,
  });
}

function doubtOf(quarantine: HostRecord['quarantine'], seen: HostObservation | undefined): string | null {
  if (quarantine !== null) return 'it is quarantined since VMs were lost there';
  if (seen?.agent !== 'alive') return 'its agent does not answer';
  return seen.occupiedSlots.length > 0 ? 'its agent reports processes that are being ended' : null;
}

/** CodedError 'conflict' for a host that answers; 'unavailable' while that is not known. */
function demandGone(name: HostName, seen: HostObservation | undefined): void {
  if (seen?.agent === 'alive')
    throw new CodedError('conflict', `Host ${name} answers: it is not lost.`, {
      advice: `Nothing was changed. Drain it (gp host drain ${name}), then: gp host remove ${name}.`,
    });
  if (seen?.kernel.kind === 'reachable')
    throw new CodedError(
      'conflict',
      `The kernel of host ${name} answers via ${seen.kernel.via}: its machine runs, and its VMs may.`,
      {
        advice: `Nothing was changed. Its VMs can be migrated without its agent. If it is to go all the same, power its machine off first.`,
      },
    );
  // A leader that has just begun has not tried every path yet.
  if (seen?.agent !== 'silent' || seen.kernel.kind !== 'silent' || seen.kernel.rounds < LOST_ROUNDS)
    throw new CodedError('unavailable', `Whether host ${name} answers is not known yet.`, {
      advice: 'Nothing was changed. Try again in a few seconds.',
    });
}
