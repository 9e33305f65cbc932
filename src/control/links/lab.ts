/** The lab's socket, as control nodes of a one-machine cluster see it. Every call ends; `exec` is never asked for. */
import { CodedError } from '../../base/errors.ts';
import { labAnswer } from '../../base/wire-error.ts';
import { withDeadline } from '../../os/deadline.ts';
import { exchangeLine } from '../../os/line-exchange.ts';
import type { LabLink } from '../backend/ports.ts';

/** Machines that boot take their time. */
const CALL_MS = 30_000;
const ANSWER_BYTES_MAX = 1024 * 1024;

/** Null without a socket. */
export function createLabLink(socket: string | undefined): LabLink | null {
  if (socket === undefined) return null;
  return {
    call: (request) => {
      // Faults are for people who evaluate the cluster; the commands that run programs on its machines are for users of
      // this machine.
      if (request.verb === 'exec') throw new CodedError('forbidden', 'Programs are run by "gp lab exec" only.');
      return withDeadline(
        async (signal) => {
          const how = { signal, bytesMax: ANSWER_BYTES_MAX };
          return labAnswer(await exchangeLine(socket, JSON.stringify(request), how), 'the lab');
        },
        { deadlineMs: CALL_MS, what: `The lab (${request.verb})` },
      );
    },
  };
}
