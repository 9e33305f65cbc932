/** The tray at the bottom: tasks that run and the latest that ended. */
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import type { Task } from '../api/types.ts';
import { useList } from '../live/lists.ts';
import { timeText } from '../texts/format.ts';
import { TEXTS } from '../texts/texts.ts';
import { TaskState, TaskTarget } from '../ui/task.tsx';

const SHOWN_MAX = 30;

/** See the module's comment. */
export function Tray() {
  const [isOpen, setOpen] = useState(false);
  const tasks = useList('task');
  const latest = tasks.slice(-SHOWN_MAX).toReversed();
  const running = tasks.filter(({ state }) => state === 'running');
  const [last] = latest;
  return (
    <section className={isOpen ? 'tray open' : 'tray'} aria-label={TEXTS.tray.label}>
      <div className="tray-head">
        <button type="button" className="quiet" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <span className={isOpen ? 'twist open' : 'twist closed'} aria-hidden="true" />
          {TEXTS.tray.title(running.length)}
        </button>
        {isOpen || last === undefined ? null : (
          <span className="tray-last" aria-live="polite">
            <TaskState task={last} /> {last.kind} <TaskTarget task={last} />
          </span>
        )}
        <Link to="/tasks">{TEXTS.tray.all}</Link>
      </div>
      {isOpen ? <TrayTable tasks={latest} /> : null}
    </section>
  );
}

function TrayTable({ tasks }: { readonly tasks: readonly Task[] }) {
  if (tasks.length === 0) return <p className="hint">{TEXTS.tray.empty}</p>;
  return (
    <div className="tray-rows" role="region" aria-label={TEXTS.pages.tasks}>
      <table>
        <thead>
          <tr>
            {TEXTS.tray.columns.map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {tasks.map((task) => (
            <tr key={task.id}>
              <td>{task.kind}</td>
              <td>
                <TaskTarget task={task} />
              </td>
              <td>
                <TaskState task={task} />
              </td>
              <td>{task.message}</td>
              <td>{timeText(task.startedAt)}</td>
              <td>{task.endedAt === null ? '' : timeText(task.endedAt)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
