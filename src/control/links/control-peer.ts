/** Whether another control node's server answers: a frozen or dead one does not, although its machine may. */
import type { ControlName } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import { openObject, parseBoolean } from '../../rpc/parse.ts';
import type { RpcClients } from './clients.ts';

const ALIVE_MS = 500;
const parseAlive = openObject({ alive: parseBoolean });

/** Asks once, within half a second. Never throws. */
export async function controlAnswers(
  clients: RpcClients,
  control: { readonly name: string; readonly address: string },
): Promise<boolean> {
  const identity = { kind: 'control', name: control.name as ControlName } as const;
  const peer = clients.to({ address: control.address, port: PORTS.controlPeer, identity });
  try {
    return (await peer.call({ method: 'GET', path: '/v1/alive', deadlineMs: ALIVE_MS, parse: parseAlive })).alive;
  } catch {
    return false;
  }
}
