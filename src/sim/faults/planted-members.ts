/** Known mistakes about hosts that are given up, and how they show. */
import type { CertificateRecord } from '../../core/model/certificate.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { PlantedBug } from './planted-bug.ts';
import { rewriting } from './planting.ts';
import { calmSwarm, type Swarm } from './swarm.ts';

/** A cluster in which nothing happens but that its members change, with VMs in a network. */
function memberSwarm(seed: number): Swarm {
  return {
    ...calmSwarm(seed, 6),
    ...{ hosts: 5, hasPlainVms: false, hasSharedDisks: false, troubleMs: 25_000 },
    deeds: new Map([
      ['members', 3_000],
      ['start', 4_000],
    ]),
  };
}

/** See the module. */
export const MEMBER_BUGS: readonly PlantedBug[] = [
  {
    name: 'lost-hosts-go-at-once',
    says: 'a host that somebody declares lost leaves the records at once, whatever runs there',
    rules: ['G10-removed-hosts-are-fenced'],
    swarm: memberSwarm,
    plantStore: (store) =>
      rewriting(store, (write) => {
        const isLost = write.key.startsWith(PREFIX.host) && (write.value as HostRecord | null)?.lost !== undefined;
        return isLost ? { ...write, value: null } : write;
      }),
  },
  {
    name: 'unfenced-is-forgotten',
    says: 'a lost host leaves the records before storage acknowledged that what ran there is fenced',
    rules: ['G10-removed-hosts-are-fenced'],
    swarm: memberSwarm,
    plantStore: (store) =>
      rewriting(store, (write) => {
        if (!write.key.startsWith(PREFIX.vm) || write.value === null) return write;
        const { unfenced: _, ...value } = write.value as VmRecord;
        return { ...write, value };
      }),
  },
  {
    name: 'lost-tunnels-are-heard',
    says: 'the tunnel of a lost host is dropped only until its record is gone',
    rules: ['P1-lost-tunnels-dropped'],
    swarm: memberSwarm,
    plantStore: (store) =>
      rewriting(store, (write) => {
        const value = write.value as CertificateRecord | null;
        if (!write.key.startsWith(PREFIX.certificate) || value === null || value.removed === null) return write;
        const { tunnel: _, ...removed } = value.removed;
        return { ...write, value: { ...value, removed } };
      }),
  },
];
