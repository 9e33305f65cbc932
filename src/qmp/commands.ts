/**
 * The QMP commands that Groundplane uses, with their types as QEMU 7.2's query-qmp-schema gives them. Guarantees: a
 * command, a misspelt argument or a value outside its enumeration does not compile. The types of replies are claims and
 * not checked: replies of later versions may have more fields than 7.2's, which are the ones named here.
 * Also spoken by qemu-storage-daemon, which has the block, export, object and NBD commands of them.
 */

import type { ExecuteOptions, QmpSession } from './session.ts';

/** Runs one typed command; errors as `QmpSession.execute`. Commands without arguments take `{}`. */
export function qmp<Name extends keyof QmpCommands>(
  session: QmpSession,
  name: Name,
  args: QmpCommands[Name]['arguments'],
  options: Omit<ExecuteOptions, 'outOfBand'>,
): Promise<QmpCommands[Name]['returns']> {
  return session.execute(name, args, { ...options, outOfBand: OUT_OF_BAND.has(name) });
}

/** Commands that QEMU can execute while others wait, a hung block job or NBD connection included. */
const OUT_OF_BAND: ReadonlySet<keyof QmpCommands> = new Set<keyof QmpCommands>(['query-yank', 'yank', 'migrate-pause']);

type None = Readonly<Record<string, never>>;
interface Command<Arguments, Returns> {
  readonly arguments: Arguments;
  readonly returns: Returns;
}

export type RunState =
  | 'debug'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'finish-migrate'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'guest-panicked'
  | 'colo';

export interface StatusInfo {
  readonly running: boolean;
  readonly status: RunState;
}

export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'cancelling'
  | 'cancelled'
  | 'active'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover'
  | 'completed'
  | 'failed'
  | 'colo'
  | 'pre-switchover'
  | 'device'
  | 'wait-unplug';

export interface MigrationInfo {
  /** Absent before the first migration. */
  readonly status?: MigrationStatus;
  readonly ram?: {
    readonly transferred: number;
    readonly remaining: number;
    readonly total: number;
    /** Pages per second that the guest dirties. */
    readonly 'dirty-pages-rate': number;
    readonly 'dirty-sync-count': number;
    readonly mbps: number;
    readonly 'page-size': number;
  };
  /** Milliseconds. */
  readonly 'total-time'?: number;
  readonly 'setup-time'?: number;
  readonly 'expected-downtime'?: number;
  /** Milliseconds the guest was paused, once completed. */
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  readonly 'blocked-reasons'?: readonly string[];
  /** The address on which an incoming migration listens. */
  readonly 'socket-address'?: readonly SocketAddress[];
}

export interface MigrationCapabilityState {
  readonly capability:
    | 'auto-converge'
    | 'events'
    | 'late-block-activate'
    | 'multifd'
    | 'pause-before-switchover'
    | 'postcopy-ram'
    | 'release-ram'
    | 'return-path'
    | 'validate-uuid'
    | 'xbzrle'
    | 'zero-blocks'
    | 'zero-copy-send';
  readonly state: boolean;
}

export interface MigrationParameters {
  readonly 'announce-initial'?: number;
  readonly 'announce-max'?: number;
  readonly 'announce-rounds'?: number;
  readonly 'announce-step'?: number;
  readonly 'cpu-throttle-initial'?: number;
  readonly 'cpu-throttle-increment'?: number;
  readonly 'max-cpu-throttle'?: number;
  /** Identifier of a tls-creds object; '' for none. */
  readonly 'tls-creds'?: string;
  readonly 'tls-hostname'?: string;
  readonly 'tls-authz'?: string;
  /** Bytes per second; 0 for no limit. */
  readonly 'max-bandwidth'?: number;
  /** Milliseconds, at most 2,000,000. */
  readonly 'downtime-limit'?: number;
  readonly 'multifd-channels'?: number;
  readonly 'multifd-compression'?: 'none' | 'zlib' | 'zstd';
}

/** A socket as block drivers and migration name it; ports are text. */
export type SocketAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: string }
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'fd'; readonly str: string };

/** The older, nested form, which nbd-server-start takes. */
export type SocketAddressLegacy =
  | { readonly type: 'inet'; readonly data: { readonly host: string; readonly port: string } }
  | { readonly type: 'unix'; readonly data: { readonly path: string } }
  | { readonly type: 'fd'; readonly data: { readonly str: string } };

