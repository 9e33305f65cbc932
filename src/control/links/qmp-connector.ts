/**
 * QMP to every QEMU from this control node, by whatever path leads there (core/ports/qmp-link.ts).
 *
 * Guarantees: at most one session per incarnation, kept while it works; a session that missed a deadline is closed, never waited for; TLS
 * is spoken end to end with the incarnation itself, so that a relay can neither read nor order anything.
 */

import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { CodedError, messageOf } from '../../base/errors.ts';
import { dnsName, type PeerIdentity, parseDnsName } from '../../base/identity.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { sleep } from '../../base/sleep.ts';
import type { MigrationState, MigrationTold, QmpObservation } from '../../core/model/observation.ts';
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS } from '../../core/model/pause-allowance.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { LaunchSharedDisk } from '../../core/ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../../core/ports/qmp-link.ts';
import { systemClock } from '../../os/clock.ts';
import { withDeadline } from '../../os/deadline.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { clientTlsOptions } from '../../pki/tls.ts';
import { activateDisks } from '../../qmp/activate-disks.ts';
import { connectQmp, type QmpConnection } from '../../qmp/connect.ts';
import { receiveMigration, setMigrationCapabilities } from '../../qmp/receive-migration.ts';
import { type Execute, QmpError, type QmpSession } from '../../qmp/session.ts';
import { connectTcp } from '../../rpc/relay.ts';
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import { addressOn, type RelayPath } from './paths.ts';
import { openSharedDisks, plugSharedDisk, unplugSharedDisk } from './shared-disk-plug.ts';
import { parseProbe } from './storage-link.ts';

/** Deadline of one connection attempt on one path, and of one command. */
const CONNECT_MS = 700;
const COMMAND_MS = 1_000;
/** Commands that make QEMU do work before it answers. */
const SLOW_COMMAND_MS = 5_000;
/** How long a guest may take to give a disk back. */
const UNPLUG_MS = 3_000;
const nothing = (): undefined => undefined;
/** 8 GiB/s: the network is the limit, not a parameter. */
const MIGRATION_BYTES_PER_S = 8 * 1024 ** 3;
/** QEMU's events after which a decision may be another one; of MIGRATION those that end one. */
const TELLING_EVENTS = new Set(['SHUTDOWN', 'STOP', 'RESUME', 'RESET', 'GUEST_PANICKED', 'BLOCK_IO_ERROR']);

export interface QmpConnectorOptions {
  readonly credentials: Credentials;
  readonly relays: () => readonly RelayPath[];
  /** Which of the three monitors this control node tries first, so that a frozen one does not stand in the way of the others. */
  readonly monitor: number;
}

interface Held {
  readonly target: QmpTarget;
  session: QmpSession | null;
  via: string;
  connecting: Promise<Attempt> | null;
  /** Whether it was told to send, here: then it is asked about its migration. */
  sending: boolean;
  /** What was ordered, and what its events have told since. */
  ordered: Ordered | null;
}

/** What was ordered of one end of a live migration; of a sender on the present session. */
type Ordered =
  | { readonly kind: 'receive' }
  | {
      readonly kind: 'send';
      readonly to: Generation;
      stoppedAtMs: number | null;
      completed: MigrationState | null;
      /** The guest was told to halt here: its halt does not mean that a migration has finished sending. */
      isHalted: boolean;
    };

type Attempt =
  | { readonly session: QmpSession; readonly via: string }
  | { readonly session: null; readonly seen: QmpObservation };

/** The sessions of one control node; after `close` it can be used again. */
export class QmpConnector implements QmpLink {
  readonly #options: QmpConnectorOptions;
  readonly #held = new Map<string, Held>();
  readonly #listeners: ((target: QmpTarget, told: MigrationTold | null) => void)[] = [];

  constructor(options: QmpConnectorOptions) {
    this.#options = options;
  }

  onEvent(listener: (target: QmpTarget, told: MigrationTold | null) => void): void {
    this.#listeners.length = 0;
    this.#listeners.push(listener);
  }

