/**
 * Attempts to reach simulated QEMUs from a control node (core/ports/qmp-dialer.ts), over simulated networks, in the
 * words of QMP.
 *
 * Guarantees: a connection carries out what is sent on it once and in its order, and so come the answers; a message
 * that is lost holds up what comes after it for as long as it is waited for; an attempt that its control node has given
 * up holds no monitor.
 */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { Path } from '../../core/model/paths.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { Dialed, DialFailure, DialOptions, QmpChannel, QmpDialer } from '../../core/ports/qmp-dialer.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { decodeMessage, type QmpEvent } from '../../wire/qmp/codec.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import { type HostNode, hopsOf, pathsOf, type Topology } from '../machines/topology.ts';
import type { Caller } from '../network/links.ts';
import type { Hop } from '../network/network.ts';
import { unanswered } from '../network/probes.ts';
import type { MonitorClient, QemuProcess } from './qemu-process.ts';
import { executeOver, type QemuEvent } from './qmp-server.ts';

/** Dials from one life of a control node's server. */
export class SimQmpDialer implements QmpDialer {
  readonly #topology: Topology;
  readonly #caller: Caller;

  constructor(topology: Topology, caller: Caller) {
    this.#topology = topology;
    this.#caller = caller;
  }

  paths(): readonly Path[] {
    return pathsOf(this.#topology, this.#caller.control);
  }

  async dial(
    target: QmpTarget,
    { path, port }: { readonly path: Path; readonly port: number },
    { deadlineMs, onEvent }: DialOptions,
  ): Promise<Dialed> {
    const topology = this.#topology;
    const { process } = this.#caller;
    const host = topology.hosts.get(target.host);
    // A host that joined through the API without a simulated machine: nothing answers there.
    if (host === undefined) return unanswered(process, deadlineMs).then(() => ({ outcome: 'silent' }));
    const connection = new Connection({ topology, process, path, target, port }, onEvent);
    const hops = hopsOf(topology, path, host.machine, () => null);
    try {
      const how = { deadlineMs, what: `QMP of ${target.vm}` };
      const met = await topology.network.call(process, hops, how, () => connection.arrive(host));
      return met === 'answers' ? { outcome: met, channel: connection, certificateEndsAt: null } : { outcome: met };
    } catch (error) {
      connection.close();
      return { outcome: connection.isAccepted ? 'accepted-but-silent' : failureOf(path, error) };
    }
  }
}

/** A relay that does not answer says nothing about the host. */
function failureOf({ control, storage }: Path, error: unknown): DialFailure {
  const isRelayed = control !== null || storage !== null;
  return isRelayed && error instanceof CodedError && error.code === 'unavailable' ? 'no-path' : 'silent';
}

interface Ends {
  readonly topology: Topology;
  /** The control node's server. */
  readonly process: SimProcess;
  readonly path: Path;
  readonly target: QmpTarget;
  readonly port: number;
}

/** One connection, from the attempt to its end. */
class Connection implements QmpChannel {
  readonly closed: Promise<void>;
  /** Whether the host's kernel has taken it for a process that listens. */
  isAccepted = false;
  readonly #ends: Ends;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #pending = new Set<(reason: CodedError) => void>();
  readonly #monitorClient: MonitorClient = {
    isThere: () => !this.#isClosed && this.#ends.process.isAlive,
    onEvent: (event) => this.#tell(() => this.#hear(event)),
    onClosed: () => this.#tell(() => this.close()),
  };
  #resolveClosed: () => void = () => undefined;
  #isClosed = false;
  #met: Promise<'answers' | 'rejected'> | null = null;
  #qemu: QemuProcess | null = null;
  /** When the last command was carried out, and when its answer has come, or is not waited for any more. */
  #carriedOut: Promise<void> = Promise.resolve();
  #answered: Promise<void> = Promise.resolve();

