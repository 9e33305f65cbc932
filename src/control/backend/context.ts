/** What all parts of the backend share: the store, the links, and the leadership while this node has it. */

import type { Controller } from '../../core/loop/controller.ts';
import type { ClockOffset } from '../../core/model/clock-offset.ts';
import type { EtcdClient } from '../../etcd/client.ts';
import type { CertifiedKey } from '../../pki/authority.ts';
import type { EtcdSpace } from '../etcd-space.ts';
import type { createHostLink } from '../links/host-link.ts';
import type { QmpConnector } from '../links/qmp-connector.ts';
import type { StorageClient } from '../links/storage-link.ts';
import type { ControlRecord } from '../store/cluster-store.ts';
import type { ChangeContext } from './changes.ts';
import type { AskPeers } from './consoles.ts';

/** This node as leader. */
export interface Leading {
  readonly term: number;
  readonly controller: Controller;
}

export interface BackendContext extends ChangeContext {
  readonly name: string;
  readonly version: string;
  readonly etcd: EtcdClient;
  readonly hosts: ReturnType<typeof createHostLink>;
  readonly storage: StorageClient;
  readonly qmp: QmpConnector;
  readonly authority: CertifiedKey;
  readonly etcdEndpoints: readonly string[];
  readonly adminTokenSha256: string;
  /** The state of etcd's room. */
  readonly etcdSpace: Pick<EtcdSpace, 'members' | 'quotaBytes' | 'demandRoom'>;
  /** What this server needs before it can answer, as a sentence; null once it has read etcd. */
  waitingFor(): string | null;
  /** Whether another control node's server answers now. */
  controlAnswers(control: ControlRecord): Promise<boolean>;
  /**
   * The last known difference of another control node's wall clock from ours; null if that node has not reported it.
   */
  controlClock(name: string): ClockOffset | null;
  /**
   * Whether a machine answers at an address of that network, as its kernel says; null if no machine on that network
   * could be asked.
   */
  addressAnswers(network: 'control' | 'storage', address: string): Promise<boolean | null>;
  /** Asks for the holder of a VM's console through another control node; with `takenBy` the console there ends. */
  askConsolePeers: AskPeers;
  /** Null while another node leads, or none. */
  leading(): Leading | null;
  /** The leader by the election, whoever it is. */
  leader(): { readonly name: string; readonly address: string } | null;
}
