/**
 * Alarms, as `gp cluster show` and the metrics report them. Each alarm lasts as long as its cause: nothing has to be
 * acknowledged. Guarantees: a bounded number of each kind, the last of which counts the rest.
 */
import type { Alarm } from '../../api/views.ts';
import { backupFinding } from '../../core/model/backup.ts';
import { clockFinding } from '../../core/model/clock-offset.ts';
import { isDue } from '../../core/model/debt.ts';
import { poolWords } from '../../core/model/pool-room.ts';
import { etcdAlarms } from '../../core/plan/lead/etcd-space.ts';
import { debtsOf } from '../../core/request/debts.ts';
import { wordsOf } from '../../core/request/unknown-vms.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { backupStates } from './backups.ts';
import type { BackendContext } from './context.ts';
import { owingVms } from './ties.ts';

/** The most alarms of one kind that are listed separately. */
const SHOWN_MAX = 20;

/** Returns every present alarm that this control node knows of. */
export function alarmsOf(context: BackendContext): readonly Alarm[] {
  return [
    etcdAlarms(context.etcdSpace),
    unreadable(context),
    unknownVms(context),
    poolRooms(context),
    poolFaults(context),
    clocks(context),
    certificates(context),
    vmCertificates(context),
    backups(context),
    brokenRules(context),
    dueDebts(context),
    refusedHosts(context, 'drain'),
    refusedHosts(context, 'loss'),
  ].flatMap(bounded);
}

function unreadable({ store }: BackendContext): readonly Alarm[] {
  return [...store.unreadable].map(([key, finding]) => ({
    kind: 'unreadable-record',
    about: key,
    message: `What etcd holds at ${key} ${finding}. It is left alone, and so are the objects that depend on it.`,
  }));
}

function unknownVms(context: BackendContext): readonly Alarm[] {
  return (context.leading()?.controller.unknown.list() ?? []).map((unknown) => ({
    kind: 'unknown-vm',
    about: unknown.vm,
    // Only of those that are shown: all VMs may be unknown.
    get message() {
      return `No record knows ${unknown.vm}: ${wordsOf(unknown)}. Adopt it or delete it (gp unknown).`;
    },
  }));
}

function poolRooms(context: BackendContext): readonly Alarm[] {
  const controller = context.leading()?.controller;
  return [...context.store.storage.values()].flatMap(({ value: { name } }) => {
    const level = controller?.pools.levelOf(name) ?? 'enough';
    const pool = controller?.storageObserver.report(name)?.pool;
    if (level === 'enough' || pool === undefined) return [];
    return [
      { kind: `pool-${level}`, about: name, message: `The pool of storage node ${name} ${poolWords(pool, level)}.` },
    ];
  });
}

function poolFaults(context: BackendContext): readonly Alarm[] {
  const observer = context.leading()?.controller.storageObserver;
  return [...context.store.storage.values()].flatMap(({ value: { name } }) =>
    (observer?.report(name)?.faults ?? []).map(({ message }) => ({
      kind: 'pool-fault',
      about: name,
      message: `Storage node ${name}: ${message}`,
    })),
  );
}

/** Alarms about the clocks of the machines that report to the leader. */
function clocks(context: BackendContext): readonly Alarm[] {
  const { store } = context;
  const controller = context.leading()?.controller;
  if (controller === undefined) return [];
  const offsets = [
    ...Array.from(
      store.hosts.values(),
      ({ value: { name } }) => [name, controller.observer.clockOffset(name)] as const,
    ),
    ...Array.from(
      store.storage.values(),
      ({ value }) => [value.name, controller.storageObserver.clockOffset(value.name)] as const,
    ),
    ...Array.from(store.controls.values(), ({ value: { name } }) => [name, context.controlClock(name)] as const),
  ];
  return offsets.flatMap(([about, offset]) => {
    const message = clockFinding(about, offset);
    return message === null ? [] : [{ kind: 'clock', about, message }];
  });
}

/** Certificates that end soon: machines that could not be renewed. */
function certificates(context: BackendContext): readonly Alarm[] {
  const findings = context.leading()?.controller.certificates.findings() ?? [];
  return findings.map(({ about, message }) => ({ kind: 'certificate', about, message }));
}

/** Certificates of VMs that run: a VM that was not moved in time, or that the leader could not move. */
function vmCertificates(context: BackendContext): readonly Alarm[] {
  const findings = context.leading()?.controller.certificateMoves.findings() ?? [];
  return findings.map(({ about, message }) => ({ kind: 'vm-certificate', about, message }));
}

/** Control nodes that have made no backup for too long. A follower knows of its own alone. */
function backups(context: BackendContext): readonly Alarm[] {
  const now = context.clock.wallMs();
  return [...backupStates(context)].flatMap(([about, states]) =>
    states.flatMap((state) => {
      const message = backupFinding(about, state, now);
      return message === null ? [] : [{ kind: 'backup-old', about, message }];
    }),
  );
}

/** Broken rules that the record checkers found (core/loop/duties/record-watch.ts). */
function brokenRules(context: BackendContext): readonly Alarm[] {
  return (context.leading()?.controller.recordWatch.findings ?? []).map(({ rule, about, what }) => ({
    kind: 'rule-broken',
    about,
    message: `The records break rule ${rule}: ${what}. Nothing was stopped because of it.`,
  }));
}

/** Debts whose date has passed; only the leader knows them without a walk over every VM. */
function dueDebts(context: BackendContext): readonly Alarm[] {
  if (context.leading() === null) return [];
  const now = context.clock.wallMs();
  return [...debtsOf(snapshotOf(context.store), owingVms(context))].flatMap(({ debt }) =>
    isDue(debt, now)
      ? [
          {
            kind: 'debt-due',
            about: debt.id,
            message: `${debt.owner} signed for this until ${new Date(debt.until).toISOString()}: ${debt.what}.`,
          },
        ]
      : [],
  );
}

/** Hosts that cannot be drained, or lost, for some time, although nobody signed for that. */
function refusedHosts(context: BackendContext, asked: 'drain' | 'loss'): readonly Alarm[] {
  const standing = context.leading()?.controller.evacuability.standing ?? [];
  return standing
    .filter(({ question }) => question === asked)
    .map(({ host, because }) => ({
      kind: asked === 'drain' ? 'not-drainable' : 'not-losable',
      about: host,
      message: `${host} cannot be ${asked === 'drain' ? 'drained' : 'lost'} now: ${because.join('; ')}`,
    }));
}

function bounded(alarms: readonly Alarm[]): readonly Alarm[] {
  const [first] = alarms;
  if (first === undefined || alarms.length <= SHOWN_MAX) return alarms;
  const more = alarms.length - SHOWN_MAX;
  return [...alarms.slice(0, SHOWN_MAX), { kind: first.kind, about: '…', message: `${more} more of this kind.` }];
}