export type QemuObject = { readonly id: string } & (
  | {
      readonly 'qom-type': 'tls-creds-x509';
      readonly dir: string;
      readonly endpoint: 'client' | 'server';
      readonly 'verify-peer'?: boolean;
    }
  | { readonly 'qom-type': 'authz-simple'; readonly identity: string }
  | {
      readonly 'qom-type': 'authz-list';
      readonly policy?: 'deny' | 'allow';
      readonly rules?: readonly {
        readonly match: string;
        readonly policy: 'deny' | 'allow';
        readonly format?: 'exact' | 'glob';
      }[];
    }
  | { readonly 'qom-type': 'iothread' }
  | { readonly 'qom-type': 'secret'; readonly file: string }
  | {
      readonly 'qom-type': 'throttle-group';
      readonly limits?: {
        readonly 'iops-total'?: number;
        readonly 'iops-total-max'?: number;
        readonly 'bps-total'?: number;
        readonly 'bps-total-max'?: number;
      };
    }
);

interface BlockNodeOptions {
  /** At most 31 characters. */
  readonly 'node-name'?: string;
  readonly 'read-only'?: boolean;
  readonly 'auto-read-only'?: boolean;
  readonly discard?: 'ignore' | 'unmap';
  readonly 'detect-zeroes'?: 'off' | 'on' | 'unmap';
  readonly cache?: { readonly direct?: boolean; readonly 'no-flush'?: boolean };
  readonly 'force-share'?: boolean;
}

/** A node described in place, or the name of one that exists. */
export type BlockdevRef = string | BlockdevOptions;

export type BlockdevOptions = BlockNodeOptions &
  (
    | {
        readonly driver: 'file';
        readonly filename: string;
        readonly aio?: 'threads' | 'native' | 'io_uring';
        readonly locking?: 'on' | 'off' | 'auto';
      }
    | { readonly driver: 'host_device'; readonly filename: string; readonly aio?: 'threads' | 'native' | 'io_uring' }
    | {
        readonly driver: 'raw';
        readonly file: BlockdevRef;
        readonly offset?: number;
        readonly size?: number;
      }
    | {
        readonly driver: 'qcow2';
        readonly file: BlockdevRef;
        readonly backing?: BlockdevRef | null;
        readonly 'lazy-refcounts'?: boolean;
        readonly 'l2-cache-size'?: number;
      }
    | {
        readonly driver: 'nbd';
        readonly server: SocketAddress;
        readonly export?: string;
        readonly 'tls-creds'?: string;
        readonly 'tls-hostname'?: string;
        /** Seconds that requests wait for a lost server; 0 fails them at once. */
        readonly 'reconnect-delay'?: number;
        /** Seconds. */
        readonly 'open-timeout'?: number;
      }
    | {
        readonly driver: 'iscsi';
        readonly transport: 'tcp' | 'iser';
        readonly portal: string;
        readonly target: string;
        readonly lun?: number;
        readonly 'initiator-name'?: string;
        readonly user?: string;
        readonly 'password-secret'?: string;
        readonly 'header-digest'?: 'crc32c' | 'none' | 'crc32c-none' | 'none-crc32c';
        /** Seconds. */
        readonly timeout?: number;
      }
    | {
        readonly driver: 'rbd';
        readonly pool: string;
        readonly namespace?: string;
        readonly image: string;
        readonly snapshot?: string;
        readonly conf?: string;
        readonly user?: string;
        readonly 'key-secret'?: string;
        readonly server?: readonly { readonly host: string; readonly port: string }[];
      }
    | { readonly driver: 'throttle'; readonly 'throttle-group': string; readonly file: BlockdevRef }
    | { readonly driver: 'null-co'; readonly size?: number; readonly 'read-zeroes'?: boolean }
  );

export interface NbdExportOptions {
  readonly type: 'nbd';
  readonly id: string;
  readonly 'node-name': string;
  readonly writable?: boolean;
  /** Export name; the node's name by default. */
  readonly name?: string;
  readonly description?: string;
  readonly bitmaps?: readonly string[];
  readonly iothread?: string;
  readonly 'fixed-iothread'?: boolean;
}

export interface BlockExportInfo {
  readonly id: string;
  readonly type: 'nbd' | 'vhost-user-blk' | 'fuse' | 'vduse-blk';
  readonly 'node-name': string;
  readonly 'shutting-down': boolean;
}

export interface ImageInfo {
  readonly filename: string;
  readonly format: string;
  /** Bytes. */
  readonly 'virtual-size': number;
  readonly 'actual-size'?: number;
  readonly 'backing-filename'?: string;
}

