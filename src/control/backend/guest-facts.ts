/**
 * A guest's own report, for people who look at its VM. The guest is asked only when somebody looks: an estate of 20,000
 * VMs costs nothing while nobody does.
 * Guarantees: a guest is asked at most once a minute, a silent one every ten seconds, however many people look; a
 * request waits for at most WAIT_MS; at most LOOKED_AT_MAX answers are kept.
 */
import type { VmGuest } from '../../api/views.ts';
import { sleep } from '../../base/sleep.ts';
import { currentIncarnation, type VmRecord } from '../../core/model/vm.ts';
import type { GuestFacts as Facts, GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import { targetOf } from './console-ports.ts';
import type { BackendContext } from './context.ts';

const KEPT_MS = 60_000;
const SILENT_KEPT_MS = 10_000;
const WAIT_MS = 2_500;
const LOOKED_AT_MAX = 1_000;

interface Asked {
  readonly at: number;
  readonly wallMs: number;
  readonly answering: Promise<void>;
  answer: GuestAnswer<Facts> | null;
}

/** One per control node. */
export class GuestFacts {
  readonly #context: Pick<BackendContext, 'clock' | 'guestAgents' | 'store'>;
  /** Answers by VM and generation, the oldest first. */
  readonly #asked = new Map<string, Asked>();

  constructor(context: Pick<BackendContext, 'clock' | 'guestAgents' | 'store'>) {
    this.#context = context;
  }

  /** The guest's report, at once or soon. CodedError 'unavailable' if the VM's host is no longer in the cluster. */
  async of(vm: VmRecord): Promise<VmGuest> {
    const incarnation = currentIncarnation(vm.phase);
    if (incarnation === null || vm.phase.kind === 'starting') return nothing('not-running', `${vm.name} does not run.`);
    if (vm.spec.guestAgent !== true)
      return nothing('no-port', `Its machine is from before there was a port for agents: stop and start ${vm.name}.`);
    const key = `${vm.id} ${incarnation.generation}`;
    let asked = this.#asked.get(key);
    if (asked === undefined || this.#isOld(asked)) {
      asked = this.#ask(targetOf(this.#context.store, vm, incarnation));
      this.#asked.delete(key);
      this.#asked.set(key, asked);
      const [oldest] = this.#asked.keys();
      if (this.#asked.size > LOOKED_AT_MAX && oldest !== undefined) this.#asked.delete(oldest);
    }
    if (asked.answer === null) await sleep(this.#context.clock, WAIT_MS, { until: asked.answering });
    return viewOf(asked);
  }

  #isOld({ at, answer }: Asked): boolean {
    if (answer === null) return false;
    const keptMs = answer.kind === 'answers' ? KEPT_MS : SILENT_KEPT_MS;
    return this.#context.clock.monotonicMs() - at > keptMs;
  }

  #ask(target: ReturnType<typeof targetOf>): Asked {
    const { clock, guestAgents } = this.#context;
    const note = guestAgents.facts(target).then((answer) => {
      asked.answer = answer;
    });
    const asked: Asked = { at: clock.monotonicMs(), wallMs: clock.wallMs(), answering: note, answer: null };
    return asked;
  }
}

const NOTHING_SAID: Pick<VmGuest, 'os' | 'kernel' | 'hostname' | 'interfaces'> = {
  os: null,
  kernel: null,
  hostname: null,
  interfaces: [],
};

function nothing(agent: VmGuest['agent'], because: string, askedAt: string | null = null): VmGuest {
  return { agent, because, askedAt, ...NOTHING_SAID };
}

function viewOf({ answer, wallMs }: Asked): VmGuest {
  const askedAt = new Date(wallMs).toISOString();
  if (answer === null) return nothing('silent', 'It has not answered yet.', askedAt);
  if (answer.kind !== 'answers') return nothing(answer.kind, answer.why, askedAt);
  const { os, kernel, hostname, interfaces } = answer.value;
  const cards = interfaces.map(({ addresses, ...card }) => ({ ...card, addresses: [...addresses] }));
  return { agent: 'answers', because: null, askedAt, os, kernel, hostname, interfaces: cards };
}
