/**
 * A control node's QMP sessions over simulated networks: as control/links/qmp-connector.ts keeps them, without bytes and TLS.
 *
 * Guarantees: at most one session per incarnation, kept while it works; a session that missed a deadline is closed, never waited for.
 */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { MigrationTold, QmpObservation } from '../../core/model/observation.ts';
import type { Path } from '../../core/model/paths.ts';
import type { LaunchSharedDisk } from '../../core/ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../../core/ports/qmp-link.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import { type HostNode, hopsOf, pathsOf, type Topology } from '../machines/topology.ts';
import type { Caller } from '../network/links.ts';
import type { Monitor, QemuProcess, SimEvent } from './qemu-process.ts';

/** Deadline of one connection attempt on one path, of one command, and of a command that makes QEMU work. */
const CONNECT_MS = 700;
const COMMAND_MS = 1_000;
const SLOW_COMMAND_MS = 5_000;

interface Session {
  readonly qemu: QemuProcess;
  readonly path: Path;
  readonly monitor: Monitor;
  /** When the last command was carried out, and its answer has come, or is not waited for any more. */
  carriedOut: Promise<void>;
  answered: Promise<void>;
}

interface Held {
  readonly target: QmpTarget;
  session: Session | null;
  connecting: Promise<Attempt> | null;
  sending: boolean;
  /** Whether the guest was told here to halt. */
  isHalted: boolean;
  /** What was ordered: the generation to send to, on the present session, or to receive. */
  ordered: Generation | 'receive' | null;
}

type Attempt =
  | { readonly session: Session; readonly seen: null }
  | { readonly session: null; readonly seen: QmpObservation };

/** The sessions of one control node. */
export class SimQmpLink implements QmpLink {
  readonly #topology: Topology;
  readonly #caller: Caller;
  /** Whether this control node does not lead, or no longer, by what etcd holds. */
  readonly #isStale: () => boolean;
  readonly #held = new Map<string, Held>();
  #listener: (target: QmpTarget, told: MigrationTold | null) => void = () => undefined;

  constructor(topology: Topology, caller: Caller, isStale: () => boolean) {
    this.#topology = topology;
    this.#caller = caller;
    this.#isStale = isStale;
  }

  onEvent(listener: (target: QmpTarget, told: MigrationTold | null) => void): void {
    this.#listener = listener;
  }

  forget(vm: VmId, generation: Generation): void {
    const key = `${vm}:${generation}`;
    const held = this.#held.get(key);
    this.#held.delete(key);
    if (held !== undefined) close(held);
  }