  /** Closes every session. */
  close(): void {
    for (const held of this.#held.values()) held.session?.close();
    this.#held.clear();
  }

  forget(vm: VmId, generation: Generation): void {
    const key = `${vm}:${generation}`;
    const held = this.#held.get(key);
    this.#held.delete(key);
    held?.session?.close();
  }

  async observe(target: QmpTarget): Promise<QmpObservation> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) return attempt.seen;
    const held = this.#hold(target);
    const askedAt = monotonicMs();
    try {
      const ask = <T>(command: string): Promise<T> =>
        attempt.session.execute<T>(command, undefined, { deadlineMs: COMMAND_MS });
      const askReceiver = (): Promise<MigrateParameters> => ask('query-migrate-parameters');
      // How it ended does not change, and each question takes its time while the guest stands still.
      const completed = held.ordered?.kind === 'send' ? held.ordered.completed : null;
      const [{ status }, migration, parameters] = await Promise.all([
        ask<{ status: string }>('query-status'),
        held.sending && completed === null ? ask<QueryMigrate>('query-migrate') : null,
        held.sending ? askReceiver() : null,
      ]);
      const receiver = parameters ?? (status === 'postmigrate' ? await askReceiver() : null);
      return {
        kind: 'answers',
        status,
        via: attempt.via,
        ageMs: 0,
        migration: migration === null ? completed : migrationState(migration, parameters?.['downtime-limit']),
        sentTo: receiver === null ? null : generationSentTo(target, receiver),
      };
    } catch {
      attempt.session.close();
      return { kind: 'mute', via: attempt.via, ageMs: Math.round(monotonicMs() - askedAt) };
    }
  }

  async cont(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'cont', undefined, SLOW_COMMAND_MS);
  }

  async halt(target: QmpTarget): Promise<void> {
    const { ordered } = this.#hold(target);
    if (ordered?.kind === 'send') ordered.isHalted = true;
    await this.#execute(target, 'stop', undefined, SLOW_COMMAND_MS);
  }

  async reset(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'system_reset');
  }

  async powerDown(target: QmpTarget): Promise<void> {
    await this.#execute(target, 'system_powerdown');
  }

  async quit(target: QmpTarget): Promise<void> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) {
      if (attempt.seen.kind === 'refused') return;
      throw unreachableQmp(target, attempt.seen);
    }
    await attempt.session.execute('quit', undefined, { deadlineMs: SLOW_COMMAND_MS });
  }

  async listen(destination: QmpTarget, source: QmpTarget): Promise<void> {
    const port = portsOfSlot(destination.slot).migration;
    await receiveMigration(this.#executor(destination), { port, source: identityOf(source) });
  }

  async activate(source: QmpTarget): Promise<void> {
    await activateDisks(this.#executor(source));
  }

  async send(source: QmpTarget, destination: QmpTarget): Promise<void> {
    const held = this.#hold(source);
    held.sending = true;
    this.#hearArrival(destination);
    const [before, { status }] = await Promise.all([
      this.#execute<QueryMigrate>(source, 'query-migrate'),
      this.#execute<{ status: string }>(source, 'query-status'),
    ]);
    if (status === 'postmigrate' || statusOf(before) === 'active') return;
    await Promise.all([
      setMigrationCapabilities(this.#executor(source), ['events', 'return-path', 'auto-converge']),
      this.#execute(source, 'migrate-set-parameters', {
        'tls-creds': 'tls-client',
        'tls-hostname': dnsName(identityOf(destination)),
        'max-bandwidth': MIGRATION_BYTES_PER_S,
        'downtime-limit': FIRST_PAUSE_MS,
      }),
    ]);
    // Of a stream that somebody else began, its events do not tell where it goes.
    held.ordered = { kind: 'send', to: destination.generation, stoppedAtMs: null, completed: null, isHalted: false };
    const uri = `tcp:${destination.addresses.storage}:${portsOfSlot(destination.slot).migration}`;
    try {
      await this.#execute(source, 'migrate', { uri }, SLOW_COMMAND_MS);
    } catch (error) {
      held.ordered = null;
      throw error;
    }
  }

  /** The destination shall tell by itself that it has received everything: on the session that there is, or on one opened beside the stream's start. */
  #hearArrival(destination: QmpTarget): void {
    this.#hold(destination).ordered = { kind: 'receive' };
    // Where it cannot be reached it will be asked.
    this.#connect(destination).catch(nothing);
  }

  async allowPause(source: QmpTarget, ms: number): Promise<void> {
    await this.#execute(source, 'migrate-set-parameters', { 'downtime-limit': ms });
  }

  async cancelSend(source: QmpTarget): Promise<void> {
    await this.#execute(source, 'migrate_cancel', undefined, SLOW_COMMAND_MS);
  }

  async plug(target: QmpTarget, disk: LaunchSharedDisk): Promise<void> {
    await plugSharedDisk(this.#executor(target), disk);
  }

  async unplug(target: QmpTarget, disk: DiskId): Promise<void> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) throw unreachableQmp(target, attempt.seen);
    const { session } = attempt;
    const over = new AbortController();
    const late = sleep(systemClock, UNPLUG_MS, { signal: over.signal });
    try {
      const wait = { onEvent: session.onEvent.bind(session), late: Promise.race([late, session.closed.then(nothing)]) };
      await unplugSharedDisk(this.#executor(target), disk, wait);
    } finally {
      over.abort();
    }
  }

  sharedDisks(target: QmpTarget): Promise<readonly DiskId[]> {
    return openSharedDisks(this.#executor(target));
  }

  #executor(target: QmpTarget): Execute {
    return (command, args) => this.#execute(target, command, args, SLOW_COMMAND_MS);
  }

  /** The serial port of an incarnation as raw bytes both ways. CodedError 'unavailable' when no path leads there or it is in use. */
  async openSerial(target: QmpTarget): Promise<Duplex> {
    const port = portsOfSlot(target.slot).serial;
    const failures: string[] = [];
    for (const path of this.#options.relays()) {
      try {
        const stream = await this.#openStream(path, target, port);
        return await withDeadline(() => this.#secure(stream, target), {
          deadlineMs: CONNECT_MS,
          what: 'the serial port',
        }).catch((error: unknown) => {
          stream.destroy();
          throw error;
        });
      } catch (error) {
        failures.push(`${path.name}: ${messageOf(error)}`);
      }
    }
    throw new CodedError(
      'unavailable',
      `The serial port of ${target.vm} on ${target.host} cannot be reached (${failures.join('; ')}).`,
      {
        advice: 'It serves one console at a time: another one may be open.',
      },
    );
  }

  #secure(stream: Duplex, target: QmpTarget): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const secured = connectTls({
        socket: stream,
        ...clientTlsOptions(this.#options.credentials, identityOf(target)),
      });
      secured.once('secureConnect', () => resolve(byteByByte(secured)));
      secured.once('error', reject);
    });
  }

  #openStream(path: RelayPath, target: QmpTarget, port: number): Promise<Duplex> {
    const address = addressOn(path, target);
    if (path.relay !== null) return path.relay.connectThrough({ address, port }, { deadlineMs: CONNECT_MS });
    return withDeadline((signal) => connectTcp(address, port, signal), {
      deadlineMs: CONNECT_MS,
      what: `the connection to ${address}:${port}`,
    });
  }

  #hold(target: QmpTarget): Held {
    const key = `${target.vm}:${target.generation}`;
    let held = this.#held.get(key);
    if (held === undefined) {
      held = { target, session: null, via: '', connecting: null, sending: false, ordered: null };
      this.#held.set(key, held);
    }
    return held;
  }

  async #connect(target: QmpTarget): Promise<Attempt> {
    const held = this.#hold(target);
    if (held.session !== null) return { session: held.session, via: held.via };
    held.connecting ??= this.#open(target, held).finally(() => {
      held.connecting = null;
    });
    return held.connecting;
  }

  /** Every path in turn, directly first; on each the own monitor, then the spare ones. */
  async #open(target: QmpTarget, held: Held): Promise<Attempt> {
    const { qmp } = portsOfSlot(target.slot);
    const own = this.#options.monitor % qmp.length;
    const silent: string[] = [];
    let mute: string | null = null;
    for (const path of this.#options.relays()) {
      for (let spare = 0; spare < qmp.length; spare++) {
        const port = qmp[(own + spare) % qmp.length] ?? qmp[0];
        const connection = await this.#tryOne(path, held, port);
        if (connection === null) break;
        if (connection.outcome === 'answers') return this.#keep(held, connection.session, path.name);
        if (connection.outcome === 'refused')
          return { session: null, seen: { kind: 'refused', via: path.name, ageMs: 0 } };
        if (connection.outcome === 'rejected') mute = path.name;
        if (connection.outcome === 'accepted-but-silent') {
          mute = path.name;
          continue;
        }
        // A monitor that others hold drops connections as soon as its short queue is full: only the spare ones tell that from a machine
        // that is gone. Asked on one path, since all of them lead to the same monitors.
        if (connection.outcome === 'silent' && (spare > 0 || silent.length === 0)) continue;
        break;
      }
      if (mute === null) silent.push(path.name);
      else break;
    }
    return {
      session: null,
      seen: mute === null ? { kind: 'silent', paths: silent, ageMs: 0 } : { kind: 'mute', via: mute, ageMs: 0 },
    };
  }

  /** One attempt; null when the path itself does not work. */
  async #tryOne(path: RelayPath, held: Held, port: number): Promise<QmpConnection | null> {
    const { target } = held;
    const tls = { credentials: this.#options.credentials, peer: identityOf(target) };
    const options = {
      deadlineMs: CONNECT_MS,
      onEvent: (event: QmpEvent) => {
        const told = toldBy(event, held);
        if (told === null && !isTelling(event)) return;
        for (const listener of this.#listeners) listener(target, told);
      },
    };
    if (path.relay === null) return connectQmp({ kind: 'tls', host: addressOn(path, target), port, ...tls }, options);
    let stream: Duplex;
    try {
      stream = await this.#openStream(path, target, port);
    } catch {
      return this.#refusedAt(path.relay, { address: addressOn(path, target), port });
    }
    return connectQmp({ kind: 'stream', stream, tls }, options);
  }

  /** A relay says only that it could not connect; whether the host's kernel refused, its probe tells. */
  async #refusedAt(
    relay: NonNullable<RelayPath['relay']>,
    target: { readonly address: string; readonly port: number },
  ): Promise<QmpConnection | null> {
    try {
      const { outcome } = await relay.call({
        method: 'POST',
        path: '/v1/probe',
        body: { ...target, deadlineMs: CONNECT_MS },
        deadlineMs: 2 * CONNECT_MS,
        parse: parseProbe,
      });
      const reason = new CodedError('unavailable', `${target.address}:${target.port} refused the connection.`);
      return outcome === 'refused' ? { outcome: 'refused', reason } : null;
    } catch {
      return null;
    }
  }

  #keep(held: Held, session: QmpSession, via: string): Attempt {
    const { vm, generation } = held.target;
    if (this.#held.get(`${vm}:${generation}`) !== held) {
      // Forgotten while it was opened: nobody would close it, and it would keep the monitor from everybody else.
      session.close();
      return { session: null, seen: { kind: 'unknown' } };
    }
    held.session = session;
    held.via = via;
    void session.closed.then(() => {
      if (held.session === session) {
        held.session = null;
        held.ordered = null;
      }
      if (this.#held.get(`${held.target.vm}:${held.target.generation}`) === held)
        for (const listener of this.#listeners) listener(held.target, null);
    });
    return { session, via };
  }

  async #execute<T = unknown>(target: QmpTarget, command: string, args?: object, deadlineMs = COMMAND_MS): Promise<T> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) throw unreachableQmp(target, attempt.seen);
    try {
      return await attempt.session.execute<T>(command, args, { deadlineMs });
    } catch (error) {
      if (!(error instanceof QmpError)) attempt.session.close();
      throw error;
    }
  }
}

