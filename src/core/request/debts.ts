/**
 * Changes that would break something need somebody who signs for them: without, they are refused with the reasons; with,
 * a debt is written in the same transaction. Pure.
 */
import { CodedError } from '../../base/errors.ts';
import type { VmId } from '../../base/ids.ts';
import { type Explained, NeedsAcceptance, wayWords } from '../../base/problem.ts';
import type { Broken } from '../maintenance/evacuability.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { type Acceptance, BROKEN_MAX, DEBTS_MAX, type Debt, type Signature } from '../model/debt.ts';
import type { GuestClusterRecord } from '../model/guest-cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Change, Snapshot } from '../ports/store.ts';
import type { Admitted, Basis } from './basis.ts';
import type { Tie } from './effect.ts';

/** The ties and broken verdicts that are to be signed for. */
export interface Price {
  readonly ties: readonly Tie[];
  readonly broken: readonly Broken[];
}

/** Hosts that a refusal names. */
const HOSTS_NAMED = 5;

/** Returns true if nobody needs to sign. */
export function isFree({ ties, broken }: Price): boolean {
  return ties.length === 0 && broken.length === 0;
}

/** The circumstances in which a tie needs no signature, as the end of "Nobody needs to sign …". */
const WITHOUT_TIE: Readonly<Record<Tie['kind'], string>> = {
  pin: 'for a VM without a pin',
  'cpu-model': 'where every host can be the CPU model, or the VM takes the model baseline',
  'guest-cluster': 'for a guest cluster with fewer members than there are hosts, or whose members may share hosts',
};

/**
 * The refusal of a change without a signature. `explanation`: the ways in which hosts could be drained and lost as
 * before; null: nothing was looked for.
 */
export function needsAcceptance(price: Price, done: string, explanation: Explained | null): CodedError {
  const { ties, broken } = price;
  const hosts = broken.slice(0, HOSTS_NAMED).map(({ host, question, because }) => {
    const words = question === 'drain' ? 'drained' : 'lost without VMs that stay down';
    return `${host} could not be ${words}: ${because.join('; ')}`;
  });
  const more = broken.length - hosts.length;
  const all = [...ties.map(({ what }) => what), ...hosts, ...(more > 0 ? [`and ${more} more`] : [])];
  return new NeedsAcceptance(`This would tie VMs to hosts, or leave too little room: ${all.join('. ')}.`, {
    advice: [
      `Nothing was ${done}.`,
      ...[...new Set(ties.map(({ kind }) => kind))].map((kind) => `Nobody needs to sign ${WITHOUT_TIE[kind]}.`),
      ...(explanation === null ? [] : [`${explanation.about}. ${wayWords(explanation)}`]),
      'To accept it all the same, sign for it: --accept --owner WHO --reason WHY --until DATE.',
    ].join(' '),
    explanation,
    acceptance: {
      ties,
      broken: broken.slice(0, BROKEN_MAX).map(({ host, question, because }) => ({ host, question, because })),
      moreBroken: Math.max(0, broken.length - BROKEN_MAX),
    },
  });
}

/** CodedError 'bad-input' for a date that has passed. */
export function demandFuture({ now }: Pick<Basis, 'now'>, { until }: Acceptance): void {
  if (until > now) return;
  throw new CodedError(
    'bad-input',
    `${new Date(until).toISOString()} has passed: nothing can be accepted until then.`,
    {
      advice: 'Nothing was changed. Give a date that is to come (--until).',
    },
  );
}

/**
 * The admitted change, with the debt in the record that it is about: the guest cluster that it writes, or else the first
 * VM.
 */