export interface BlockNodeInfo {
  readonly 'node-name'?: string;
  readonly drv: string;
  readonly ro: boolean;
  readonly file: string;
  readonly image: ImageInfo;
}

export interface BlockDeviceInfo {
  /** Empty for devices made with -device and -blockdev. */
  readonly device: string;
  readonly qdev?: string;
  readonly 'io-status'?: 'ok' | 'failed' | 'nospace';
  readonly inserted?: BlockNodeInfo;
}

export interface CpuInfo {
  readonly 'cpu-index': number;
  readonly 'qom-path': string;
  /** Kernel thread of the virtual CPU, in QEMU's pid namespace. */
  readonly 'thread-id': number;
}

export type YankInstance =
  | { readonly type: 'block-node'; readonly 'node-name': string }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'migration' };

/** Driver properties beside these are the driver's own. */
export interface DeviceOptions {
  readonly driver: string;
  readonly id: string;
  readonly bus?: string;
  readonly [property: string]: unknown;
}

/** Every command: arguments and return value. */
export interface QmpCommands {
  'query-status': Command<None, StatusInfo>;
  'query-version': Command<
    None,
    {
      readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
      readonly package: string;
    }
  >;
  'query-uuid': Command<None, { readonly UUID: string }>;
  stop: Command<None, None>;
  cont: Command<None, None>;
  /** QEMU ends; the connection closes right after or instead of the answer. */
  quit: Command<None, None>;
  system_powerdown: Command<None, None>;
  system_reset: Command<None, None>;
  'query-migrate': Command<None, MigrationInfo>;
  /** Returns at once; progress is in query-migrate and MIGRATION events (capability 'events'). */
  migrate: Command<{ readonly uri: string; readonly resume?: boolean }, None>;
  migrate_cancel: Command<None, None>;
  'migrate-continue': Command<{ readonly state: MigrationStatus }, None>;
  'migrate-pause': Command<None, None>;
  'migrate-set-capabilities': Command<{ readonly capabilities: readonly MigrationCapabilityState[] }, None>;
  'migrate-set-parameters': Command<MigrationParameters, None>;
  'migrate-incoming': Command<{ readonly uri: string }, None>;
  'object-add': Command<QemuObject, None>;
  'object-del': Command<{ readonly id: string }, None>;
  'qom-set': Command<{ readonly path: string; readonly property: string; readonly value: unknown }, None>;
  'qom-get': Command<{ readonly path: string; readonly property: string }, unknown>;
  'block-export-add': Command<NbdExportOptions, None>;
  /** 'hard' closes the clients' connections; returns before the export is gone: BLOCK_EXPORT_DELETED says when. */
  'block-export-del': Command<{ readonly id: string; readonly mode?: 'safe' | 'hard' }, None>;
  'query-block-exports': Command<None, readonly BlockExportInfo[]>;
  'blockdev-add': Command<BlockdevOptions, None>;
  'blockdev-del': Command<{ readonly 'node-name': string }, None>;
  /** Bytes. */
  block_resize: Command<{ readonly 'node-name': string; readonly size: number }, None>;
  'nbd-server-start': Command<
    {
      readonly addr: SocketAddressLegacy;
      readonly 'tls-creds'?: string;
      readonly 'tls-authz'?: string;
      /** 0 for no limit; 0 by default before QEMU 9.1, 100 since. */
      readonly 'max-connections'?: number;
    },
    None
  >;
  'nbd-server-stop': Command<None, None>;
  /** `flat` leaves backing images out. */
  'query-named-block-nodes': Command<{ readonly flat?: boolean }, readonly BlockNodeInfo[]>;
  'query-block': Command<None, readonly BlockDeviceInfo[]>;
  'query-cpus-fast': Command<None, readonly CpuInfo[]>;
  device_add: Command<DeviceOptions, None>;
  /** Returns before the guest gave the device back: DEVICE_DELETED says when. */
  device_del: Command<{ readonly id: string }, None>;
  /** Milliseconds; lets the guest's network cards announce their place. */
  'announce-self': Command<
    {
      readonly initial: number;
      readonly max: number;
      readonly rounds: number;
      readonly step: number;
      readonly interfaces?: readonly string[];
      readonly id?: string;
    },
    None
  >;
  'query-yank': Command<None, readonly YankInstance[]>;
  /** Out of band: breaks connections that hang (a fenced disk's with a reconnect delay, say). */
  yank: Command<{ readonly instances: readonly YankInstance[] }, None>;
}