  constructor(ends: Ends, onEvent: (event: QmpEvent) => void) {
    this.#ends = ends;
    this.#listeners.add(onEvent);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /** The attempt gets to the host, perhaps twice: its kernel refuses, or accepts for a process that may stand still. */
  arrive(host: HostNode): 'refused' | Promise<'answers' | 'rejected'> {
    const { port } = this.#ends;
    const qemu = host.qemus().find(({ order }) => portsOfSlot(order.slot).qmp.some((monitor) => monitor === port));
    if (qemu === undefined) return 'refused';
    this.isAccepted = true;
    this.#met ??= new Promise((resolve) => {
      qemu.process.run(() => this.#accept(qemu, resolve));
    });
    return this.#met;
  }

  execute<T>(command: string, args: object | undefined, { deadlineMs }: { readonly deadlineMs: number }): Promise<T> {
    return new Promise((resolve, reject) => {
      const qemu = this.#qemu;
      if (this.#isClosed || qemu === null)
        return reject(new CodedError('unavailable', `${command} was not sent: the connection has ended.`));
      const answer = executeOver<T>((line) => this.#carry(qemu, line, deadlineMs), command, args);
      this.#pending.add(reject);
      const over = (): void => void this.#pending.delete(reject);
      answer.then(resolve, reject).then(over, over);
    });
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#qemu?.disconnect(this.#ends.port, this.#monitorClient);
    const reason = new CodedError('unavailable', `The connection to ${this.#ends.target.vm} has ended.`);
    for (const reject of this.#pending) reject(reason);
    this.#resolveClosed();
  }

  /** TLS tells another incarnation from the one that is wanted. */
  #accept(qemu: QemuProcess, resolve: (met: 'answers' | 'rejected') => void): void {
    const { vm, generation } = this.#ends.target;
    if (this.#isClosed) return;
    if (qemu.order.vm !== vm || qemu.order.generation !== generation) {
      resolve('rejected');
      return;
    }
    // While the monitor serves another client, this one waits in its queue until it is given up.
    if (!qemu.connect(this.#ends.port, this.#monitorClient)) return;
    this.#qemu = qemu;
    resolve('answers');
  }

  #hops(process: Hop['process']): readonly Hop[] {
    const { topology, path, target } = this.#ends;
    const host = present(topology.hosts.get(target.host), `host ${target.host}`);
    return hopsOf(topology, path, host.machine, process);
  }

  /** Something QEMU says unasked. */
  #tell(deliver: () => void): void {
    const { topology, process } = this.#ends;
    topology.network.tell(
      process,
      this.#hops(() => this.#qemu?.process ?? null),
      () => {
        if (!this.#isClosed) deliver();
      },
    );
  }

  #hear({ name, data, timestampMs }: QemuEvent): void {
    const timestamp = { seconds: Math.floor(timestampMs / 1_000), microseconds: (timestampMs % 1_000) * 1_000 };
    const event = decodeMessage(JSON.stringify({ event: name, data, timestamp }));
    if (event.kind === 'event') for (const listener of this.#listeners) listener(event);
  }

  /** Carries one line to QEMU and its answer back. */
  #carry(qemu: QemuProcess, line: string, deadlineMs: number): Promise<string> {
    const { topology, process } = this.#ends;
    const carriedOut = this.#carriedOut;
    const answered = this.#answered;
    const isCarriedOut = Promise.withResolvers<void>();
    this.#carriedOut = isCarriedOut.promise;
    let once: Promise<string> | undefined;
    const hops = this.#hops(() => qemu.process);
    const how = { deadlineMs, what: `QMP of ${qemu.key}` };
    const answer = topology.network.call(process, hops, how, (listener) => {
      if (listener === null) throw new CodedError('unavailable', `${qemu.key} is gone.`);
      once ??= carriedOut.then(() => within(listener, () => qemu.qmp.answer(line))).finally(isCarriedOut.resolve);
      return once;
    });
    const inTurn = Promise.allSettled([answered, answer]).then(() => answer);
    // A command that got lost holds up what comes after it for as long as it is waited for.
    const end = (): void => isCarriedOut.resolve();
    this.#answered = inTurn.then(end, end);
    return inTurn;
  }
}

/** Does something in a process: now, when it goes on, or never. */
function within<T>(process: SimProcess, act: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    process.run(() => void act().then(resolve, reject));
  });
}