/** QMP query-migrate, as far as it is used (QEMU 7.2, MigrationInfo). */
interface QueryMigrate {
  readonly status?: string;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  readonly ram?: { readonly 'dirty-sync-count': number };
}

/** QMP query-migrate-parameters, as far as it is used. */
interface MigrateParameters {
  readonly 'tls-hostname'?: string;
  readonly 'downtime-limit'?: number;
}

/** Whom `send` told QEMU to ask for: the next incarnation's own name, which no other one's certificate holds. */
function generationSentTo({ vm }: QmpTarget, parameters: MigrateParameters): Generation | null {
  const receiver = parseDnsName(parameters['tls-hostname'] ?? '');
  return receiver?.kind === 'incarnation' && receiver.vmId === vm ? receiver.generation : null;
}

const ENDED: Readonly<Record<string, MigrationState['status']>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  none: 'none',
};

/** Whether a decision may be another one after an event. */
function isTelling({ name, data }: QmpEvent): boolean {
  return name === 'MIGRATION' ? Object.hasOwn(ENDED, String(data['status'])) : TELLING_EVENTS.has(name);
}

/**
 * What an event tells of the migration that was ordered on the session. It spares a question: QEMU 7.2 reads a TLS monitor a byte at a time in
 * the very loop that loads or completes the guest, which stands still meanwhile.
 */
