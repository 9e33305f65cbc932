/**
 * Runs on a host of the cluster (`gp lab exec`): asks a QEMU there, over QMP with the credentials of a control node,
 * for its run state. Standard input: StatusQuestion as JSON. Standard output: the run state, or the outcome of the
 * connection where it is not `answers`.
 */
import { parseGeneration, parseVmId } from '../../src/base/ids.ts';
import { portsOfSlot } from '../../src/core/model/ports.ts';
import type { Credentials } from '../../src/pki/credentials.ts';
import { connectQmp } from '../../src/qmp/connect.ts';

/** The QEMU to ask, and the identity to ask as. */
export interface StatusQuestion {
  readonly vm: string;
  readonly generation: number;
  readonly slot: number;
  readonly credentials: Credentials;
}

const DEADLINE_MS = 3_000;

async function ask({ vm, generation, slot, credentials }: StatusQuestion): Promise<string> {
  const peer = { kind: 'incarnation', vmId: parseVmId(vm), generation: parseGeneration(generation) } as const;
  let outcome = 'no-monitor';
  for (const port of portsOfSlot(slot).qmp) {
    const address = { kind: 'tls', host: '127.0.0.1', port, credentials, peer } as const;
    const connection = await connectQmp(address, { deadlineMs: DEADLINE_MS });
    if (connection.outcome !== 'answers') {
      outcome = connection.outcome;
      continue;
    }
    const { session } = connection;
    const status = await session.execute<{ status: string }>('query-status', undefined, { deadlineMs: DEADLINE_MS });
    session.close();
    return status.status;
  }
  return outcome;
}

let input = '';
for await (const chunk of process.stdin) input += String(chunk);
process.stdout.write(await ask(JSON.parse(input) as StatusQuestion));
