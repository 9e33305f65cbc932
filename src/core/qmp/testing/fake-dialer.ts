/** For tests: QEMUs that are reached, and answer, as a test says, on a clock that the test controls. */
import { CodedError } from '../../../base/errors.ts';
import { parseGeneration, parseHostName, parseStorageName, parseVmId } from '../../../base/ids.ts';
import type { QmpEvent } from '../../../wire/qmp/codec.ts';
import { type Path, pathsFrom } from '../../model/paths.ts';
import { portsOfSlot } from '../../model/ports.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Dialed, DialFailure, DialOptions, QmpChannel, QmpDialer } from '../../ports/qmp-dialer.ts';
import type { QmpTarget } from '../../ports/qmp-link.ts';

const VM = parseVmId('vm-0123456789ab');
const MONITORS = portsOfSlot(0).qmp;
/** How long an attempt that ends before its deadline takes, in ms. */
const DIAL_MS = 1;

/** The incarnation of a generation, in slot 0 of h1. */
export function targetOf(generation: number): QmpTarget {
  return {
    vm: VM,
    generation: parseGeneration(generation),
    slot: 0,
    host: parseHostName('h1'),
    addresses: { control: '10.0.0.7', storage: '10.1.0.7', overlay: '10.2.0.7' },
  };
}

/** The answer to a command: a value, an error that is thrown, or `silence`. */
export type Answers = Record<string, (args: Readonly<Record<string, unknown>>) => unknown>;

/** What an answer function returns when QEMU never answers. */
export const silence = Symbol('silence');

/** One end of a conversation, as QEMU. */
export class FakeChannel implements QmpChannel {
  readonly closed: Promise<unknown>;
  /** The orders in sequence: the command, and its arguments as JSON if it has some. */
  readonly commands: string[] = [];
  isClosed = false;
  readonly #clock: Clock;
  readonly #answers: Answers;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #end: () => void = () => undefined;

  constructor(clock: Clock, answers: Answers, onEvent: DialOptions['onEvent']) {
    this.#clock = clock;
    this.#answers = answers;
    this.#listeners.add(onEvent);
    this.closed = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
  }

  execute<T>(command: string, args: object | undefined, { deadlineMs }: { readonly deadlineMs: number }): Promise<T> {
    return new Promise((resolve, reject) => {
      this.commands.push(args === undefined ? command : `${command} ${JSON.stringify(args)}`);
      if (this.isClosed) return reject(new CodedError('unavailable', 'The conversation has ended.'));
      const cancel = this.#clock.after(deadlineMs, () => reject(new CodedError('deadline', `${command} takes long.`)));
      try {
        const answer = this.#answers[command]?.({ ...args }) ?? {};
        if (answer === silence) return;
        cancel();
        resolve(answer as T);
      } catch (error) {
        cancel();
        reject(error);
      }
    });
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.isClosed = true;
    this.#end();
  }

  /** QEMU reports an event, at `timestampMs` of its host's wall clock. */
  emit(name: string, data: Readonly<Record<string, unknown>> = {}, timestampMs = 0): void {
    for (const listener of this.#listeners) listener({ kind: 'event', name, data, timestampMs });
  }
}

/** A world with two control nodes, c1 and c2, and the storage node s1. */
export class FakeDialer implements QmpDialer {
  /** The attempts so far: path and monitor, such as `via s1 0`. */
  readonly attempts: string[] = [];
  /** The conversations so far. */
  readonly channels: FakeChannel[] = [];
  /** The result of an attempt: QEMU, or a failure. */
  meets: (path: string, monitor: number, target: QmpTarget) => 'qemu' | DialFailure = () => 'qemu';
  /** QEMU's answers; a command that is not named returns an empty object. */
  answers: Answers = { 'query-status': () => ({ status: 'running' }) };
  readonly #clock: Clock;
  readonly #paths = pathsFrom({ self: 'c1', controls: ['c1', 'c2'], storage: [parseStorageName('s1')] });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  paths(): readonly Path[] {
    return this.#paths;
  }

  async dial(
    target: QmpTarget,
    { path, port }: { readonly path: Path; readonly port: number },
    { deadlineMs, onEvent }: DialOptions,
  ): Promise<Dialed> {
    const monitor = MONITORS.indexOf(port);
    this.attempts.push(`${path.name} ${monitor}`);
    const met = this.meets(path.name, monitor, target);
    const isSilent = met === 'silent' || met === 'accepted-but-silent';
    await new Promise<void>((resolve) => void this.#clock.after(isSilent ? deadlineMs : DIAL_MS, resolve));
    if (met !== 'qemu') return { outcome: met };
    const channel = new FakeChannel(this.#clock, this.answers, onEvent);
    this.channels.push(channel);
    return { outcome: 'answers', channel, certificateEndsAt: null };
  }
}