function toldBy(event: QmpEvent, held: Pick<Held, 'ordered'>): MigrationTold | null {
  const { ordered } = held;
  if (ordered === null) return null;
  const { name, data, timestampMs } = event;
  const isCompleted = name === 'MIGRATION' && data['status'] === 'completed';
  if (ordered.kind === 'receive') return isCompleted ? { kind: 'arrived' } : null;
  if (isCompleted) {
    // Set before the run state is postmigrate, and never taken back: from here on only `cont` lets it go on (7.2, migration_iteration_finish).
    const pausedMs = ordered.stoppedAtMs === null ? null : timestampMs - ordered.stoppedAtMs;
    ordered.completed = { ...migrationState({ status: 'completed' }, undefined), downtimeMs: pausedMs };
    return { kind: 'left', sentTo: ordered.to, pausedMs };
  }
  if (name === 'STOP' && ordered.isHalted) return null;
  if (name === 'STOP' && ordered.completed === null) {
    ordered.stoppedAtMs = timestampMs;
    return { kind: 'ending' };
  }
  // It goes on, or another stream began: what was ordered is over.
  if (name === 'RESUME' || (name === 'MIGRATION' && isTelling(event))) held.ordered = null;
  return null;
}

function statusOf({ status }: QueryMigrate): MigrationState['status'] {
  return status === undefined ? 'none' : (own(ENDED, status) ?? 'active');
}

