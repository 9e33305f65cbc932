/** A simulated QEMU process: run states as QEMU 7.2 has them, and the rules for its disks (`werror=stop`, reconnect delay). */
import { CodedError } from '../base/errors.ts';
import type { DiskId, Generation, StorageName, VmId } from '../base/ids.ts';
import type { MigrationState } from '../core/model/observation.ts';

/** What a launch order says of a process, as far as it matters here. */
export interface SimQemuStart {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly slot: number;
  readonly pid: number;
  readonly incoming: boolean;
  readonly patienceMs: number;
  readonly disks: readonly { readonly disk: DiskId; readonly node: StorageName; readonly readOnly: boolean }[];
}

/** Run states in which vCPUs run. */
const LIVE = new Set(['running']);

/** One process. The world ends it by dropping it. */
export class SimQemu {
  readonly start: SimQemuStart;
  status: string;
  migration: MigrationState | null = null;
  /** `vm:generation` of the source it waits for. */
  listeningFor: string | null = null;
  /** `cont` while it waits for a stream makes it run as soon as the stream is complete. */
  autostart = false;
  /** Since when its disk I/O hangs, or null. */
  stalledSince: number | null = null;
  ended = false;

  constructor(start: SimQemuStart) {
    this.start = start;
    this.status = start.incoming ? 'inmigrate' : 'prelaunch';
  }

  get key(): string {
    return `${this.start.vm}:${this.start.generation}`;
  }

  get isLive(): boolean {
    return LIVE.has(this.status) && !this.ended;
  }

  cont(): void {
    if (this.status === 'inmigrate') {
      this.autostart = true;
      return;
    }
    if (this.status === 'shutdown' || this.status === 'guest-panicked')
      throw new CodedError('failed', 'Resetting the Virtual Machine is required');
    if (this.migration?.status === 'active') this.migration = { ...this.migration };
    this.status = 'running';
    this.stalledSince = null;
  }

  halt(): void {
    if (this.status === 'running') this.status = 'paused';
  }

  reset(): void {
    if (this.status === 'shutdown' || this.status === 'guest-panicked') this.status = 'paused';
  }

  /** The disk I/O of one tick hangs (`served` false) or goes through. */
  touchDisks(served: boolean, nowMs: number): void {
    if (served) {
      this.stalledSince = null;
      return;
    }
    this.stalledSince ??= nowMs;
    if (nowMs - this.stalledSince >= this.start.patienceMs) this.status = 'io-error';
  }
}

/** A migration's state with nothing known but its status. */
export function migrationIs(status: MigrationState['status'], error: string | null = null): MigrationState {
  return { status, transferredBytes: 0, remainingBytes: 0, totalBytes: 0, downtimeMs: null, error };
}
