/**
 * For tests of requests: the faults of a cluster's records as a whole, which no single record shows. It shares no code
 * with the decisions that it judges.
 */
import type { NetworkRecord } from '../../model/cluster.ts';
import { recordsOf } from '../../model/cluster-index.ts';
import { cardsOf, expectedIncarnations, type VmRecord } from '../../model/vm.ts';
import type { RequestSnapshot } from '../../ports/store.ts';

/** Returns names, numbers and addresses that are given out twice, and references to nothing; one sentence each. */
export function disorder(records: RequestSnapshot): readonly string[] {
  const vms = [...recordsOf(records.vms)];
  const disks = [...recordsOf(records.disks)];
  const networks = [...recordsOf(records.networks)];
  const groups = vms.flatMap(({ id, phase, spec }) =>
    expectedIncarnations(phase).map(({ host }) => `${spec.antiAffinity ?? id} on ${host}`),
  );
  const luns = vms.flatMap(({ name, spec }) => (spec.sharedDisks ?? []).map(({ lun }) => `${name} ${lun}`));
  const gone = vms.flatMap(({ spec }) => spec.disks.filter(({ disk }) => !records.disks.has(disk)));
  return [
    ...twice(
      'name',
      vms.map(({ name }) => name),
    ),
    ...twice(
      'port',
      disks.map(({ node, port }) => `${node}/${port}`),
    ),
    ...twice(
      'VNI',
      networks.map(({ vni }) => String(vni)),
    ),
    ...twice('LUN', luns),
    ...twice('place of group', groups),
    ...gone.map(({ disk }) => `disk ${disk} has no record`),
    ...disorderOfCards(records, vms, networks),
    ...overlapping(networks),
    ...forgottenTasks(records, vms),
  ];
}

function twice(what: string, all: readonly string[]): string[] {
  return all.filter((each, at) => all.indexOf(each) !== at).map((each) => `${what} ${each} is given out twice`);
}

function disorderOfCards(
  records: RequestSnapshot,
  vms: readonly VmRecord[],
  networks: readonly NetworkRecord[],
): readonly string[] {
  const cards = vms.flatMap((vm) => cardsOf(vm));
  const reserved = networks.flatMap(({ name, cidr, reservations }) =>
    Object.values(reservations).map(({ address }) => ({ name, cidr, address })),
  );
  const outside = reserved.filter(({ cidr, address }) => {
    const { first, last } = rangeOf(cidr ?? '0.0.0.0/32');
    return numberOf(address) <= first + 1 || numberOf(address) >= last;
  });
  const unreserved = cards.filter(
    ({ network, mac, address }) =>
      address !== null && records.networks.get(network)?.value.reservations[mac]?.address !== address,
  );
  const nowhere = cards.filter(({ network }) => !records.networks.has(network));
  return [
    ...twice(
      'MAC',
      cards.map(({ network, mac }) => `${network} ${mac}`),
    ),
    ...twice(
      'address',
      reserved.map(({ name, address }) => `${name} ${address}`),
    ),
    ...outside.map(({ name, address }) => `${address} is outside network ${name}`),
    ...unreserved.map(({ mac }) => `the address of card ${mac} is not reserved`),
    ...nowhere.map(({ mac }) => `card ${mac} is in no network`),
  ];
}

function overlapping(networks: readonly NetworkRecord[]): readonly string[] {
  const ranges = networks.flatMap(({ name, cidr }) => (cidr === null ? [] : [{ name, ...rangeOf(cidr) }]));
  return ranges.flatMap(({ name, first, last }, at) =>
    ranges.slice(0, at).some((other) => other.first <= last && first <= other.last)
      ? [`network ${name} overlaps another`]
      : [],
  );
}

/** Running tasks that no record names: they would never end. */
function forgottenTasks(records: RequestSnapshot, vms: readonly VmRecord[]): readonly string[] {
  const named = new Set(
    [
      ...vms.flatMap((vm) => [vm.startTask, vm.pauseTask, vm.stopRequest?.taskId, vm.resetRequest?.taskId]),
      ...vms.map((vm) => vm.migrationRequest?.taskId),
      ...[...recordsOf(records.drains)].map(({ taskId }) => taskId),
      ...[...recordsOf(records.sharedDisks), ...recordsOf(records.guestClusters)].flatMap(({ tasks }) => tasks ?? []),
    ].flatMap((id) => id ?? []),
  );
  const deleting = new Set(vms.filter((vm) => vm.deleting).map(({ name }) => name));
  return [...recordsOf(records.tasks)].flatMap(({ id, state, kind, target }) =>
    state !== 'running' || named.has(id) || (kind === 'vm.delete' && deleting.has(target.name))
      ? []
      : [`nobody will end the task ${kind} of ${target.name}`],
  );
}

function rangeOf(cidr: string): { readonly first: number; readonly last: number } {
  const [address = '', length = ''] = cidr.split('/');
  const first = numberOf(address);
  return { first, last: first + 2 ** (32 - Number(length)) - 1 };
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}
