/** `gp events --follow`: the events so far, then each as it happens, once, through lost connections, until Ctrl-C. */
import type { Event } from '../api/views.ts';
import { CodedError } from '../base/errors.ts';
import { pause } from '../os/deadline.ts';
import { EVENT_TABLE } from './commands/presentations.ts';
import type { Session } from './session.ts';
import { formatTable } from './table.ts';

const RETRY_MS = 1_000;

export interface Following {
  /** Printed first. */
  readonly before: readonly Event[];
  /** Revision of the store from before `before` was read. */
  readonly after: string;
  readonly vm: string | undefined;
  readonly host: string | undefined;
}

/** Ends at Ctrl-C, or with an error that trying again does not cure. */
export async function followEvents(session: Session, { before, after, vm, host }: Following): Promise<void> {
  const { signal } = session.io;
  const client = await session.client();
  const seen = new Set(before.map((event) => event.revision));
  if (session.options.output === 'table') await session.printList(before, EVENT_TABLE);
  else for (const event of before) await printLine(session, event);
  let revision = after;
  while (!signal.aborted) {
    try {
      for await (const change of client.watch({ after: revision, signal })) {
        revision = change.revision;
        if (change.kind !== 'event' || change.object === null || seen.has(change.revision)) continue;
        const event = change.object as Event;
        const wanted =
          (vm === undefined || event.vm === vm || event.vmId === vm) && (host === undefined || event.host === host);
        if (wanted) await printLine(session, event);
      }
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'unavailable') throw error;
    }
    if (!signal.aborted) await pause(RETRY_MS, signal).catch(() => undefined);
  }
}

/** One line per event: JSON lines where JSON was asked for. */
async function printLine(session: Session, event: Event): Promise<void> {
  const { output } = session.options;
  if (output === 'json') session.io.out(`${JSON.stringify(event)}\n`);
  else if (output === 'yaml') await session.printedAsData([event]);
  else if (output === 'name') session.io.out(`${EVENT_TABLE.name(event)}\n`);
  else session.io.out(formatTable(EVENT_TABLE.row(event, session.colours), []));
}
