/**
 * A control node's QMP sessions with every QEMU (core/ports/qmp-link.ts), over the port that dials them
 * (core/ports/qmp-dialer.ts).
 * Guarantees: at most one session per incarnation, kept while it works; a session on which a command missed its
 * deadline is closed, never waited for; a command that QEMU refuses leaves the session as it is; an incarnation that is
 * forgotten while it is dialed keeps no session.
 */
import { CodedError } from '../../base/errors.ts';
import type { PeerIdentity } from '../../base/identity.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { MigrationTold, QmpObservation } from '../model/observation.ts';
import { portsOfSlot } from '../model/ports.ts';
import type { Clock } from '../ports/clock.ts';
import type { LaunchSharedDisk } from '../ports/host-link.ts';
import type { Execute, QmpDialer } from '../ports/qmp-dialer.ts';
import type { BlockFigures, MachineFacts, OpenSharedDisk, QmpLink, QmpTarget } from '../ports/qmp-link.ts';
import { activateDisks } from './activate-disks.ts';
import { readBlockFigures } from './block-figures.ts';
import { measureDirtyRate } from './dirty-rate.ts';
import { readMachineFacts } from './machine-facts.ts';
import { isTelling, MigrationMemory } from './migration-memory.ts';
import {
  generationSentTo,
  type MigrateParameters,
  migrationState,
  type QueryMigrate,
  type QueryStatus,
} from './observation.ts';
import { type Reached, reachQemu } from './reach-qemu.ts';
import { receiveMigration } from './receive-migration.ts';
import { hasBegunToSend, prepareToSend, type SendOptions } from './send-migration.ts';
import { openSharedDisks, plugSharedDisk, unplugSharedDisk } from './shared-disk-plug.ts';

/** Deadline of one command. */
const COMMAND_MS = 1_000;
/** Deadline of a command that makes QEMU do work before it answers. */
const SLOW_COMMAND_MS = 5_000;
/** How long a guest may take to release a disk, in ms. */
const UNPLUG_MS = 3_000;
const nothing = (): undefined => undefined;

type Listener = (target: QmpTarget, told: MigrationTold | null) => void;

export interface QmpSessionsOptions {
  readonly dialer: QmpDialer;
  readonly clock: Clock;
  /**
   * The monitor, one of three, that this control node tries first, so that a frozen node does not stand in the way of
   * the others.
   */
  readonly monitor: number;
}

/** One incarnation. */
interface Held {
  readonly target: QmpTarget;
  open: Extract<Reached, { readonly via: string }> | null;
  /** The end of its QEMU's certificate, in Unix ms; null: not seen yet. */
  certificateEndsAt: number | null;
  dialing: Promise<Reached> | null;
  /** Whether this session told QEMU to send: then QEMU is asked about its migration. */
  sending: boolean;
  /** The migration memory of the present session. */
  readonly memory: MigrationMemory;
}

/** See the module's comment. After `close` it can be used again. */
export class QmpSessions implements QmpLink {
  readonly #options: QmpSessionsOptions;
  readonly #held = new Map<string, Held>();
  #listener: Listener = nothing;

  constructor(options: QmpSessionsOptions) {
    this.#options = options;
  }

  onEvent(listener: Listener): void {
    this.#listener = listener;
  }

