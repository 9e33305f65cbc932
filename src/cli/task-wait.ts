/**
 * Waiting for the end of a task: with progress on a terminal, through a change of the leader, until a deadline or
 * Ctrl-C.
 */
import type { Task } from '../api/views.ts';
import { CodedError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { sleep } from '../base/sleep.ts';
import { systemClock } from '../os/clock.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { Interrupted } from './exit-codes.ts';
import type { Session } from './session.ts';

/** One long-poll, in seconds. */
const POLL_SECONDS = 10;
/** On a terminal progress is asked for more often. */
const PROGRESS_SECONDS = 1;
const RETRY_MS = 500;

/** A terminal's progress line is updated more often. */
export async function waitForTask(session: Session, task: Task, timeoutMs: number): Promise<Task> {
  const { io } = session;
  const deadlineAt = monotonicMs() + timeoutMs;
  let seen = task;
  const show = (): void => {
    if (io.errIsTty) io.err(`\r\u001b[K${printable(`${seen.target.name}: ${seen.message}`)}${percent(seen)}`);
  };
  try {
    while (seen.state === 'running') {
      show();
      const leftMs = deadlineAt - monotonicMs();
      if (leftMs <= 0) throw stillRunning(seen, timeoutMs);
      seen = await poll(
        session,
        seen,
        Math.min(io.errIsTty ? PROGRESS_SECONDS : POLL_SECONDS, Math.ceil(leftMs / 1_000)),
      );
    }
  } catch (error) {
    if (io.signal.aborted)
      throw new Interrupted(`No longer waiting; ${seen.kind} of ${seen.target.name} goes on. ${howToWait(seen)}`);
    throw error;
  } finally {
    if (io.errIsTty) io.err('\r\u001b[K');
  }
  return seen;
}

/** Throws `failed` unless the task succeeded. */
export function demandSuccess(task: Task): void {
  if (task.state === 'succeeded') return;
  throw new CodedError(
    'failed',
    `${task.kind} of ${task.target.name} ${task.state}: ${task.message.replace(/\.$/, '')}.`,
    {
      advice: `\`gp events\` and \`gp task show ${task.id}\` say more.`,
    },
  );
}

/**
 * Cancels a task and waits until it has ended, as cancelled or for another reason. CodedError 'conflict' if the task
 * succeeded nevertheless or cannot be cancelled; 'deadline' after `timeoutMs`.
 */
export async function cancelTask(session: Session, id: string, timeoutMs: number): Promise<Task> {
  const client = await session.client();
  const asked = await client.call(client.http.POST('/v1/tasks/{task}/cancel', { params: { path: { task: id } } }));
  const ended = await waitForTask(session, asked, timeoutMs);
  if (ended.state !== 'succeeded') return ended;
  throw new CodedError('conflict', `It was too late: ${ended.kind} of ${ended.target.name} succeeded.`, {
    advice: ended.message,
  });
}

async function poll(session: Session, task: Task, seconds: number): Promise<Task> {
  const client = await session.client();
  const { signal } = session.io;
  try {
    const params = { path: { task: task.id }, query: { wait: seconds } };
    return await client.call(client.http.GET('/v1/tasks/{task}', { params, signal }));
  } catch (error) {
    // Another leader takes over within seconds, with the task.
    if (signal.aborted || !(error instanceof CodedError) || error.code !== 'unavailable') throw error;
    await sleep(systemClock, RETRY_MS, { signal });
    signal.throwIfAborted();
    return task;
  }
}

function stillRunning(task: Task, timeoutMs: number): CodedError {
  return new CodedError(
    'deadline',
    `${task.kind} of ${task.target.name} has not ended within ${Math.round(timeoutMs / 1_000)} s: ${task.message}.`,
    {
      advice: `It goes on. ${howToWait(task)}`,
    },
  );
}

/** Kinds of tasks that `gp task cancel` can cancel. */
const CANCELLABLE: ReadonlySet<string> = new Set(['vm.migrate', 'vm.start', 'vm.reset']);

function howToWait({ id, kind }: Task): string {
  const cancel = CANCELLABLE.has(kind) ? ` \`gp task cancel ${id}\` takes it back.` : '';
  return `\`gp task wait ${id}\` waits for its end.${cancel}`;
}

const percent = (task: Task): string => (task.progressPercent === null ? '' : ` (${task.progressPercent} %)`);
