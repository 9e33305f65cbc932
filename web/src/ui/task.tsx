/** How tasks are shown everywhere. */
import { Link } from '@tanstack/react-router';
import type { Task } from '../api/types.ts';
import type { Tone } from '../picture/verdict-style.ts';
import { TEXTS } from '../texts/texts.ts';
import { Mark } from './mark.tsx';

const TONES: Readonly<Record<Task['state'], Tone>> = {
  running: 'busy',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'off',
};

/** State of a task, with its progress while it runs. */
export function TaskState({ task: { state, progressPercent } }: { readonly task: Task }) {
  return (
    <Mark tone={TONES[state]}>
      {state}
      {state === 'running' && progressPercent !== null ? ` ${progressPercent} %` : ''}
    </Mark>
  );
}

const PAGES: Readonly<Record<Task['target']['kind'], string | null>> = {
  vm: '/vms/',
  vms: null,
  host: '/hosts/',
  network: '/networks/',
  image: '/images/',
  'guest-cluster': '/guest-clusters/',
  drain: '/maintenance/',
  roll: '/maintenance/rolls/',
  'shared-disk': null,
};

/** The object of a task, as a link if the object has a page. */
export function TaskTarget({ task: { target, vms } }: { readonly task: Task }) {
  if (vms !== null) return <>{TEXTS.tray.ofMany(vms.total - vms.waiting - vms.running, vms.total, vms.failed)}</>;
  const page = PAGES[target.kind] ?? null;
  return page === null ? target.name : <Link to={`${page}${target.name}` as '/'}>{target.name}</Link>;
}
