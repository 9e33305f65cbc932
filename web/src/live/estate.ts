/** The cluster as the picture, the tree and the palette see it: hosts with the VMs on them. */
import { useMemo } from 'react';
import type { HostRow, VmRow } from '../api/types.ts';
import type { HostMood, PictureHost, PictureVm } from '../picture/layout.ts';
import { useList } from './lists.ts';

/** All hosts with their VMs, and the VMs that have no host. */
export interface Estate {
  readonly hosts: readonly PictureHost[];
  readonly homeless: readonly PictureVm[];
}

/** Puts VMs on their hosts. Pure. */
function estateOf(hosts: readonly HostRow[], vms: readonly VmRow[]): Estate {
  const byHost = Map.groupBy(vms, ({ host }) => host);
  const known = new Set(hosts.map(({ name }) => name));
  return {
    hosts: hosts.map((host) => ({
      ...host,
      ...{ mood: moodOf(host), drain: host.drainable, vms: byHost.get(host.name) ?? [] },
    })),
    homeless: vms.filter(({ host }) => host === null || !known.has(host)),
  };
}

function moodOf({ agent, quarantined, cordoned, maintenance }: HostRow): HostMood {
  if (quarantined) return 'quarantined';
  if (agent !== 'alive') return 'agentless';
  return cordoned || maintenance !== null ? 'kept-empty' : 'normal';
}

/** The estate, live. */
export function useEstate(): Estate {
  const hosts = useList('host-row');
  const vms = useList('vm-row');
  return useMemo(() => estateOf(hosts, vms), [hosts, vms]);
}
