/**
 * Simulated networks: messages between machines, and calls made of messages.
 *
 * Guarantees: a message arrives once, later than it was sent, unless a fault says otherwise; what is cut is cut for
 * messages that arrive while it is cut, in the direction that is cut; a call ends at the latest at its deadline, by its
 * caller's clock; a request may be carried out after its caller has given up, or twice.
 */
import { CodedError } from '../../base/errors.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import type { SimClock } from '../time/sim-clock.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** The three networks of a cluster. */
export const NETWORKS = ['control', 'storage', 'overlay'] as const;
export type NetworkName = (typeof NETWORKS)[number];
/** The channel of a message: a network, or the disk ports of the storage network, which a filter may cut separately. */
export type Channel = NetworkName | 'disks';

/** How a network treats messages. Percentages are of single messages. */
export interface NetworkWeather {
  /** Delay of a message without misfortune, in ms. */
  readonly delayMs: readonly [number, number];
  readonly lossPercent: number;
  readonly duplicatePercent: number;
  /** Messages that are held up, and for how long at most: so they overtake each other. */
  readonly latePercent: number;
  readonly lateMs: number;
}

/** Nothing goes wrong. */
export const CALM: NetworkWeather = {
  delayMs: [0.2, 1.5],
  lossPercent: 0,
  duplicatePercent: 0,
  latePercent: 0,
  lateMs: 0,
};

/** TCP's first and last wait before it sends again, in ms. */
const RETRANSMIT_MS = 200;
const RETRANSMIT_MS_MAX = 1_600;

/** Where a message goes along: machine by machine, each hop on one network. */
export interface Hop {
  readonly network: Channel;
  readonly to: SimMachine;
  /** The process that passes it on, or takes it at the end; null: the kernel. */
  readonly process: () => SimProcess | null;
}

/** Told of every message that did not come as it should: who it was for makes no verdict. */
export type OnTrouble = (from: SimMachine, to: SimMachine, network: Channel) => void;

/** All networks of one world. */
export class SimNetwork {
  readonly #clock: SimClock;
  readonly #random: SimRandom;
  /** `network from>to`, counted: faults may overlap. `*` stands for every machine. */
  readonly #cuts = new Map<string, number>();
  weather: Record<NetworkName, NetworkWeather> = { control: CALM, storage: CALM, overlay: CALM };
  onTrouble: OnTrouble = () => undefined;
  onCut: () => void = () => undefined;

