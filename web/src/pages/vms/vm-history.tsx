/** The history of a VM: its incarnations as a timeline, its tasks, its events. */
import { useQuery } from '@tanstack/react-query';
import { vmEventsQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { clusterNowMs } from '../../live/cluster-clock.ts';
import { useList } from '../../live/lists.ts';
import { durationText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Problem, Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { TaskState } from '../../ui/task.tsx';
import { type Incarnation, incarnationsOf } from './incarnations.ts';
import './vm-history.css';

const LATEST_MAX = 50;

/** See the module's comment. */
export function VmHistory({ vm }: { readonly vm: VmDetail }) {
  const { data: events = [], error } = useQuery(vmEventsQuery(vm.name));
  const tasks = useList('task').filter(({ target }) => target.kind === 'vm' && target.name === vm.name);
  return (
    <>
      {error === null ? null : <Problem error={error} />}
      <Section title={TEXTS.vm.incarnations}>
        <Timeline incarnations={incarnationsOf(events, vm)} />
      </Section>
      <Section title={TEXTS.pages.tasks}>
        <SmallTable
          heads={TEXTS.vm.taskHeads}
          rows={tasks
            .slice(-LATEST_MAX)
            .toReversed()
            .map((task) => ({
              key: task.id,
              cells: [timeText(task.startedAt), task.kind, <TaskState key="state" task={task} />, task.message],
            }))}
        />
      </Section>
      <Section title={TEXTS.pages.events}>
        <SmallTable
          heads={TEXTS.vm.eventHeads}
          rows={events
            .slice(-LATEST_MAX)
            .toReversed()
            .map(({ revision, at, kind, host, generation, message }) => ({
              key: `${revision} ${kind}`,
              cells: [timeText(at), kind, host ?? '', generation ?? '', message],
            }))}
        />
      </Section>
    </>
  );
}

/** Bars beside each other, as wide as their time, but wide enough to be seen. */
function Timeline({ incarnations }: { readonly incarnations: readonly Incarnation[] }) {
  const nowMs = clusterNowMs();
  if (incarnations.length === 0) return <p className="hint">{TEXTS.vm.neverRan}</p>;
  return (
    <ol className="incarnations">
      {incarnations.map(({ generation, host, since, until, ending }) => {
        const durationMs = (until === null ? nowMs : Date.parse(until)) - Date.parse(since);
        return (
          <li
            key={generation}
            className={until === null ? 'incarnation tone-good' : 'incarnation tone-off'}
            style={{ flexGrow: Math.max(1, Math.sqrt(Math.max(0, durationMs) / 1_000)) }}
          >
            <strong>{TEXTS.vm.generationOn(generation, host ?? TEXTS.none)}</strong>
            <span>{timeText(since)}</span>
            <span className="hint">{until === null ? TEXTS.vm.now : durationText(durationMs)}</span>
            {ending === null ? null : <span className="hint">{ending}</span>}
          </li>
        );
      })}
    </ol>
  );
}
