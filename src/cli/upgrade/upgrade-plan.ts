/**
 * The order in which the machines of a cluster get another version. Pure. Guarantees: no release is skipped; in an
 * upgrade, machines without a control node come first and the leader's machine last, so that no control node gives an
 * order which an older machine does not know (docs/decisions/0020); in a downgrade the order is reversed.
 */
import type { Cluster, ControlNode, Host, StorageNode } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import { fits, releaseOf } from '../../core/model/cluster-release.ts';

/** The cluster as the API shows it. */
export interface UpgradeFacts {
  readonly cluster: Pick<Cluster, 'release'>;
  readonly hosts: readonly Pick<Host, 'name' | 'agent' | 'release' | 'addresses'>[];
  readonly storage: readonly Pick<StorageNode, 'name' | 'state' | 'version' | 'addresses'>[];
  readonly controls: readonly Pick<ControlNode, 'name' | 'state' | 'version' | 'leader' | 'address'>[];
}

/** One role of a machine. */
export interface PlannedRole {
  readonly role: 'storage' | 'host' | 'control';
  readonly version: string | null;
  readonly isAlive: boolean;
}

/** One machine, in the order of the plan. */
export interface PlannedMachine {
  readonly name: string;
  /** Its address on the control network. */
  readonly address: string;
  readonly roles: readonly PlannedRole[];
  readonly leads: boolean;
  /** Every role runs the version that is asked for. */
  readonly isDone: boolean;
}

/** The steps of an upgrade. */
export interface UpgradePlan {
  readonly to: string;
  /** The release of the cluster as a whole. */
  readonly release: string | null;
  readonly machines: readonly PlannedMachine[];
}

const NOTHING = { advice: 'Nothing was changed.' };

/** Returns the plan. CodedError 'bad-input' for what is no version, 'conflict' where a release would be skipped. */
export function planUpgrade(facts: UpgradeFacts, to: string): UpgradePlan {
  const release = releaseOf(to);
  if (release === null) throw new CodedError('bad-input', `"${to}" is not a version such as 1.4.0.`, NOTHING);
  const has = facts.cluster.release;
  if (has !== null && !fits(release, has))
    throw new CodedError('conflict', `The cluster has release ${has}: ${to} is not that one, nor the next.`, {
      advice:
        'Nothing was changed. Upgrade release by release, with gp cluster finalize after each; finalized is for good.',
    });
  const machines = machinesOf(facts, to);
  const isBack = machines.some(({ roles }) => roles.some(({ version }) => isNewer(version, to)));
  const inOrder = machines.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  return { to, release: has, machines: isBack ? inOrder.reverse() : inOrder };
}

/** CodedError 'unavailable' where a machine does not answer: it could not be seen whether it came back. */
export function demandAlive({ machines }: UpgradePlan): void {
  const dead = machines.filter(({ isDone, roles }) => !isDone && roles.some(({ isAlive }) => !isAlive));
  if (dead.length === 0) return;
  throw new CodedError('unavailable', `Not every role answers on ${listed(dead.map(({ name }) => name))}.`, {
    advice: 'Nothing was changed there. Bring them back or remove them from the cluster, then run the same command.',
  });
}

/**
 * Returns the next machines that one roll empties and changes: hosts that follow each other in the order, or one host
 * that is a control node, which is seen to be back before the next machine. Empty: the next machine is no host.
 */
export function batchOf({ machines }: Pick<UpgradePlan, 'machines'>): readonly PlannedMachine[] {
  const left = machines.filter(({ isDone }) => !isDone);
  const has = ({ roles }: PlannedMachine, role: PlannedRole['role']): boolean =>
    roles.some((each) => each.role === role);
  const [first] = left;
  if (first === undefined || !has(first, 'host')) return [];
  if (has(first, 'control')) return [first];
  const end = left.findIndex((machine) => !has(machine, 'host') || has(machine, 'control'));
  return end === -1 ? left : left.slice(0, end);
}

function machinesOf({ hosts, storage, controls }: UpgradeFacts, to: string): PlannedMachine[] {
  const found = new Map<string, { address: string; roles: PlannedRole[]; leads: boolean }>();
  const at = (name: string, address: string) => {
    const machine = found.get(name) ?? { address, roles: [], leads: false };
    found.set(name, machine);
    return machine;
  };
  for (const { name, state, version, addresses } of storage)
    if (state !== 'lost')
      at(name, addresses.control).roles.push({ role: 'storage', version, isAlive: state === 'alive' });
  for (const { name, agent, release, addresses } of hosts)
    at(name, addresses.control).roles.push({ role: 'host', version: release.agent, isAlive: agent === 'alive' });
  for (const { name, state, version, leader, address } of controls) {
    const machine = at(name, address ?? '');
    machine.roles.push({ role: 'control', version, isAlive: state === 'alive' });
    machine.leads = leader;
  }
  return [...found].map(([name, machine]) => ({
    name,
    ...machine,
    isDone: machine.roles.every(({ version, isAlive }) => version === to && isAlive),
  }));
}

/** Storage nodes, hosts, control nodes, the leader: a machine counts by the last of its roles. */
function rank({ roles, leads }: PlannedMachine): number {
  if (leads) return 3;
  const has = (role: PlannedRole['role']): boolean => roles.some((each) => each.role === role);
  return has('control') ? 2 : has('host') ? 1 : 0;
}

/** Compares numbers; what is not known is older. */
function isNewer(version: string | null, than: string): boolean {
  const [own, other] = [numbers(version ?? ''), numbers(than)];
  for (let i = 0; i < Math.max(own.length, other.length); i++)
    if ((own[i] ?? 0) !== (other[i] ?? 0)) return (own[i] ?? 0) > (other[i] ?? 0);
  return false;
}

function numbers(version: string): readonly number[] {
  return (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
}
