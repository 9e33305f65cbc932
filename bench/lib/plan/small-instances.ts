/** Small seeded instances: a few hosts of a rule-rich estate are to be emptied. About a third of them have no plan. */
import type { HostName } from '../../../src/base/ids.ts';
import type { Estate } from '../../../src/core/maintenance/estate.ts';
import { seededEstate } from '../../../src/core/maintenance/testing/seeded-estate.ts';

/** One instance. */
export interface Instance {
  readonly number: number;
  readonly estate: Estate;
  readonly hosts: readonly HostName[];
  readonly fill: number;
}

const FILLS: readonly number[] = [0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.93, 0.94, 0.95];

/** Makes the instance of a number: up to 20 hosts and 200 VMs, fills from 70 to 95 %. */
export function smallInstance(number: number): Instance {
  const fill = FILLS[number % FILLS.length] ?? 0.7;
  const hosts = 6 + ((number * 7) % 15);
  const estate = seededEstate({
    seed: 1_000 + number,
    hosts,
    vms: hosts * (4 + ((number * 3) % 7)),
    fill,
    hostsPerRack: 4,
    guestClusters: 2 + (number % 5),
    ruled: 0.2 + (number % 3) * 0.15,
    ties: number % 4 === 0 ? 2 : 0,
    policy: { keepRoomForLoss: false },
  });
  const count = number % 3 === 0 ? 2 : 1;
  const names = estate.hosts.map(({ name }) => name);
  const tied = new Set(number % 8 === 0 ? estate.vms.filter(({ tie }) => tie !== null).map(({ host }) => host) : []);
  const chosen = [...names.filter((name) => tied.has(name)), ...names.filter((name) => !tied.has(name))];
  return { number, estate, hosts: chosen.slice(0, count), fill };
}
