/** The latest tasks. */
import { useMutation } from '@tanstack/react-query';
import { dataOf, http } from '../../api/client.ts';
import type { Task } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { durationText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Empty, Page } from '../../ui/page.tsx';
import { TaskState, TaskTarget } from '../../ui/task.tsx';

const { columns: heads } = TEXTS.task;

const COLUMNS: readonly Column<Task>[] = [
  { id: 'kind', header: heads.kind, width: '150px', value: ({ kind }) => kind, isFacet: true },
  {
    ...{ id: 'object', header: heads.object, width: 'minmax(130px, 1fr)', value: ({ target }: Task) => target.name },
    cell: (task) => <TaskTarget task={task} />,
  },
  {
    ...{ id: 'state', header: heads.state, width: '140px', value: ({ state }: Task) => state, isFacet: true },
    cell: (task) => <TaskState task={task} />,
  },
  { id: 'message', header: heads.message, width: 'minmax(220px, 3fr)', value: ({ message }) => message },
  {
    ...{ id: 'began', header: heads.began, width: '160px', value: ({ startedAt }: Task) => startedAt },
    cell: ({ startedAt }) => timeText(startedAt),
  },
  {
    ...{ id: 'took', header: heads.took, width: '90px', align: 'right' },
    value: ({ startedAt, endedAt }) => (endedAt === null ? null : Date.parse(endedAt) - Date.parse(startedAt)),
    cell: ({ startedAt, endedAt }) =>
      endedAt === null ? '' : durationText(Date.parse(endedAt) - Date.parse(startedAt)),
  },
  {
    ...{ id: 'cancel', header: heads.action, width: '90px', value: () => null },
    cell: (task) => (task.state === 'running' ? <Cancel task={task} /> : null),
  },
];

const keyOf = ({ id }: Task): string => id;

function Cancel({ task }: { readonly task: Task }) {
  const cancel = useMutation({
    mutationFn: () => dataOf(http.POST('/v1/tasks/{task}/cancel', { params: { path: { task: task.id } } })),
  });
  return (
    <button type="button" className="quiet" disabled={cancel.isPending} onClick={() => cancel.mutate()}>
      {TEXTS.cancel}
    </button>
  );
}

/** See the module's comment. */
export function TasksPage() {
  const tasks = useList('task');
  return (
    <Page title={TEXTS.pages.tasks} isFilled>
      <DataTable
        label={TEXTS.pages.tasks}
        rows={tasks}
        columns={COLUMNS}
        keyOf={keyOf}
        sort="-began"
        empty={<Empty title={TEXTS.task.empty}>{TEXTS.task.emptyHint}</Empty>}
      />
    </Page>
  );
}
