/** Changing a host: cordoned or not, its rack. Its removal is in host-removal.ts. */
import { CodedError } from '../../base/errors.ts';
import type { HostRecord } from '../model/cluster.ts';
import { type Admitted, type Basis, checkRevision, type OfRevision } from './basis.ts';
import { findHost } from './drains.ts';

/** The changes of a host; absent: unchanged. */
export interface HostChange extends OfRevision {
  readonly name: string;
  /** No VM is placed on it. */
  readonly cordoned?: boolean | undefined;
  /** Its rack; null: the host is a rack of its own. */
  readonly rack?: string | null | undefined;
}

/**
 * Cordons a host or uncordons it, says in which rack it is. CodedError 'not-found', 'stale-revision'; 'conflict': it was
 * declared lost.
 */
export function changeHost(basis: Basis, { name, cordoned, rack, ifMatch }: HostChange): Admitted<null> {
  const entry = findHost(basis, name);
  checkRevision(entry, ifMatch, `Host ${name}`);
  const { value } = entry;
  demandMember(value);
  const changed: HostRecord = {
    ...value,
    cordoned: cordoned ?? value.cordoned,
    rack: rack === undefined ? (value.rack ?? null) : rack,
  };
  return { changes: [{ kind: 'host', id: value.name, value: changed }], result: null };
}

/** CodedError 'conflict' for a host that was declared lost. */
function demandMember({ name, lost }: HostRecord): void {
  if (lost === undefined) return;
  throw new CodedError('conflict', `${name} was declared lost by ${lost.by}: it is being removed.`, {
    advice: `Nothing was changed. What its removal waits for: gp host show ${name}.`,
  });
}
