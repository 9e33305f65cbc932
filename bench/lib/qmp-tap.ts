/**
 * A program that runs on a control node and watches one live migration on spare monitors: it connects to the source,
 * makes the file `readyFile`, tries the destination until it answers, and prints when the source stopped and the
 * destination resumed, by QEMU's own time stamps. Its order is JSON on standard input. It ends by itself at the order's
 * deadline.
 */

import { writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { parseGeneration, parseVmId } from '../../src/base/ids.ts';
import { sleep } from '../../src/base/sleep.ts';
import { portsOfSlot } from '../../src/core/model/ports.ts';
import { systemClock } from '../../src/os/clock.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { type Credentials, readCredentials } from '../../src/pki/credentials.ts';
import { connectQmp } from '../../src/qmp/connect.ts';
import type { QmpEvent } from '../../src/wire/qmp/codec.ts';

/** One end of the migration, which may be in any of some slots of some hosts. */
export interface TapEnd {
  readonly generation: number;
  readonly addresses: readonly string[];
  readonly slots: readonly number[];
}

export interface TapOrder {
  readonly vm: string;
  readonly credentialsDir: string;
  readonly readyFile: string;
  readonly deadlineMs: number;
  readonly source: TapEnd;
  readonly destination: TapEnd;
}

/** Unix time in ms. */
export interface TapReport {
  readonly stoppedAtMs: number;
  /** When both sides had said that they were complete. */
  readonly completedAtMs: number;
  readonly resumedAtMs: number;
}

type Moment = 'STOP' | 'completed' | 'RESUME';

const CONNECT_MS = 3_000;
const RETRY_MS = 20;
/** The last monitor of an incarnation: the first control node uses the first one. */
const MONITOR = 2;

async function watch(order: TapOrder): Promise<TapReport> {
  const credentials = await readCredentials(order.credentialsDir);
  if (credentials === undefined) throw new Error(`no credentials in ${order.credentialsDir}`);
  const source = new Moments();
  const destination = new Moments();
  await withDeadline((signal) => connect(order.vm, order.source, { credentials, signal, moments: source }), {
    deadlineMs: order.deadlineMs,
    what: 'the source',
  });
  await writeFile(order.readyFile, '');
  return withDeadline(
    async (signal) => {
      await connect(order.vm, order.destination, { credentials, signal, moments: destination });
      return {
        stoppedAtMs: await source.of('STOP'),
        completedAtMs: Math.max(await source.of('completed'), await destination.of('completed')),
        resumedAtMs: await destination.of('RESUME'),
      };
    },
    { deadlineMs: order.deadlineMs, what: 'the migration' },
  );
}

/** When each thing happened first, by QEMU's time stamps. */
class Moments {
  readonly #seen = new Map<Moment, PromiseWithResolvers<number>>();

  note({ name, data, timestampMs }: QmpEvent): void {
    if (name === 'STOP' || name === 'RESUME') this.#at(name).resolve(timestampMs);
    if (name === 'MIGRATION' && data['status'] === 'completed') this.#at('completed').resolve(timestampMs);
  }

  of(moment: Moment): Promise<number> {
    return this.#at(moment).promise;
  }

  #at(moment: Moment): PromiseWithResolvers<number> {
    const known = this.#seen.get(moment) ?? Promise.withResolvers<number>();
    this.#seen.set(moment, known);
    return known;
  }
}

/** Tries the slots in turn until the incarnation answers in one. */
async function connect(
  vm: string,
  end: TapEnd,
  how: { credentials: Credentials; signal: AbortSignal; moments: Moments },
): Promise<void> {
  const { credentials, signal, moments } = how;
  const peer = { kind: 'incarnation', vmId: parseVmId(vm), generation: parseGeneration(end.generation) } as const;
  const onEvent = (event: QmpEvent): void => moments.note(event);
  for (;;) {
    for (const host of end.addresses) {
      for (const slot of end.slots) {
        const port = portsOfSlot(slot).qmp[MONITOR];
        const address = { kind: 'tls', host, port, credentials, peer } as const;
        const { outcome } = await connectQmp(address, { deadlineMs: CONNECT_MS, signal, onEvent });
        if (outcome === 'answers') return;
      }
    }
    await sleep(systemClock, RETRY_MS, { signal });
    signal.throwIfAborted();
  }
}

if (process.argv[1] === import.meta.filename) {
  const report = await watch(JSON.parse(await text(process.stdin)) as TapOrder);
  process.stdout.write(JSON.stringify(report));
  process.exit(0);
}