  constructor(clock: SimClock, random: SimRandom) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Cuts one direction of one path, until the answer is called. `*` stands for every machine. */
  cut(network: Channel, from: string, to: string): () => void {
    const key = `${network} ${from}>${to}`;
    this.#cuts.set(key, (this.#cuts.get(key) ?? 0) + 1);
    this.onCut();
    let isCut = true;
    return () => {
      if (!isCut) return;
      isCut = false;
      const left = (this.#cuts.get(key) ?? 1) - 1;
      if (left > 0) this.#cuts.set(key, left);
      else this.#cuts.delete(key);
      this.onCut();
    };
  }

  /** Whether a message that arrives now would be let through. A machine always reaches itself. */
  isOpen(network: Channel, from: SimMachine, to: SimMachine): boolean {
    return from.up && to.up && this.#passes(network, from, to);
  }

  /**
   * Sends what a kernel sends again until it is acknowledged: it arrives once and late rather than never, for as long
   * as `isWanted`.
   */
  stream(hop: Pick<Hop, 'network' | 'to'>, from: SimMachine, isWanted: () => boolean, deliver: () => void): void {
    const { network, to } = hop;
    const { delayMs, lossPercent, latePercent, lateMs } = this.weather[below(network)];
    const random = this.#random;
    if (from === to) {
      this.#clock.after(0.05, deliver);
      return;
    }
    let delay = random.between(delayMs[0], delayMs[1]);
    if (lossPercent > 0 && random.chance(lossPercent)) delay += RETRANSMIT_MS;
    if (latePercent > 0 && random.chance(latePercent)) delay += random.between(0, Math.min(lateMs, RETRANSMIT_MS_MAX));
    const attempt = (againInMs: number): void => {
      if (!isWanted()) return;
      if (to.up && this.#passes(network, from, to)) deliver();
      else if (from.up) this.#clock.after(againInMs, () => attempt(Math.min(2 * againInMs, RETRANSMIT_MS_MAX)));
    };
    this.#clock.after(delay, () => attempt(RETRANSMIT_MS));
  }

  /** Sends a message; `deliver` is called at the other machine, where it is up, perhaps twice, perhaps never. */
  send(network: Channel, from: SimMachine, to: SimMachine, deliver: () => void): void {
    const { delayMs, lossPercent, duplicatePercent, latePercent, lateMs } = this.weather[below(network)];
    const random = this.#random;
    const delay = (): number => {
      const usual = from === to ? 0.05 : random.between(delayMs[0], delayMs[1]);
      if (latePercent === 0 || from === to || !random.chance(latePercent)) return usual;
      this.onTrouble(from, to, network);
      return usual + random.between(0, lateMs);
    };
    if (!from.up) return;
    if (from !== to && lossPercent > 0 && random.chance(lossPercent)) {
      this.onTrouble(from, to, network);
      return;
    }
    const arrive = (): void => {
      // What has left its machine arrives even if that machine is gone by then.
      if (to.up && this.#passes(network, from, to)) deliver();
    };
    this.#clock.after(delay(), arrive);
    if (duplicatePercent > 0 && from !== to && random.chance(duplicatePercent)) this.#clock.after(delay(), arrive);
  }

  #passes(network: Channel, from: SimMachine, to: SimMachine): boolean {
    if (from === to || this.#cuts.size === 0) return true;
    if (network !== below(network) && !this.#passes(below(network), from, to)) return false;
    return !(
      this.#cuts.has(`${network} ${from.name}>${to.name}`) ||
      this.#cuts.has(`${network} ${from.name}>*`) ||
      this.#cuts.has(`${network} *>${to.name}`)
    );
  }

  /**
   * Sends along hops; `deliver` is called in the last one's process, `unheard` at the first hop whose process is not
   * there.
   */
  #along(
    from: SimMachine,
    hops: readonly Hop[],
    arrived: { readonly deliver: (process: SimProcess | null) => void; readonly unheard: (at: number) => void },
    at = 0,
  ): void {
    const hop = hops[at];
    if (hop === undefined) return;
    this.send(hop.network, from, hop.to, () => {
      const process = hop.process();
      const go = (): void => {
        if (at === hops.length - 1) arrived.deliver(process);
        else this.#along(hop.to, hops, arrived, at + 1);
      };
      if (process?.isAlive === true) process.run(go);
      else if (at === hops.length - 1) arrived.deliver(null);
      else arrived.unheard(at);
    });
  }

  /**
   * A request and its answer. `serve` runs in the last hop's process, or with null where nobody listens there and the
   * kernel refuses; what it throws is the answer as well. Rejects with CodedError 'deadline' when no answer came within
   * `deadlineMs` of the caller's clock, 'unavailable' where a process on the way is not there.
   */
  call<T>(
    caller: SimProcess,
    hops: readonly Hop[],
    how: { readonly deadlineMs: number; readonly what: string },
    serve: (process: SimProcess | null) => T | Promise<T>,
  ): Promise<T> {
    const { deadlineMs, what } = how;
    return new Promise<T>((resolve, reject) => {
      let isOver = false;
      const finish = (act: () => void): void => {
        if (isOver) return;
        isOver = true;
        cancel();
        act();
      };
      const cancel = caller.after(deadlineMs, () =>
        finish(() => reject(new CodedError('deadline', `${what} did not answer within ${deadlineMs} ms.`))),
      );
      const back = (act: () => void, from: number): void => {
        this.#back(caller, hops, from, () => finish(act));
      };
      // What is dead sends nothing more, what stands still does when it goes on.
      caller.run(() =>
        this.#along(caller.machine, hops, {
          unheard: (at) => back(() => reject(new CodedError('unavailable', `Nobody passes it on to ${what}.`)), at),
          deliver: (process) => {
            const last = hops.length - 1;
            const answered = (act: () => void): void => {
              if (process === null) back(act, last);
              else process.run(() => back(act, last));
            };
            try {
              const result = serve(process);
              if (result instanceof Promise)
                result.then(
                  (value) => answered(() => resolve(value)),
                  (error: unknown) => answered(() => reject(error)),
                );
              else answered(() => resolve(result));
            } catch (error) {
              answered(() => reject(error));
            }
          },
        }),
      );
    });
  }

  /** Something the last hop says unasked, on the way back of a connection. */
  tell(caller: SimProcess, hops: readonly Hop[], deliver: () => void): void {
    this.#back(caller, hops, hops.length - 1, deliver);
  }

  /** The way back, hop by hop. What passes it on must still be there. */
  #back(caller: SimProcess, hops: readonly Hop[], at: number, deliver: () => void): void {
    const hop = hops[at];
    if (hop === undefined) return;
    const before = hops[at - 1];
    const to = before?.to ?? caller.machine;
    this.send(hop.network, hop.to, to, () => {
      if (before === undefined) {
        caller.run(deliver);
        return;
      }
      before.process()?.run(() => this.#back(caller, hops, at - 1, deliver));
    });
  }
}

/** Returns the network that carries a channel. */
function below(channel: Channel): NetworkName {
  return channel === 'disks' ? 'storage' : channel;
}
