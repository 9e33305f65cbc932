/** An explanation in words, for people and for the API. Pure. */
import type { HostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { Explained } from '../../base/problem.ts';
import type { Constraint } from './constraint.ts';
import type { ExcludedVm } from './exclusions.ts';
import type { Explanation, VerifiedRelaxation } from './explain.ts';
import type { Model } from './model.ts';

/** Names that one sentence lists. */
const NAMED = 5;
/** VMs whose hosts are listed: each list names every host. */
const VMS_LISTED = 5;
const MIB_PER_GIB = 1024;

/** The explanation in words. `model`: the model that was asked; `about`: the sentence that is explained. */
export function explainedOf(model: Model, about: string, explanation: Explanation): Explained {
  const { vms, moreVms, conflict, isSmallest, relaxations, isComplete } = explanation;
  return {
    about,
    vms: vms.slice(0, VMS_LISTED).map((vm) => ({ vm: vm.name, held: vm.held?.words ?? null, hosts: groupsOf(vm) })),
    moreVms: moreVms + Math.max(0, vms.length - VMS_LISTED),
    conflict: conflict.map(nounOf),
    isSmallest,
    ways: waysOf(model, relaxations),
    isComplete,
  };
}

/** Every host once, with others that are excluded for the same reason. */
function groupsOf({ hosts }: ExcludedVm): Explained['vms'][number]['hosts'] {
  const byReason = Map.groupBy(hosts, ({ words }) => words);
  return [...byReason].map(([why, group]) => ({ why, hosts: group.map(({ host }) => host) }));
}

function waysOf(model: Model, relaxations: readonly VerifiedRelaxation[]): Explained['ways'] {
  const memory = new Map<number, { readonly hosts: HostName[]; moves: number }>();
  const ways: { what: string; moves: number }[] = [];
  for (const { relaxation, moves } of relaxations) {
    switch (relaxation.kind) {
      case 'without':
        ways.push({ what: `if ${relaxation.constraints.map(clauseOf).join(' and ')}`, moves });
        break;
      case 'memory': {
        const known = memory.get(relaxation.mib);
        if (known === undefined) memory.set(relaxation.mib, { hosts: [relaxation.host], moves });
        else {
          known.hosts.push(relaxation.host);
          known.moves = Math.max(known.moves, moves);
        }
        break;
      }
      case 'stopped': {
        const names = relaxation.vms.map((id) => model.vms[model.vm(id)]?.name ?? id).sort();
        ways.push({ what: `if ${listed(names, NAMED)} ${names.length === 1 ? 'is' : 'are'} stopped`, moves });
      }
    }
  }
  const withMemory = [...memory].map(([mib, { hosts, moves }]) => {
    const where = hosts.length === 1 ? `on ${hosts[0]}` : `on any of ${listed(hosts, NAMED)}`;
    return { what: `with ${mib / MIB_PER_GIB} GiB more ${where}`, moves };
  });
  return [...ways, ...withMemory];
}

/** The name of a constraint in a list of conflicting ones. */
function nounOf({ kind, name }: Constraint): string {
  switch (kind) {
    case 'emptied':
    case 'host-state':
      return `${name} is not in service`;
    case 'rule':
      return `rule ${name}`;
    case 'guest-cluster':
      return `members of guest cluster ${name} share no host`;
    case 'disturbed':
      return `guest cluster ${name} bears no more disturbed members`;
    case 'pause':
      return `the pause that guest cluster ${name} tolerates`;
    case 'tie':
      return `the tie "${name}"`;
    case 'cpu-model':
      return `CPU model ${name}`;
    case 'network':
      return `network ${name}`;
    case 'storage':
      return `storage node ${name}`;
    case 'accelerator':
      return 'the accelerator of the hosts';
    case 'release':
      return 'the releases of the hosts';
    case 'unsettled':
    case 'moving':
      return `${name} cannot be moved now`;
    case 'memory':
      return 'memory';
    case 'vcpus':
      return 'vCPUs';
    case 'room-for-loss':
      return 'room for the loss of a host';
  }
}

/** The circumstances without the constraint, as a clause after "if". */
function clauseOf({ kind, name }: Constraint): string {
  switch (kind) {
    case 'emptied':
    case 'host-state':
      return `${name} is in service again`;
    case 'rule':
      return `rule ${name} does not hold meanwhile`;
    case 'guest-cluster':
      return `members of guest cluster ${name} may share a host meanwhile`;
    case 'disturbed':
      return `the stopped and paused members of guest cluster ${name} run again`;
    case 'pause':
      return `guest cluster ${name} tolerates a longer pause`;
    case 'tie':
      return `the tie "${name}" ends`;
    case 'cpu-model':
      return `no VM needs CPU model ${name}`;
    case 'network':
    case 'storage':
      return `every host reaches ${name}`;
    case 'accelerator':
      return 'every host has the same accelerator';
    case 'release':
      return 'every host has the same release';
    case 'unsettled':
      return `${name} has settled`;
    case 'moving':
      return `the move of ${name} has ended`;
    case 'memory':
      return 'every host has more memory';
    case 'vcpus':
      return 'more vCPUs for each processor are allowed';
    case 'room-for-loss':
      return 'no room is kept for the loss of a host';
  }
}
