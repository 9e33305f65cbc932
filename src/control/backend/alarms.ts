/**
 * What somebody has to look after, as `gp cluster show` and the metrics tell it. Each alarm stands for as long as its cause: nothing has to be
 * acknowledged. Guarantees: a bounded number of each kind, the last of which counts the rest.
 */
import type { Alarm } from '../../api/views.ts';
import type { BackendContext } from './context.ts';

/** Alarms of one kind that are told one by one. */
const SHOWN_MAX = 20;

/** Everything that is wrong now, as far as this control node knows. */
export function alarmsOf(context: BackendContext): readonly Alarm[] {
  return [unreadable(context), poolFaults(context)].flatMap(bounded);
}

function unreadable({ store }: BackendContext): readonly Alarm[] {
  return [...store.unreadable].map(([key, finding]) => ({
    kind: 'unreadable-record',
    about: key,
    message: `What etcd holds at ${key} ${finding}. It is left alone, and so is whatever depends on it.`,
  }));
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

function bounded(alarms: readonly Alarm[]): readonly Alarm[] {
  const [first] = alarms;
  if (first === undefined || alarms.length <= SHOWN_MAX) return alarms;
  const more = alarms.length - SHOWN_MAX;
  return [...alarms.slice(0, SHOWN_MAX), { kind: first.kind, about: '…', message: `${more} more of this kind.` }];
}
