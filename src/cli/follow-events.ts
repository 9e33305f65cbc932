/** `gp events --follow`: the events so far, then each as it happens, once, through lost connections, until Ctrl-C. */
import type { EventFilter } from '../api/requests.ts';
import type { Event } from '../api/views.ts';
import { CodedError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { sleep } from '../base/sleep.ts';
import { systemClock } from '../os/clock.ts';
import { EVENT_TABLE } from './commands/presentations.ts';
import type { Session } from './session.ts';
import { jsonShown, shown } from './shown.ts';
import { formatTable } from './table.ts';

const RETRY_MS = 1_000;
/** The number of events that a cluster keeps. */
const EVENTS_KEPT = 5_000;

export interface Following {
  /** Printed first. */
  readonly before: readonly Event[];
  /** Revision of the store from before `before` was read. */
  readonly after: string;
  /** Filter of the events that follow; `before` was filtered in the same way. */
  readonly filter: EventFilter;
}

/** Follows events until Ctrl-C, or until an error that a retry does not cure. */
export async function followEvents(session: Session, { before, after, filter }: Following): Promise<void> {
  const { signal } = session.io;
  const client = await session.client();
  const seen = new Set(before.map((event) => event.revision));
  if (session.isForPeople) await session.printList(before, EVENT_TABLE);
  else for (const event of before) await printLine(session, event);
  let revision = after;
  while (!signal.aborted) {
    try {
      for await (const change of client.watch({ after: revision, filter, signal })) {
        revision = change.revision;
        if (change.kind !== 'event' || change.object === null || seen.has(change.revision)) continue;
        await printLine(session, change.object as Event);
      }
    } catch (error) {
      if (!(error instanceof CodedError) || (error.code !== 'unavailable' && error.code !== 'conflict')) throw error;
      // No event matched for so long that the watch can no longer resume at its revision; the events themselves are
      // kept for longer.
      if (error.code === 'conflict') revision = await printMissed(session, revision, filter);
    }
    await sleep(systemClock, RETRY_MS, { signal });
  }
}

/** Prints the kept events after a revision; returns the revision to continue from. */
async function printMissed(session: Session, revision: string, filter: EventFilter): Promise<string> {
  const client = await session.client();
  const { signal } = session.io;
  const cluster = await client.call(client.http.GET('/v1/cluster', { signal }));
  const { eventKind, ...rest } = filter;
  const query = { ...rest, ...(eventKind === undefined ? {} : { eventKind: [...eventKind] }) };
  for (const event of await client.latest('/v1/events', EVENTS_KEPT, { params: { query }, signal }))
    if (BigInt(event.revision) > BigInt(revision) && BigInt(event.revision) <= BigInt(cluster.revision))
      await printLine(session, event);
  return cluster.revision;
}

/** One line per event: JSON lines if JSON was asked for. */
async function printLine(session: Session, event: Event): Promise<void> {
  const { output } = session.options;
  if (output === 'json') session.io.out(`${jsonShown(event)}\n`);
  else if (output === 'yaml') await session.printedAsData([event]);
  else if (output === 'name') session.io.out(`${printable(EVENT_TABLE.name(event))}\n`);
  else session.io.out(formatTable(EVENT_TABLE.row(shown(event), session.colours), []));
}
