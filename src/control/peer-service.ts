/**
 * Services of a control node for the others: one TCP attempt, or a relayed connection, to a host; which machines this
 * node would reach as leader; who holds a VM's console through this node.
 */
import { CodedError } from '../base/errors.ts';
import { parseVmId, type VmId } from '../base/ids.ts';
import type { BackupPlaceList } from '../core/model/backup.ts';
import { isRelayPort, PORTS } from '../core/model/ports.ts';
import { REACH_TARGETS_MAX } from '../core/ports/reach.ts';
import { probeTcp } from '../os/tcp-probe.ts';
import type { OwnIdentity } from '../rpc/own-identity.ts';
import { arrayOf, idOf, integer, nullable, openObject, parsePort, text } from '../rpc/parse.ts';
import { Relay } from '../rpc/relay.ts';
import { type Route, type RpcService, startService } from '../rpc/service.ts';
import type { ConsoleHolder } from './backend/shared-console.ts';
import { tryAll } from './links/reach.ts';

const PROBE_MS_MAX = 10_000;
const RELAY = { pairsMax: 256, idleMs: 600_000 } as const;
const CONNECT_MS = 3_000;

const parseProbeOrder = openObject({
  address: text({ charsMax: 100 }),
  port: parsePort,
  deadlineMs: integer({ min: 1, max: PROBE_MS_MAX }),
});

const parseReachOrder = openObject({
  targets: arrayOf(openObject({ address: text({ charsMax: 100 }), port: parsePort }), { itemsMax: REACH_TARGETS_MAX }),
  deadlineMs: integer({ min: 1, max: PROBE_MS_MAX }),
});

const parseConsoleOrder = openObject({ vm: idOf(parseVmId), takenBy: nullable(text({ charsMax: 100 })) });

/** Listens on the control address for the other control nodes only. */
export function startPeerService(options: {
  readonly credentials: OwnIdentity;
  readonly address: string;
  /** Returns whether this node follows etcd now: a node that does not could not lead. */
  readonly followsEtcd: () => boolean;
  /** Returns how this node's backups are. */
  readonly backups: () => readonly BackupPlaceList[];
  /** Returns the holder of a VM's console through this node; with `takenBy` that console ends. */
  readonly console: (vm: VmId, takenBy: string | null) => ConsoleHolder | null;
  readonly onUnexpected: (error: unknown, request: string) => void;
}): Promise<RpcService> {
  const relay = new Relay(RELAY);
  const demandRelayPort = (port: number): void => {
    if (!isRelayPort(port)) throw new CodedError('forbidden', `Control nodes relay no connections to port ${port}.`);
  };
  const demandLedPort = (port: number): void => {
    if (port !== PORTS.agent && port !== PORTS.storage)
      throw new CodedError('forbidden', `Port ${port} is neither that of an agent nor that of a storage service.`);
  };
  return startService({
    ...options,
    port: PORTS.controlPeer,
    routes: [
      ...options.credentials.routes,
      ...aliveRoutes(options.backups),
      {
        method: 'POST',
        path: '/v1/probe',
        allow: ['control'],
        handle: async ({ body }) => {
          const { deadlineMs, ...target } = parseProbeOrder(body, 'body');
          demandRelayPort(target.port);
          return { json: await probeTcp(target, deadlineMs) };
        },
      },
      {
        method: 'POST',
        path: '/v1/reach',
        allow: ['control'],
        handle: async ({ body }) => {
          const { targets, deadlineMs } = parseReachOrder(body, 'body');
          for (const { port } of targets) demandLedPort(port);
          return { json: { met: options.followsEtcd() ? await tryAll(targets, deadlineMs) : null } };
        },
      },
      {
        method: 'POST',
        path: '/v1/console',
        allow: ['control'],
        handle: async ({ body }) => {
          const { vm, takenBy } = parseConsoleOrder(body, 'body');
          return { json: { holder: options.console(vm, takenBy) } };
        },
      },
    ],
    connect: {
      allow: ['control'],
      open: (target, signal) => {
        demandRelayPort(target.port);
        return relay.open(target, { deadlineMs: CONNECT_MS, signal });
      },
      join: (client, upstream) => relay.join(client, upstream),
    },
  });
}

/** That this node is there, and how its backups are. */
function aliveRoutes(backups: () => readonly BackupPlaceList[]): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/alive',
      allow: ['control'],
      handle: async () => {
        const states = backups().map(({ backups: _, ...state }) => state);
        return { json: { alive: true, wallMs: Date.now(), backups: states } };
      },
    },
    {
      method: 'GET',
      path: '/v1/backups',
      allow: ['control'],
      handle: async () => ({ json: { places: backups() } }),
    },
  ];
}
