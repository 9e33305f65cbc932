/**
 * Raises the release of a cluster; programs of the release before can no longer be part of it. Pure. Guarantees: the
 * release is raised only when every role of every machine says that it runs the new one, and never skips a release.
 */
import { CodedError } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import { fits, releaseOf } from '../model/cluster-release.ts';

/** A role of a machine; null: it never reported its version. */
export interface RoleVersion {
  readonly role: string;
  readonly name: string;
  readonly version: string | null;
}

const NOTHING = 'Nothing was changed.';

/**
 * Returns the release that the cluster gets. `version`: the leader's; `cluster`: the present release, null for none.
 * CodedError 'conflict' that names the machines in the way.
 */
export function finalized(request: {
  readonly version: string;
  readonly cluster: string | null;
  readonly roles: readonly RoleVersion[];
}): string {
  const { version, cluster, roles } = request;
  const release = releaseOf(version);
  if (release === null || (cluster !== null && !fits(release, cluster)))
    throw new CodedError('conflict', `The cluster has release ${cluster}, and the leader is of version ${version}.`, {
      advice: `${NOTHING} Upgrade release by release.`,
    });
  const others = roles.filter((role) => role.version === null || releaseOf(role.version) !== release);
  if (others.length === 0) return release;
  const words = others.map(({ role, name, version: own }) => `${role} ${name} (${own ?? 'unknown'})`);
  throw new CodedError('conflict', `Not everything runs release ${release}: ${listed(words)}.`, {
    advice: `${NOTHING} Upgrade them with "gp cluster upgrade run", or remove what is gone for good.`,
  });
}
