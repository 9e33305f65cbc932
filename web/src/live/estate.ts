/** The cluster as the picture, the tree and the palette see it: hosts with the VMs on them. */
import { useMemo } from 'react';
import type { Host, Vm } from '../api/types.ts';
import type { HostMood, PictureHost, PictureVm } from '../picture/layout.ts';
import { useList } from './lists.ts';

/** All hosts with their VMs, and the VMs that are on none. */
export interface Estate {
  readonly hosts: readonly (PictureHost & { readonly host: Host })[];
  readonly homeless: readonly PictureVm[];
}

const DRAIN = { yes: true, no: false, unknown: null } as const;

/** Puts VMs on their hosts. Pure. */
function estateOf(hosts: readonly Host[], vms: readonly Vm[]): Estate {
  const byHost = Map.groupBy(vms, ({ host }) => host);
  const known = new Set(hosts.map(({ name }) => name));
  return {
    hosts: hosts.map((host) => ({
      host,
      ...{ name: host.name, rack: host.rack },
      ...{ memoryTotalBytes: host.memoryTotalBytes, memoryUsedBytes: host.memoryUsedBytes },
      ...{ mood: moodOf(host), drain: DRAIN[host.evacuability.drain.possible] },
      vms: (byHost.get(host.name) ?? []).map(pictured),
    })),
    homeless: vms.filter(({ host }) => host === null || !known.has(host)).map(pictured),
  };
}

function moodOf({ agent, quarantined, cordoned, maintenance }: Host): HostMood {
  if (quarantined) return 'quarantined';
  if (agent !== 'alive') return 'agentless';
  return cordoned || maintenance !== null ? 'kept-empty' : 'normal';
}

function pictured({ id, name, verdict, spec, guestCluster }: Vm): PictureVm {
  return { id, name, verdict, memoryBytes: spec.memoryBytes, guestCluster };
}

/** The estate, live. */
export function useEstate(): Estate {
  const hosts = useList('host');
  const vms = useList('vm');
  return useMemo(() => estateOf(hosts, vms), [hosts, vms]);
}
