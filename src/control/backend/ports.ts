/**
 * The ports of the API's backend that the core has no business with: logs, consoles, files of images, certificates for
 * joiners, and etcd's users and room. Production reaches real machines through them (src/control/links); the simulator
 * reaches simulated ones.
 *
 * Every call ends within its deadline; a failure is a CodedError.
 */
import type { Duplex, Readable } from 'node:stream';
import type { InjectFault } from '../../api/lab-views.ts';
import type { HostName, Sha256, StorageName } from '../../base/ids.ts';
import type { AuthorityEntry } from '../../core/model/authorities.ts';
import type { BackupPlaceList, BackupPlaceState } from '../../core/model/backup.ts';
import type { EtcdMember } from '../../core/plan/lead/etcd-space.ts';
import type { MachineFigures } from '../../core/ports/host-link.ts';
import type { Certifier } from '../../core/ports/identity-link.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import type { ArtifactInfo } from '../../core/ports/storage-link.ts';
import type { Etcd } from '../../etcd/api.ts';

/** Records as etcd holds them: changes for event streams, and whether etcd still answers. */
export type RecordsOfEtcd = Pick<Etcd, 'list' | 'watch'>;

/** The logs that agents keep of an incarnation, read when somebody looks. */
export interface HostLogs {
  /** Returns the tail of an incarnation's serial log; `query` is that of GET /v1/log (core/ports/host-link.ts). */
  log(host: HostName, query: string, deadlineMs: number): Promise<string>;
  /** The counters that the host's kernel keeps for an incarnation; `query` is that of GET /v1/figures. */
  figures(host: HostName, query: string, deadlineMs: number): Promise<MachineFigures>;
}

/** The lab that a one-machine cluster runs in. */
export interface LabLink {
  /** Carries out a verb of `gp lab`, and returns what it answers; the CodedErrors of the lab. */
  call(request: { readonly verb: string } & Partial<InjectFault>): Promise<unknown>;
}

/** The serial ports of QEMUs. */
export interface SerialPorts {
  /**
   * Opens the serial port of an incarnation. CodedError 'unavailable' if it cannot be reached or serves another client.
   */
  openSerial(target: QmpTarget): Promise<Duplex>;
}

/** The displays of QEMUs. */
export interface Displays {
  /**
   * Connects to the display of an incarnation: RFB from ClientInit on (RFC 6143, 7.3), security is behind it already.
   * CodedError 'unavailable' if it cannot be reached.
   */
  openDisplay(target: QmpTarget): Promise<Duplex>;
}

/** A file on its way to a storage node. */
export interface ArtifactStream {
  readonly sha256: Sha256;
  readonly kind: 'disk-qcow2' | 'disk-raw' | 'kernel' | 'initrd' | 'seed';
  readonly sizeBytes: number;
  /** Bytes that the content needs there; absent if unknown. */
  readonly dataBytes?: number;
  readonly body: Readable;
}

/** Bounds of a transfer. */
export interface TransferOptions {
  readonly deadlineMs: number;
  /** Ends the transfer early. */
  readonly signal?: AbortSignal | undefined;
}

/** The files that storage nodes keep for images and seeds. */
export interface ArtifactFiles {
  putArtifact(node: StorageName, artifact: ArtifactStream, options: TransferOptions): Promise<ArtifactInfo>;
  /** Begins to read a file; `deadlineMs` bounds the beginning only. */
  openArtifact(node: StorageName, sha256: Sha256, options: TransferOptions): Promise<Readable>;
  deleteArtifact(node: StorageName, sha256: Sha256, term: number, deadlineMs: number): Promise<void>;
}

/** The cluster's certificate authorities, as far as joining needs them. */
export interface Authority extends Certifier {
  /** The certificate of the authority that issues. */
  readonly certPem: string;
  /** PKCS #8. A secret: for control nodes only. */
  readonly keyPem: string;
  /** The certificate that join tokens pin. */
  readonly pinPem: string;
  /** Makes the next authority, and keeps its key at this control node. */
  makeNext(): Promise<{ readonly present: AuthorityEntry; readonly next: AuthorityEntry }>;
}

/** The storage nodes that may read from etcd. */
export interface EtcdReaders {
  allow(node: StorageName): Promise<void>;
  /** Idempotent. */
  revoke(node: StorageName): Promise<void>;
}

/** A control node, or its member of etcd. */
export interface ControlAddress {
  readonly name: string;
  readonly address: string;
}

/** The control nodes as members of etcd. */
export interface EtcdMembers {
  /**
   * Lets a control node use etcd, and adds its member, which has no vote until it is promoted. A member of the same
   * address that never voted stays; one that did vote is replaced: its machine came back without its data. Returns all
   * members. CodedError 'conflict' while another member is a learner.
   */
  add(node: ControlAddress): Promise<readonly ControlAddress[]>;
  /** Takes a control node's member and its rights away. Idempotent. */
  remove(node: ControlAddress): Promise<void>;
}

/** The backups of the cluster's records that control nodes make. */
export interface Backups {
  /** How those of this node are. */
  places(): readonly BackupPlaceList[];
  /**
   * The pieces of a backup of now. CodedError 'unavailable', with the first piece, while another one is read through this
   * node; what etcd refuses.
   */
  read(signal: AbortSignal): AsyncGenerator<string, void>;
  /** How those of another control node are, as it said last; null: it has not said. */
  lastKnown(control: string): readonly BackupPlaceState[] | null;
  /** Asks another control node for its backups; null where it does not answer. */
  ask(control: ControlAddress): Promise<readonly BackupPlaceList[] | null>;
}

/** The state of etcd's room. */
export interface EtcdRoom {
  readonly members: readonly EtcdMember[];
  readonly quotaBytes: number;
  /** CodedError 'no-capacity' if the rest of the quota is reserved. */
  demandRoom(): void;
}
