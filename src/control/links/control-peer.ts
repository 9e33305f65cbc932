/** Whether another control node's server answers: a frozen or dead one does not, although its machine may. */
import type { ControlName } from '../../base/ids.ts';
import { type ClockOffset, clockOffset } from '../../core/model/clock-offset.ts';
import { PORTS } from '../../core/model/ports.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { integer, openObject, optional, parseBoolean } from '../../rpc/parse.ts';
import type { RpcClients } from './clients.ts';

const ALIVE_MS = 500;
const parseAlive = openObject({ alive: parseBoolean, wallMs: optional(integer({ min: 0 })) });

/** Asks once, within half a second. Never throws. `onClock` is told how far its wall clock is from ours. */
export async function controlAnswers(
  clients: RpcClients,
  control: { readonly name: string; readonly address: string },
  onClock: (offset: ClockOffset) => void = () => undefined,
): Promise<boolean> {
  const identity = { kind: 'control', name: control.name as ControlName } as const;
  const peer = clients.to({ address: control.address, port: PORTS.controlPeer, identity });
  try {
    const sentAt = monotonicMs();
    const { alive, wallMs } = await peer.call({
      method: 'GET',
      path: '/v1/alive',
      deadlineMs: ALIVE_MS,
      parse: parseAlive,
    });
    if (wallMs !== undefined)
      onClock(clockOffset(wallMs, { receivedAt: Date.now(), roundTripMs: monotonicMs() - sentAt }));
    return alive;
  } catch {
    return false;
  }
}