  /** Closes every session. */
  close(): void {
    const all = [...this.#held.values()];
    this.#held.clear();
    for (const { open } of all) open?.channel.close();
  }

  forget(vm: VmId, generation: Generation): void {
    const key = keyOf({ vm, generation });
    const held = this.#held.get(key);
    this.#held.delete(key);
    held?.open?.channel.close();
  }

  certificateEndsAt(vm: VmId, generation: Generation): number | null {
    return this.#held.get(keyOf({ vm, generation }))?.certificateEndsAt ?? null;
  }

  async observe(target: QmpTarget): Promise<QmpObservation> {
    const reached = await this.#reach(target);
    if (reached.channel === null) return reached.seen;
    const { channel, via } = reached;
    const { sending, memory } = this.#hold(target);
    const { clock } = this.#options;
    const askedAt = clock.monotonicMs();
    try {
      const ask = <T>(command: string): Promise<T> =>
        channel.execute<T>(command, undefined, { deadlineMs: COMMAND_MS });
      const askReceiver = (): Promise<MigrateParameters> => ask('query-migrate-parameters');
      // A finished migration does not change, and each question takes time while the guest is paused.
      const { completed } = memory;
      const [{ status }, migration, parameters] = await Promise.all([
        ask<QueryStatus>('query-status'),
        sending && completed === null ? ask<QueryMigrate>('query-migrate') : null,
        sending ? askReceiver() : null,
      ]);
      const receiver = parameters ?? (status === 'postmigrate' ? await askReceiver() : null);
      return {
        kind: 'answers',
        status,
        via,
        ageMs: 0,
        migration: migration === null ? completed : migrationState(migration, parameters?.['downtime-limit']),
        sentTo: receiver === null ? null : generationSentTo(target.vm, receiver),
      };
    } catch {
      channel.close();
      return { kind: 'mute', via, ageMs: Math.round(clock.monotonicMs() - askedAt) };
    }
  }

  async cont(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'cont', undefined, SLOW_COMMAND_MS);
  }

  async halt(target: QmpTarget): Promise<void> {
    this.#hold(target).memory.orderedToHalt();
    await this.#execute(target, 'stop', undefined, SLOW_COMMAND_MS);
  }

