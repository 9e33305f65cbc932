/**
 * The actions that one object allows now, and the reasons against the others: the only table of them. Pure.
 * Guarantees: each answer comes from the request's own code, which is run without carrying anything out, so that a
 * button and a refusal can never differ; an action that would change nothing is not allowed either, with the sentence
 * that its task would end with.
 */
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { Admitted, Basis, Observed } from './basis.ts';
import { findVm } from './basis.ts';
import { cancelTask } from './cancelling.ts';
import { cancelDrain, pauseDrain, undrainHost } from './drains.ts';
import { removeHost } from './host-removal.ts';
import { changeHost } from './hosts.ts';
import { abortRoll, findRoll, pauseRoll } from './rolls.ts';
import { patchVm } from './vm-changes.ts';
import { deleteVm, migrateVm, resetVm, resumeVm, startVm, stopVm, suspendVm } from './vm-wishes.ts';

/** One action on one thing. */
export interface AllowedAction {
  readonly action: string;
  readonly allowed: boolean;
  /** Why not, as the refusal says it; null: it is allowed. */
  readonly reason: string | null;
  readonly advice: string | null;
}

/** Tries an action; a text says why it would change nothing. */
type Ask = (basis: Basis, observed: Observed | null, name: string) => Admitted<unknown> | string;

const ANY = { ifMatch: null } as const;

const VM: Readonly<Record<string, Ask>> = {
  start: (basis, _observed, vm) => startVm(basis, vm),
  stop: (basis, observed, vm) => stopVm(basis, observed, vm, {}),
  reset: (basis, _observed, vm) => resetVm(basis, vm),
  suspend: (basis, _observed, vm) => suspendVm(basis, vm),
  resume: (basis, _observed, vm) => resumeVm(basis, vm),
  migrate: (basis, _observed, vm) => migrateVm(basis, vm, {}),
  delete: (basis, _observed, vm) => deleteVm(basis, vm, ANY),
  // With any size other than the present one.
  resize: (basis, _observed, vm) => {
    const { vcpus } = findVm(basis.records, vm).value.spec;
    return patchVm(basis, vm, { ...ANY, vcpus: vcpus === 1 ? 2 : vcpus - 1 });
  },
};

const HOST: Readonly<Record<string, Ask>> = {
  cordon: (basis, _observed, name) => setCordoned(basis, name, true),
  uncordon: (basis, _observed, name) => setCordoned(basis, name, false),
  undrain: (basis, _observed, name) => undrainHost(basis, name),
  remove: (basis, observed, name) => askToRemove(basis, observed, { name, isLost: false }),
  'declare-lost': (basis, observed, name) => askToRemove(basis, observed, { name, isLost: true }),
};

function askToRemove(
  basis: Basis,
  observed: Observed | null,
  { name, isLost }: { readonly name: string; readonly isLost: boolean },
): Admitted<unknown> | string {
  const admitted = removeHost(basis, observed, { ...ANY, name, isLost, isConfirmed: true, by: '' });
  return admitted.changes.length > 0 ? admitted : `${name} was declared lost, and is being removed.`;
}

function setCordoned(basis: Basis, name: string, cordoned: boolean): Admitted<unknown> | string {
  const admitted = changeHost(basis, { ...ANY, name, cordoned });
  const isSo = basis.records.hosts.get(name as HostName)?.value.cordoned === cordoned;
  return isSo ? `${name} is ${cordoned ? '' : 'not '}cordoned${cordoned ? ' already' : ''}.` : admitted;
}

const DRAIN: Readonly<Record<string, Ask>> = {
  pause: (basis, _observed, id) => pauseDrain(basis, id, true),
  resume: (basis, _observed, id) => pauseDrain(basis, id, false),
  cancel: (basis, _observed, id) => cancelDrain(basis, id),
};

const ROLL: Readonly<Record<string, Ask>> = {
  pause: (basis, _observed, id) => pauseRoll(basis, id, { isPaused: true }),
  resume: (basis, _observed, id) => pauseRoll(basis, id, { isPaused: false }),
  retry: (basis, _observed, id) => {
    const hasFailed = findRoll(basis, id).value.hosts.some(({ state }) => state === 'failed');
    return hasFailed ? pauseRoll(basis, id, { isPaused: false, isRetry: true }) : 'No host has failed.';
  },
  abort: (basis, _observed, id) => abortRoll(basis, id),
};

const TASK: Readonly<Record<string, Ask>> = { cancel: (basis, _observed, id) => cancelTask(basis, id) };

const TABLES = { vm: VM, host: HOST, drain: DRAIN, roll: ROLL, task: TASK } as const;

/** The allowed actions for the VM, host, drain, roll or task of this name or id. CodedError 'not-found'. */
export function allowedActions(
  kind: keyof typeof TABLES,
  basis: Basis,
  observed: Observed | null,
  name: string,
): readonly AllowedAction[] {
  return Object.entries<Ask>(TABLES[kind]).map(([action, ask]) => {
    try {
      const reason = vainly(ask(basis, observed, name));
      return { action, allowed: reason === null, reason, advice: null };
    } catch (error) {
      // An object that is not there has no actions.
      if (!(error instanceof CodedError) || error.code === 'not-found') throw error;
      return { action, allowed: false, reason: error.message, advice: error.advice ?? null };
    }
  });
}

/** The reason why a request that is not refused would change nothing; null if it changes something. */
function vainly(answer: Admitted<unknown> | string): string | null {
  if (typeof answer === 'string') return answer;
  const { changes, result } = answer;
  if (changes.length === 0) return 'It is so already.';
  const own = changes.find((change) => change.kind === 'task' && change.id === result);
  const task = (own?.value ?? null) as TaskRecord | null;
  return task !== null && task.state === 'succeeded' ? task.message : null;
}
