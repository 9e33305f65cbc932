/**
 * The surroundings of the API's backend: the store, the ports to the world, and the leadership while this node has it.
 * Guarantees: everything in it is a port or plain data, so that the same backend serves a real control node and a
 * simulated one.
 */

import { CodedError } from '../../base/errors.ts';
import { NobodyLeads } from '../../base/problem.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { ClockOffset } from '../../core/model/clock-offset.ts';
import type { ControlRecord } from '../../core/model/cluster.ts';
import type { GuestAgentLink } from '../../core/ports/guest-agent-link.ts';
import type { Observed } from '../../core/request/basis.ts';
import type { ChangeContext } from './changes.ts';
import type { AskPeers } from './consoles.ts';
import type {
  ArtifactFiles,
  Authority,
  Backups,
  Displays,
  EtcdMembers,
  EtcdReaders,
  EtcdRoom,
  HostLogs,
  LabLink,
  RecordsOfEtcd,
  SerialPorts,
} from './ports.ts';

/** The state of this node while it leads. */
export interface Leading {
  readonly term: number;
  readonly controller: Controller;
}

export interface BackendContext extends ChangeContext {
  readonly name: string;
  readonly version: string;
  readonly etcd: RecordsOfEtcd;
  readonly etcdReaders: EtcdReaders;
  readonly etcdMembers: EtcdMembers;
  readonly etcdSpace: EtcdRoom;
  readonly backups: Backups;
  readonly etcdEndpoints: readonly string[];
  readonly hosts: HostLogs;
  readonly storage: ArtifactFiles;
  readonly serial: SerialPorts;
  readonly displays: Displays;
  /** Null: this cluster runs on machines of its own. */
  readonly lab: LabLink | null;
  readonly guestAgents: GuestAgentLink;
  readonly authority: Authority;
  readonly adminTokenSha256: string;
  /** The thing that this server waits for before it can answer, as a sentence; null once it has read etcd. */
  waitingFor(): string | null;
  /** Whether another control node's server answers now. */
  controlAnswers(control: ControlRecord): Promise<boolean>;
  /**
   * The last known difference of another control node's wall clock from ours; null if that node has not reported it.
   */
  controlClock(name: string): ClockOffset | null;
  /**
   * Asks who answers at an address of that network: the machine with the key of a certificate request (`proved`),
   * another machine, or nobody; `unknown` if no machine on that network could be asked.
   */
  addressAnswers(
    network: 'control' | 'storage',
    address: string,
    requestPem: string,
  ): Promise<'proved' | 'other' | 'silent' | 'unknown'>;
  /** Asks for the holder of a VM's console through another control node; with `takenBy` the console there ends. */
  askConsolePeers: AskPeers;
  /** Null while another node leads, or none. */
  leading(): Leading | null;
  /** The leader according to the election. */
  leader(): { readonly name: string; readonly address: string } | null;
}

/** The observations of this node as leader, in the form that requests need; null while it does not lead. */
export function observedBy({ leading }: Pick<BackendContext, 'leading'>): Observed | null {
  return leading()?.controller ?? null;
}

/** The observations of this node. NobodyLeads unless it leads. */
export function observedByLeader(context: Pick<BackendContext, 'leading'>): Observed {
  const observed = observedBy(context);
  if (observed !== null) return observed;
  throw new NobodyLeads('This control node does not lead, and only the leader knows which hosts answer.');
}

/** CodedError 'unavailable' before etcd was read once: until then, valid and invalid tokens cannot be told apart. */
export function demandRead(context: Pick<BackendContext, 'name' | 'waitingFor'>): void {
  const waitingFor = context.waitingFor();
  if (waitingFor === null) return;
  throw new CodedError(
    'unavailable',
    `Control node ${context.name} has started and waits for ${waitingFor.replace(/\.$/, '')}.`,
    {
      advice:
        'Nothing was changed; VMs run on. The server continues by itself once a majority of etcd members answers: check them.',
    },
  );
}
