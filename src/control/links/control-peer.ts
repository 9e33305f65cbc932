/**
 * Requests to the servers of other control nodes. A frozen or dead server does not answer, although its machine may.
 */
import type { ControlName, VmId } from '../../base/ids.ts';
import {
  BACKUP_FAILURE_CHARS_MAX,
  BACKUPS_SHOWN_MAX,
  type BackupPlaceList,
  type BackupPlaceState,
} from '../../core/model/backup.ts';
import { type ClockOffset, clockOffset } from '../../core/model/clock-offset.ts';
import { PORTS } from '../../core/model/ports.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import {
  arrayOf,
  integer,
  nullable,
  oneOf,
  openObject,
  optional,
  type Parser,
  parseBoolean,
  text,
} from '../../rpc/parse.ts';
import type { ConsoleHolder } from '../backend/shared-console.ts';
import type { RpcClients } from './clients.ts';

const ALIVE_MS = 500;
const CONSOLE_MS = 1_000;
const NAME_CHARS_MAX = 100;
const BACKUPS_MS = 2_000;
const PLACES_MAX = 8;
const time = integer({ min: 0 });
const placeState = {
  place: oneOf('local', 'directory', 's3'),
  where: text({ charsMax: 5_000 }),
  lastAt: nullable(time),
  failure: nullable(openObject({ at: time, message: text({ charsMax: BACKUP_FAILURE_CHARS_MAX }) })),
  since: time,
};
const parseAlive = openObject({
  alive: parseBoolean,
  wallMs: optional(time),
  backups: optional(arrayOf(openObject(placeState), { itemsMax: PLACES_MAX })),
});
const parseBackups = openObject({
  places: arrayOf(
    openObject({
      ...placeState,
      backups: arrayOf(
        openObject({
          file: text({ charsMax: 200 }),
          control: text({ charsMax: NAME_CHARS_MAX }),
          takenAt: time,
          revision: time,
          sizeBytes: time,
        }),
        { itemsMax: BACKUPS_SHOWN_MAX },
      ),
    }),
    { itemsMax: PLACES_MAX },
  ),
});

const parseHolder: Parser<{ readonly holder: ConsoleHolder | null }> = openObject({
  holder: nullable(
    openObject({
      name: text({ charsMax: NAME_CHARS_MAX }),
      since: text({ charsMax: NAME_CHARS_MAX }),
      node: text({ charsMax: NAME_CHARS_MAX }),
    }),
  ),
});

/**
 * Asks other control nodes for the holder of a VM's console; with `takenBy`, each of them ends its console. A node that
 * does not answer counts as holding none.
 */
export async function askConsolePeers(
  clients: RpcClients,
  controls: readonly { readonly name: string; readonly address: string }[],
  order: { readonly vm: VmId; readonly takenBy: string | null },
): Promise<ConsoleHolder | null> {
  const ask = async ({ name, address }: { readonly name: string; readonly address: string }) => {
    const identity = { kind: 'control', name: name as ControlName } as const;
    const peer = clients.to({ address, port: PORTS.controlPeer, identity });
    const request = { method: 'POST', path: '/v1/console', body: order, deadlineMs: CONSOLE_MS } as const;
    return (await peer.call({ ...request, parse: parseHolder })).holder;
  };
  const answers = await Promise.all(controls.map((control) => ask(control).catch(() => null)));
  return answers.find((holder) => holder !== null) ?? null;
}

/**
 * Asks once whether the server of another control node answers within half a second. Never throws. `onSaid` gets the
 * difference between that server's wall clock and ours, and how its backups are.
 */
export async function controlAnswers(
  clients: RpcClients,
  control: { readonly name: string; readonly address: string },
  onSaid: {
    readonly clock: (offset: ClockOffset) => void;
    readonly backups: (states: readonly BackupPlaceState[]) => void;
  },
): Promise<boolean> {
  const identity = { kind: 'control', name: control.name as ControlName } as const;
  const peer = clients.to({ address: control.address, port: PORTS.controlPeer, identity });
  try {
    const sentAt = monotonicMs();
    const { alive, wallMs, backups } = await peer.call({
      method: 'GET',
      path: '/v1/alive',
      deadlineMs: ALIVE_MS,
      parse: parseAlive,
    });
    if (wallMs !== undefined)
      onSaid.clock(clockOffset(wallMs, { receivedAt: Date.now(), roundTripMs: monotonicMs() - sentAt }));
    if (backups !== undefined) onSaid.backups(backups);
    return alive;
  } catch {
    return false;
  }
}

/** Asks another control node for its backups; null where it does not answer, or is too old to have any. */
export async function askBackups(
  clients: RpcClients,
  control: { readonly name: string; readonly address: string },
): Promise<readonly BackupPlaceList[] | null> {
  const identity = { kind: 'control', name: control.name as ControlName } as const;
  const peer = clients.to({ address: control.address, port: PORTS.controlPeer, identity });
  const request = { method: 'GET', path: '/v1/backups', deadlineMs: BACKUPS_MS, parse: parseBackups } as const;
  return peer.call(request).then(
    ({ places }) => places,
    () => null,
  );
}