  /** Closes every session: this node leads no longer. */
  close(): void {
    for (const held of this.#held.values()) close(held);
    this.#held.clear();
  }

  async observe(target: QmpTarget): Promise<QmpObservation> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) return attempt.seen;
    const held = this.#hold(target);
    const { session } = attempt;
    const via = session.path.name;
    try {
      const [status, migration, sentTo] = await this.#command(
        session,
        COMMAND_MS,
        (qemu) => [qemu.status, qemu.migration, qemu.sentTo] as const,
      );
      const isAsked = held.sending || status === 'postmigrate';
      return {
        ...{ kind: 'answers', status, via, ageMs: 0 },
        migration: held.sending ? migration : null,
        sentTo: isAsked ? sentTo : null,
      };
    } catch {
      this.#end(target, session);
      return { kind: 'mute', via, ageMs: COMMAND_MS };
    }
  }

  cont(target: QmpTarget): Promise<void> {
    this.#topology.note({ kind: 'cont', vm: target.vm, generation: target.generation, stale: this.#isStale() });
    return this.#order(target, SLOW_COMMAND_MS, (qemu) => qemu.cont());
  }

  halt(target: QmpTarget): Promise<void> {
    this.#hold(target).isHalted = true;
    return this.#order(target, SLOW_COMMAND_MS, (qemu) => qemu.halt());
  }

  reset(target: QmpTarget): Promise<void> {
    return this.#order(target, COMMAND_MS, (qemu) => qemu.reset());
  }

  powerDown(target: QmpTarget): Promise<void> {
    return this.#order(target, COMMAND_MS, (qemu) => qemu.powerDown());
  }

  async quit(target: QmpTarget): Promise<void> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) {
      if (attempt.seen.kind === 'refused') return;
      throw unreachable(target, attempt.seen);
    }
    await this.#command(attempt.session, SLOW_COMMAND_MS, (qemu) => qemu.process.end());
  }

  listen(destination: QmpTarget, source: QmpTarget): Promise<void> {
    return this.#order(destination, COMMAND_MS, (qemu) => qemu.listen(source.generation));
  }

  activate(source: QmpTarget): Promise<void> {
    return this.#order(source, SLOW_COMMAND_MS, (qemu) => qemu.activate());
  }

  async send(source: QmpTarget, destination: QmpTarget): Promise<void> {
    const held = this.#hold(source);
    held.sending = true;
    this.#hold(destination).ordered = 'receive';
    this.#connect(destination).catch(() => undefined);
    let hasBegun = false;
    await this.#order(source, SLOW_COMMAND_MS, (qemu) => {
      hasBegun = qemu.send(destination.generation);
    });
    if (hasBegun) Object.assign(held, { ordered: destination.generation, isHalted: false });
  }

  allowPause(source: QmpTarget, ms: number): Promise<void> {
    return this.#order(source, COMMAND_MS, (qemu) => qemu.allowPause(ms));
  }

  cancelSend(source: QmpTarget): Promise<void> {
    return this.#order(source, SLOW_COMMAND_MS, (qemu) => qemu.cancelSend());
  }

  plug(target: QmpTarget, disk: LaunchSharedDisk): Promise<void> {
    return this.#order(target, SLOW_COMMAND_MS, (qemu) => qemu.plug(disk));
  }

  unplug(target: QmpTarget, disk: DiskId): Promise<void> {
    return this.#order(target, SLOW_COMMAND_MS, (qemu) => qemu.unplug(disk));
  }

  async sharedDisks(target: QmpTarget): Promise<readonly DiskId[]> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) throw unreachable(target, attempt.seen);
    return this.#command(attempt.session, COMMAND_MS, (qemu) => [...qemu.sharedDisks]);
  }

  async #order(target: QmpTarget, deadlineMs: number, act: (qemu: QemuProcess) => void | Promise<void>): Promise<void> {
    const attempt = await this.#connect(target);
    if (attempt.session === null) throw unreachable(target, attempt.seen);
    const { session } = attempt;
    try {
      await this.#command(session, deadlineMs, act);
    } catch (error) {
      // What QEMU itself says leaves the session as it is.
      if (!(error instanceof CodedError) || error.code !== 'failed') this.#end(target, session);
      throw error;
    }
  }

  /** A connection carries out what is sent on it once and in its order, and so come the answers. */
  #command<T>(session: Session, deadlineMs: number, act: (qemu: QemuProcess) => T | Promise<T>): Promise<T> {
    const { qemu, path } = session;
    const hops = hopsOf(this.#topology, path, qemu.process.machine, () => qemu.process);
    const { carriedOut, answered } = session;
    const isCarriedOut = Promise.withResolvers<void>();
    session.carriedOut = isCarriedOut.promise;
    let once: Promise<T> | undefined;
    const answer = this.#topology.network.call(
      this.#caller.process,
      hops,
      { deadlineMs, what: `QMP of ${qemu.key}` },
      (listener) => {
        if (listener === null) throw new CodedError('unavailable', `${qemu.key} is gone.`);
        once ??= carriedOut.then(() => within(listener, () => act(qemu))).finally(isCarriedOut.resolve);
        return once;
      },
    );
    const inTurn = Promise.allSettled([answered, answer]).then(() => answer);
    // One that got lost holds up what comes after it for as long as it is waited for.
    const end = (): void => isCarriedOut.resolve();
    session.answered = inTurn.then(end, end);
    return inTurn;
  }

  #hold(target: QmpTarget): Held {
    const key = `${target.vm}:${target.generation}`;
    let held = this.#held.get(key);
    if (held === undefined) {
      held = { target, session: null, connecting: null, sending: false, isHalted: false, ordered: null };
      this.#held.set(key, held);
    }
    return held;
  }

  async #connect(target: QmpTarget): Promise<Attempt> {
    const held = this.#hold(target);
    if (held.session !== null) return { session: held.session, seen: null };
    held.connecting ??= this.#open(held).finally(() => {
      held.connecting = null;
    });
    return held.connecting;
  }

  /** Every path in turn, directly first. */
  async #open(held: Held): Promise<Attempt> {
    const host = present(this.#topology.hosts.get(held.target.host), `host ${held.target.host}`);
    const silent: string[] = [];
    for (const path of pathsOf(this.#topology, this.#caller.control)) {
      const via = path.name;
      const met = await this.#try(held.target, host, path);
      if (met === 'refused' || met === 'mute') return { session: null, seen: { kind: met, via, ageMs: 0 } };
      if (met !== 'silent') return this.#keep(held, met, path);
      silent.push(via);
    }
    return { session: null, seen: { kind: 'silent', paths: silent, ageMs: 0 } };
  }

  /** One attempt: a kernel refuses, or accepts for a process that may be still, or be another one's. */
  async #try(target: QmpTarget, host: HostNode, path: Path): Promise<QemuProcess | 'refused' | 'mute' | 'silent'> {
    let isAccepted = false;
    const hops = hopsOf(this.#topology, path, host.machine, () => null);
    try {
      return await this.#topology.network.call<QemuProcess | 'refused' | 'mute'>(
        this.#caller.process,
        hops,
        { deadlineMs: CONNECT_MS, what: `QMP of ${target.vm}` },
        () => {
          const qemu = host.qemus().find(({ order }) => order.slot === target.slot);
          if (qemu === undefined) return 'refused';
          isAccepted = true;
          const isWanted = qemu.order.vm === target.vm && qemu.order.generation === target.generation;
          return new Promise<QemuProcess | 'mute'>((resolve) => {
            qemu.process.run(() => resolve(isWanted ? qemu : 'mute'));
          });
        },
      );
    } catch {
      return isAccepted ? 'mute' : 'silent';
    }
  }

  #keep(held: Held, qemu: QemuProcess, path: Path): Attempt {
    const { vm, generation } = held.target;
    if (this.#held.get(`${vm}:${generation}`) !== held) return { session: null, seen: { kind: 'unknown' } };
    const { network } = this.#topology;
    const hops = hopsOf(this.#topology, path, qemu.process.machine, () => qemu.process);
    const monitor: Monitor = {
      onEvent: (event) =>
        network.tell(this.#caller.process, hops, () => {
          if (held.session === session) this.#listener(held.target, toldBy(event, held, qemu));
        }),
      onClosed: () => network.tell(this.#caller.process, hops, () => this.#end(held.target, session)),
    };
    const nothing = Promise.resolve();
    const session: Session = { qemu, path, monitor, carriedOut: nothing, answered: nothing };
    qemu.monitors.add(monitor);
    held.session = session;
    return { session, seen: null };
  }

  #end({ vm, generation }: QmpTarget, session: Session): void {
    const held = this.#held.get(`${vm}:${generation}`);
    session.qemu.monitors.delete(session.monitor);
    if (held?.session !== session) return;
    held.session = null;
    held.ordered = null;
    this.#listener(held.target, null);
  }
}

/** What an event tells of the migration that was ordered on the session. */
function toldBy(event: SimEvent, held: Held, { migration }: QemuProcess): MigrationTold | null {
  const { ordered, isHalted } = held;
  if (ordered === null) return null;
  if (ordered === 'receive') return event === 'completed' ? { kind: 'arrived' } : null;
  if (event === 'completed') return { kind: 'left', sentTo: ordered, pausedMs: migration?.downtimeMs ?? null };
  if (event === 'STOP') return isHalted ? null : { kind: 'ending' };
  if (event === 'RESUME' || event === 'ended') held.ordered = null;
  return null;
}

/** Does something in a process: now, when its pause is over, or never. */
function within<T>(process: SimProcess, act: () => T | Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    process.run(() => {
      try {
        resolve(act());
      } catch (error) {
        reject(error);
      }
    });
  });
}

function close(held: Held): void {
  held.session?.qemu.monitors.delete(held.session.monitor);
  held.session = null;
}

function unreachable(target: QmpTarget, seen: QmpObservation): CodedError {
  return new CodedError('unavailable', `QMP of ${target.vm} on ${target.host} does not answer (${seen.kind}).`);
}