function migrationState(info: QueryMigrate, pauseLimitMs: number | undefined): MigrationState {
  return {
    status: statusOf(info),
    passes: info.ram?.['dirty-sync-count'] ?? 0,
    pauseLimitMs: pauseLimitMs ?? LONGEST_PAUSE_MS,
    downtimeMs: info.downtime ?? null,
    error: info['error-desc'] ?? null,
  };
}

function identityOf(target: QmpTarget): PeerIdentity {
  return { kind: 'incarnation', vmId: target.vm, generation: target.generation };
}

function unreachableQmp(target: QmpTarget, seen: QmpObservation): CodedError {
  return new CodedError('unavailable', `QMP of ${target.vm} on ${target.host} does not answer (${seen.kind}).`, {
    advice: 'Nothing was ordered.',
  });
}

/**
 * A stream whose every written byte travels in a TLS record of its own: QEMU 7.2's chardev takes what its device has room for and does not
 * look again for what gnutls has decrypted already, so that the rest of a longer record would wait for the next key.
 */
function byteByByte(secured: Duplex): Duplex {
  const stream = new Duplex({
    read: () => void secured.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      const next = (index: number): void => {
        if (index === chunk.length) done();
        else secured.write(chunk.subarray(index, index + 1), (error) => (error ? done(error) : next(index + 1)));
      };
      next(0);
    },
    final: (done) => void secured.end(() => done()),
    destroy: (error, done) => {
      secured.destroy();
      done(error);
    },
  });
  secured.on('data', (chunk: Buffer) => {
    if (!stream.push(chunk)) secured.pause();
  });
  secured.once('end', () => stream.push(null));
  secured.on('error', (error) => stream.destroy(error));
  secured.once('close', () => {
    if (!secured.readableEnded) stream.destroy();
  });
  return stream;
}
