/**
 * Decides when the leader looks at each VM again: when somebody wakes the VM, when the time that its last look asked
 * for is over, and, if no host could take it, when a host may have room.
 * Guarantees: one look per VM at a time; a wake-up during a look is not lost: another look follows at once; a look that
 * throws is repeated after a second; after `stop` no look begins.
 */
import { messageOf } from '../../../base/errors.ts';
import type { VmId } from '../../../base/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';

/** Changes of hosts within this time wake the VMs that wait for room once, in ms. */
const ROOM_MS = 50;
/** The time until the next look at a VM whose look threw, in ms. */
const FAILED_MS = 1_000;

export interface SchedulePorts {
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
  /** Looks at a VM; resolves with the longest time until the next look in ms, or null: there is no such VM any more. */
  readonly look: (id: VmId) => Promise<number | null>;
  /** Called after a look that threw, with the error. */
  readonly onFailed: (id: VmId, reason: string) => void;
  /** Called after the last look at a VM: the caller drops all state about it. */
  readonly onGone: (id: VmId) => void;
}

interface Scheduled {
  isActive: boolean;
  again: boolean;
  cancelTimer: (() => void) | null;
  /** The callback of the timer: made once, since one timer is always waiting. */
  readonly wake: () => void;
}

/** One per leader. `stop` is final. */
export class Schedule {
  readonly #ports: SchedulePorts;
  readonly #vms = new Map<VmId, Scheduled>();
  /** VMs whose last look found no host that can take them. */
  readonly #forRoom = new Set<VmId>();
  #isRoomWoken = false;
  #isStopped = false;

  constructor(ports: SchedulePorts) {
    this.#ports = ports;
  }

  /** True after `stop`: looks that are under way end after their present step. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Ends all timers. */
  stop(): void {
    this.#isStopped = true;
    for (const scheduled of this.#vms.values()) scheduled.cancelTimer?.();
  }

  /** Looks at a VM now, or again after the look that is under way; returns true for the latter. */
  wake(id: VmId): boolean {
    if (this.#isStopped) return false;
    const scheduled = this.#of(id);
    scheduled.cancelTimer?.();
    scheduled.cancelTimer = null;
    if (scheduled.isActive) {
      scheduled.again = true;
      return true;
    }
    scheduled.isActive = true;
    void this.#activate(id, scheduled);
    return false;
  }

  /** Wakes the VMs that wait for room, once for all changes of a moment. */
  wakeForRoom(): void {
    if (this.#isRoomWoken || this.#forRoom.size === 0 || this.#isStopped) return;
    this.#isRoomWoken = true;
    this.#ports.clock.after(ROOM_MS, () => {
      this.#isRoomWoken = false;
      for (const id of [...this.#forRoom]) this.wake(id);
    });
  }

  /** Notes whether a VM waits for a host with room. */
  setForRoom(id: VmId, waits: boolean): void {
    if (waits) this.#forRoom.add(id);
    else this.#forRoom.delete(id);
  }

  async #activate(id: VmId, scheduled: Scheduled): Promise<void> {
    const { clock, log, look, onFailed, onGone } = this.#ports;
    let againInMs: number | null = null;
    try {
      do {
        scheduled.again = false;
        againInMs = await look(id);
      } while (scheduled.again && !this.#isStopped);
    } catch (error) {
      log.warn('activation failed', { vm: id, error: messageOf(error) });
      onFailed(id, messageOf(error));
      againInMs = FAILED_MS;
    } finally {
      scheduled.isActive = false;
    }
    if (againInMs === null) {
      this.#vms.delete(id);
      this.#forRoom.delete(id);
      onGone(id);
    } else if (!this.#isStopped) scheduled.cancelTimer = clock.after(againInMs, scheduled.wake);
  }

  #of(id: VmId): Scheduled {
    let scheduled = this.#vms.get(id);
    if (scheduled === undefined) {
      scheduled = { isActive: false, again: false, cancelTimer: null, wake: () => void this.wake(id) };
      this.#vms.set(id, scheduled);
    }
    return scheduled;
  }
}