export function withDebts<T>(
  basis: Pick<Basis, 'now' | 'randomHex'>,
  admitted: Admitted<T>,
  { price, signature, what }: { readonly price: Price; readonly signature: Signature; readonly what: string },
): Admitted<T> {
  const { by, owner, reason, until } = signature;
  const make = (kind: Debt['kind'], words: string): Debt => ({
    ...{ id: `debt-${basis.randomHex(6)}`, kind, what: words, owner, reason, until, by, since: basis.now },
    broke: kind === 'room' ? price.broken.slice(0, BROKEN_MAX).map(({ host, question }) => ({ host, question })) : [],
  });
  const debts = [
    ...price.ties.map((tie) => make(tie.kind, tie.what)),
    ...(price.broken.length === 0 ? [] : [make('room', what)]),
  ];
  const about =
    admitted.changes.find(({ kind, value }) => kind === 'guest-cluster' && value !== null) ??
    admitted.changes.find(({ kind, value }) => kind === 'vm' && value !== null);
  const changes = admitted.changes.map((change): Change => {
    if (change !== about) return change;
    if (change.kind === 'vm' && change.value !== null) return { ...change, value: withMore(change.value, debts) };
    if (change.kind === 'guest-cluster' && change.value !== null)
      return { ...change, value: withMore(change.value, debts) };
    return change;
  });
  const events = debts.map((debt) => ({
    ...{ at: basis.now, kind: 'debt-accepted', vm: null, vmName: null, host: null, generation: null },
    message: `${owner} signed for this until ${new Date(until).toISOString()} (${debt.id}): ${debt.what}. Reason: ${reason}`,
  }));
  return { ...admitted, changes, events: [...(admitted.events ?? []), ...events] };
}

/** A debt with the object that it is about. */
export interface Owed {
  readonly debt: Debt;
  readonly about:
    | { readonly kind: 'vm'; readonly vm: VmRecord }
    | { readonly kind: 'guest-cluster'; readonly cluster: GuestClusterRecord };
}

/** The debts of some VMs and of every guest cluster. */
export function* debtsOf(records: Pick<Snapshot, 'vms' | 'guestClusters'>, vms: Iterable<VmId>): Generator<Owed> {
  for (const id of vms) {
    const vm = records.vms.get(id)?.value;
    for (const debt of vm?.debts ?? []) if (vm !== undefined) yield { debt, about: { kind: 'vm', vm } };
  }
  for (const cluster of recordsOf(records.guestClusters))
    for (const debt of cluster.debts ?? []) yield { debt, about: { kind: 'guest-cluster', cluster } };
}

/** The change that replaces a debt; null: it is settled. */
export function debtChange({ debt, about }: Owed, next: Debt | null): Change {
  const replaced = (debts: readonly Debt[] = []): readonly Debt[] =>
    debts.flatMap((each) => (each.id !== debt.id ? [each] : next === null ? [] : [next]));
  return about.kind === 'vm'
    ? { kind: 'vm', id: about.vm.id, value: { ...about.vm, debts: replaced(about.vm.debts) } }
    : {
        kind: 'guest-cluster',
        id: about.cluster.name,
        value: { ...about.cluster, debts: replaced(about.cluster.debts) },
      };
}

/** Signs a debt anew. CodedError 'not-found', 'bad-input'. */
export function renewDebt(
  basis: Basis,
  { id, vms, signature }: { readonly id: string; readonly vms: Iterable<VmId>; readonly signature: Signature },
): Admitted<null> {
  demandFuture(basis, signature);
  for (const owed of debtsOf(basis.records, vms)) {
    if (owed.debt.id !== id) continue;
    const { toldDue: _told, ...debt } = owed.debt;
    return { changes: [debtChange(owed, { ...debt, ...signature })], result: null };
  }
  throw new CodedError('not-found', `There is no debt ${id}.`, { advice: 'List them with "gp ties".' });
}

/**
 * The debts of an object with more. A tie that is signed for anew replaces the old one, and a debt for room replaces
 * those whose hosts it names. CodedError 'conflict' if there would be too many.
 */
function withMore<T extends { readonly name: string; readonly debts?: readonly Debt[] }>(
  record: T,
  more: readonly Debt[],
): T {
  const kept = (record.debts ?? []).filter((debt) => !more.some((newer) => replaces(newer, debt)));
  const debts = [...kept, ...more];
  if (debts.length <= DEBTS_MAX) return { ...record, debts };
  throw new CodedError(
    'conflict',
    `${record.name} has ${kept.length} debts, and ${DEBTS_MAX} is the most: one more cannot be signed for.`,
    {
      advice:
        'Nothing was changed. See them with "gp ties": a debt is settled by itself once its reason is gone (room for the hosts that it names, no pin).',
    },
  );
}

function replaces(newer: Debt, { kind, broke }: Debt): boolean {
  if (newer.kind !== kind) return false;
  const names = ({ host, question }: Debt['broke'][number]): boolean =>
    newer.broke.some((one) => one.host === host && one.question === question);
  return kind !== 'room' || broke.every(names);
}
