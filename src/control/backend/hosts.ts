/**
 * Cordoning a host, and taking it out of the cluster. What is removed is its record and what it could join with; its machine is not told.
 *
 * Guarantees: no VM's record names a host that is removed; a host that may still run something of an old generation is not forgotten,
 * unless somebody answers for it that its machine is off, because the other hosts drop its tunnels only while its record says so.
 */
import { CodedError } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import { expectedIncarnations, type VmRecord } from '../../core/model/vm.ts';
import { demandUsersKnown } from '../../core/plan/vm/unreadable.ts';
import type { Entry } from '../../core/ports/store.ts';
import { ClusterStore, type Write } from '../store/cluster-store.ts';
import { type ChangeContext, change, checkRevision } from './changes.ts';
import type { BackendContext } from './context.ts';

export interface HostRemoval {
  readonly name: string;
  readonly ifMatch: string | null;
  /** Somebody says that its machine is off for good. */
  readonly isOff: boolean;
}

/** Keeps VMs from being placed on a host, or lets them. CodedError 'not-found', 'stale-revision'. */
export function cordonHost(
  context: ChangeContext,
  { name, cordoned, ifMatch }: { readonly name: string; readonly cordoned: boolean; readonly ifMatch: string | null },
): Promise<void> {
  return change(context, () => {
    const entry = find(context, name);
    checkRevision(entry, ifMatch, `Host ${name}`);
    const value: HostRecord = { ...entry.value, cordoned };
    return { writes: [ClusterStore.changed(keyOf.host(value.name), entry, value)], result: undefined };
  });
}

/**
 * Removes a cordoned host. CodedError 'not-found', 'stale-revision', or 'conflict': it is not cordoned, VMs are there, or it may still run
 * something. Cordoning is a request of its own because a placement that was decided just before it is committed just after it.
 */
export function removeHost(context: BackendContext, { name, ifMatch, isOff }: HostRemoval): Promise<void> {
  return change(context, () => {
    const entry = find(context, name);
    checkRevision(entry, ifMatch, `Host ${name}`);
    refuse(context, entry.value, isOff);
    const tokens = [...context.store.tokens.values()].filter(
      ({ value }) => value.kind === 'join' && value.role === 'host' && value.name === name,
    );
    const writes: Write[] = [
      { key: keyOf.host(entry.value.name), value: null, expect: entry.revision },
      // A token from before would bring it back.
      ...tokens.map(({ value }) => ({ key: PREFIX.token + value.id, value: null, expect: null })),
    ];
    return { writes, result: undefined };
  });
}

function find({ store }: ChangeContext, name: string): Entry<HostRecord> {
  const entry = store.hosts.get(name);
  if (entry === undefined)
    throw new CodedError('not-found', `There is no host ${name}.`, { advice: 'Nothing was changed.' });
  return entry;
}

function refuse(context: BackendContext, { name, cordoned, quarantine }: HostRecord, isOff: boolean): void {
  demandUsersKnown(context.store.unreadable);
  const here = [...context.store.vms.values()].map(({ value }) => value).filter((vm) => isNamed(vm, name));
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
  const seen = context.leading()?.controller.observer.see(name);
  const doubt = doubtOf(quarantine, seen);
  if (doubt === null) return;
  throw new CodedError('conflict', `${name} may still run something of an old generation: ${doubt}.`, {
    advice: `Nothing was changed. Bring it back, so that it is cleaned up; or, if its machine is off for good: gp host remove ${name} --off.`,
  });
}

/** Whether the VM is there, comes from there, is on its way there, or was asked to go there. */
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