  async reset(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'system_reset');
  }

  async powerDown(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'system_powerdown');
  }

  async quit(target: QmpTarget): Promise<void> {
    const reached = await this.#reach(target);
    if (reached.channel === null) {
      if (reached.seen.kind === 'refused') return;
      throw unreachableQmp(target, reached.seen);
    }
    await reached.channel.execute('quit', undefined, { deadlineMs: SLOW_COMMAND_MS });
  }

  async listen(destination: QmpTarget, source: QmpTarget): Promise<void> {
    const port = portsOfSlot(destination.slot).migration;
    await receiveMigration(this.#executor(destination), { port, source: incarnationOf(source) });
  }

  async activate(source: QmpTarget): Promise<void> {
    await activateDisks(this.#executor(source));
  }

  async send(source: QmpTarget, destination: QmpTarget, options: SendOptions): Promise<void> {
    const held = this.#hold(source);
    held.sending = true;
    this.#hearArrival(destination);
    const quickly = this.#executor(source, COMMAND_MS);
    if (await hasBegunToSend(quickly)) return;
    await prepareToSend(quickly, incarnationOf(destination), options);
    held.memory.orderedToSend(destination.generation);
    const uri = `tcp:${destination.addresses.storage}:${portsOfSlot(destination.slot).migration}`;
    try {
      await this.#execute(source, 'migrate', { uri }, SLOW_COMMAND_MS);
    } catch (error) {
      held.memory.forget();
      throw error;
    }
  }

  /**
   * Asks the destination to report by an event that it has received everything: on the existing session, or on one
   * opened beside the stream's start.
   */
  #hearArrival(destination: QmpTarget): void {
    this.#hold(destination).memory.orderedToReceive();
    // If the destination cannot be reached now, it is asked later.
    this.#reach(destination).catch(nothing);
  }

  async allowPause(source: QmpTarget, ms: number): Promise<void> {
    await this.#execute(source, 'migrate-set-parameters', { 'downtime-limit': ms });
  }

  async cancelSend(source: QmpTarget): Promise<void> {
    await this.#execute(source, 'migrate_cancel', undefined, SLOW_COMMAND_MS);
  }

  dirtyRate(target: QmpTarget): Promise<number> {
    return measureDirtyRate(this.#executor(target, COMMAND_MS), this.#options.clock);
  }

  machineFacts(target: QmpTarget): Promise<MachineFacts> {
    return readMachineFacts(this.#executor(target, COMMAND_MS));
  }

  blockFigures(target: QmpTarget): Promise<readonly BlockFigures[]> {
    return readBlockFigures(this.#executor(target, COMMAND_MS));
  }

  async plug(target: QmpTarget, disk: LaunchSharedDisk): Promise<void> {
    await plugSharedDisk(this.#executor(target), disk);
  }

  async unplug(target: QmpTarget, disk: DiskId): Promise<void> {
    const reached = await this.#reach(target);
    if (reached.channel === null) throw unreachableQmp(target, reached.seen);
    const { channel } = reached;
    const late = Promise.withResolvers<undefined>();
    const cancel = this.#options.clock.after(UNPLUG_MS, () => late.resolve(undefined));
    try {
      const wait = {
        onEvent: channel.onEvent.bind(channel),
        late: Promise.race([late.promise, channel.closed.then(nothing)]),
      };
      await unplugSharedDisk(this.#executor(target), disk, wait);
    } finally {
      cancel();
    }
  }

  sharedDisks(target: QmpTarget): Promise<readonly OpenSharedDisk[]> {
    return openSharedDisks(this.#executor(target));
  }

  #executor(target: QmpTarget, deadlineMs = SLOW_COMMAND_MS): Execute {
    return (command, args) => this.#execute(target, command, args, deadlineMs);
  }

  #hold(target: QmpTarget): Held {
    const key = keyOf(target);
    let held = this.#held.get(key);
    if (held === undefined) {
      const memory = new MigrationMemory(this.#options.clock);
      held = { target, open: null, certificateEndsAt: null, dialing: null, sending: false, memory };
      this.#held.set(key, held);
    }
    return held;
  }

  async #reach(target: QmpTarget): Promise<Reached> {
    const held = this.#hold(target);
    if (held.open !== null) return held.open;
    held.dialing ??= this.#dial(held).finally(() => {
      held.dialing = null;
    });
    return held.dialing;
  }

  async #dial(held: Held): Promise<Reached> {
    const { dialer, monitor } = this.#options;
    const { target } = held;
    const reached = await reachQemu({ dialer, target, monitor, onEvent: (event) => this.#hear(held, event) });
    return reached.channel === null ? reached : this.#keep(held, reached);
  }

  #hear(held: Held, event: QmpEvent): void {
    const told = held.memory.hear(event);
    if (told !== null || isTelling(event)) this.#listener(held.target, told);
  }

  #keep(held: Held, open: Extract<Reached, { readonly via: string }>): Reached {
    const { channel } = open;
    if (!this.#isHeld(held)) {
      // Forgotten while it was dialed: its session would never be closed, and would keep the monitor from everybody
      // else.
      channel.close();
      return { channel: null, seen: { kind: 'unknown' } };
    }
    held.open = open;
    held.certificateEndsAt = open.certificateEndsAt;
    void channel.closed.then(() => {
      if (held.open === open) {
        held.open = null;
        held.memory.forget();
      }
      if (this.#isHeld(held)) this.#listener(held.target, null);
    });
    return open;
  }

  #isHeld(held: Held): boolean {
    return this.#held.get(keyOf(held.target)) === held;
  }

  async #execute<T = unknown>(target: QmpTarget, command: string, args?: object, deadlineMs = COMMAND_MS): Promise<T> {
    const reached = await this.#reach(target);
    if (reached.channel === null) throw unreachableQmp(target, reached.seen);
    try {
      return await reached.channel.execute<T>(command, args, { deadlineMs });
    } catch (error) {
      if (!(error instanceof QmpError)) reached.channel.close();
      throw error;
    }
  }
}

/** The incarnation whose certificate the QEMU of a target holds. */
export function incarnationOf({ vm, generation }: Pick<QmpTarget, 'vm' | 'generation'>): PeerIdentity {
  return { kind: 'incarnation', vmId: vm, generation };
}

function keyOf({ vm, generation }: Pick<QmpTarget, 'vm' | 'generation'>): string {
  return `${vm}:${generation}`;
}

function unreachableQmp(target: QmpTarget, seen: QmpObservation): CodedError {
  return new CodedError('unavailable', `QMP of ${target.vm} on ${target.host} does not answer (${seen.kind}).`, {
    advice: 'Nothing was ordered.',
  });
}
