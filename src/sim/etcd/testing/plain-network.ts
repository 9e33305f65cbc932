/** For tests of the simulated etcd by itself: a network between clients and members that can be spoilt in every way. */
import { CodedError } from '../../../base/errors.ts';
import type { Clock } from '../../../core/ports/clock.ts';
import type { SimRandom } from '../../time/sim-random.ts';
import type { SimEtcd } from '../sim-etcd.ts';
import type { EtcdRoute } from '../sim-etcd-client.ts';

/** One client's way to all members. */
export class PlainRoute implements EtcdRoute {
  readonly #etcd: SimEtcd;
  readonly #clock: Clock;
  readonly #random: SimRandom;
  /** Messages of these directions are lost. */
  frozen: 'no' | 'answers' | 'all' = 'no';
  /** Of one-way messages, in percent. */
  lossPercent = 0;
  duplicatePercent = 0;
  delayMsMax = 2;

  /** What the client's process takes runs by `run`, which may hold it up. */
  readonly #run: (action: () => void) => void;

  constructor(
    etcd: SimEtcd,
    {
      clock,
      random,
      run,
    }: { readonly clock: Clock; readonly random: SimRandom; readonly run?: (action: () => void) => void },
  ) {
    this.#etcd = etcd;
    this.#clock = clock;
    this.#random = random;
    this.#run = run ?? ((action) => action());
  }

  call<T>(member: string, deadlineMs: number, serve: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        cancel();
        this.#run(act);
      };
      const late = (what: string): CodedError => new CodedError('deadline', `${member}: ${what}.`);
      const cancel = this.#clock.after(deadlineMs, () => finish(() => reject(late('no answer in time'))));
      this.#send('all', () => {
        if (!this.#etcd.isUp(member)) {
          const nobody = new CodedError('unavailable', `Nobody listens at ${member}.`);
          this.#send('answers', () => finish(() => reject(nobody)));
          return;
        }
        serve().then(
          (answer) => this.#send('answers', () => finish(() => resolve(answer))),
          (error: unknown) => this.#send('answers', () => finish(() => reject(error))),
        );
      });
    });
  }

  tell(member: string, deliver: () => void): void {
    this.#sendUnsurely('all', () => {
      if (this.#etcd.isUp(member)) deliver();
    });
  }

  push(_member: string, deliver: () => void): void {
    this.#sendUnsurely('answers', () => this.#run(deliver));
  }

  #sendUnsurely(when: 'all' | 'answers', deliver: () => void): void {
    if (this.#random.chance(this.lossPercent)) return;
    this.#send(when, deliver);
    if (this.#random.chance(this.duplicatePercent)) this.#send(when, deliver);
  }

  #send(kind: 'all' | 'answers', deliver: () => void): void {
    this.#clock.after(this.#random.between(0.2, this.delayMsMax), () => {
      const isFrozen = this.frozen === 'all' || this.frozen === kind;
      if (!isFrozen) deliver();
    });
  }
}
