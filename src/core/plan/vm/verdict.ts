/**
 * The verdict on one incarnation, from independent observations (docs/specs/protocol.md, section 5). Pure.
 *
 * Guarantees: `lost` is only said when the agent is silent and the host's kernel was silent on every path that can try,
 * among them every storage node that holds one of the VM's disks, for the configured number of rounds. A missed
 * heartbeat alone is never a verdict. Besides, it is said of a host that somebody declared permanently
 * gone (request/host-removal.ts), or that is no member any more, whatever is observed.
 */

import type { StorageName } from '../../../base/ids.ts';
import { own } from '../../../base/own.ts';
import type { IncarnationObservation, KernelObservation, MigrationTold } from '../../model/observation.ts';

export type Verdict =
  | 'unknown'
  | 'running'
  | 'paused'
  | 'guest-shutdown'
  | 'panicked'
  | 'disk-error'
  | 'incoming'
  | 'moved-out'
  | 'unresponsive'
  | 'crashed'
  | 'lost';

export interface Judgement {
  readonly verdict: Verdict;
  /** True where the host's agent is silent although the host is there: fully managed, nothing is restarted. */
  readonly agentless: boolean;
  /** The reasons, one sentence each, for people. */
  readonly because: readonly string[];
}

const BY_RUN_STATE: Readonly<Record<string, Verdict>> = {
  running: 'running',
  paused: 'paused',
  prelaunch: 'paused',
  debug: 'paused',
  suspended: 'running',
  'save-vm': 'running',
  'restore-vm': 'running',
  'finish-migrate': 'moved-out',
  postmigrate: 'moved-out',
  inmigrate: 'incoming',
  shutdown: 'guest-shutdown',
  'guest-panicked': 'panicked',
  'internal-error': 'panicked',
  watchdog: 'panicked',
  'io-error': 'disk-error',
};

const BY_TOLD: Readonly<Record<MigrationTold['kind'], string>> = {
  ending: 'its guest is paused for the end of its live migration',
  left: 'it has sent everything',
  arrived: 'it has received everything',
};

/** Whether reasons are put into words, for readers: thousands of judgements per second have none. */
class Judged implements Judgement {
  readonly verdict: Verdict;
  readonly agentless: boolean;
  readonly #seen: IncarnationObservation;
  readonly #more: readonly string[];

  constructor(verdict: Verdict, seen: IncarnationObservation, more: readonly string[]) {
    this.verdict = verdict;
    this.agentless = seen.host.agent === 'silent';
    this.#seen = seen;
    this.#more = more;
  }

  get because(): readonly string[] {
    return [agentReason(this.#seen), ...qmpReasons(this.#seen), ...this.#more];
  }
}

/** Rounds of silence on every path before `lost` may be said. */
export const LOST_ROUNDS = 2;

/**
 * Whether the kernel of a host counts as silent for a VM with disks on `nodes`: the same rule as `judge` has for
 * "lost".
 */
export function isSilentFor(kernel: KernelObservation, nodes: readonly StorageName[]): boolean {
  return kernel.kind === 'silent' && kernel.rounds >= LOST_ROUNDS && nodes.every((node) => kernel.nodes.includes(node));
}

/** Judges `seen`. `diskNodes`: gives every storage node that holds one of the VM's disks; each must have tried. */
export function judge(seen: IncarnationObservation, diskNodes: () => readonly StorageName[]): Judgement {
  const { host, qmp, process, told } = seen;
  const agentless = host.agent === 'silent';
  const say = (verdict: Verdict, ...more: string[]): Judgement => new Judged(verdict, seen, more);

  if (host.gone !== undefined) return say('lost', host.gone);
  if (process === 'absent' && host.agent === 'alive')
    return say('crashed', `The agent of ${host.host} reports no such process.`);
  if (qmp.kind === 'answers') return say(own(BY_RUN_STATE, qmp.status) ?? 'unresponsive');
  if (qmp.kind === 'unknown' && told !== null && told.kind !== 'arrived') return say('moved-out');
  if (qmp.kind === 'refused' && agentless)
    return say('crashed', `The kernel of ${host.host} refuses its port: the process is gone.`);
  if (host.agent === 'alive') return say(qmp.kind === 'unknown' ? 'unknown' : 'unresponsive');
  if (!agentless) return say('unknown');
  return judgeAgentless(seen, diskNodes, say);
}

function judgeAgentless(
  seen: IncarnationObservation,
  diskNodes: () => readonly StorageName[],
  say: (verdict: Verdict, ...more: string[]) => Judgement,
): Judgement {
  const { kernel, host } = seen.host;
  if (kernel.kind === 'reachable')
    return say('unresponsive', `The kernel of ${host} answers via ${kernel.via}: the host is not lost.`);
  if (kernel.kind === 'unknown') return say('unknown');
  if (kernel.rounds < LOST_ROUNDS) return say('unknown', `Silent in ${kernel.rounds} round of ${LOST_ROUNDS}.`);
  const untried = diskNodes().filter((node) => !kernel.nodes.includes(node));
  if (untried.length > 0)
    return say(
      'unknown',
      `Storage node ${untried.join(', ')} could not try to reach ${host}, so nothing is concluded.`,
    );
  return say('lost', `${host} was silent on every path, ${kernel.rounds} times: ${kernel.paths.join(', ')}.`);
}

function agentReason({ host }: IncarnationObservation): string {
  if (host.agent === 'alive') return `Agent of ${host.host}: alive, last report ${host.agentAgeMs ?? 0} ms ago.`;
  if (host.agent === 'unknown') return `Agent of ${host.host}: not asked yet.`;
  const age = host.agentAgeMs === null ? 'never seen by this leader' : `last report ${host.agentAgeMs} ms ago`;
  return `Agent of ${host.host}: silent (${age}${host.agentError === null ? '' : `; ${host.agentError}`}).`;
}

function qmpReasons({ qmp, told }: IncarnationObservation): string[] {
  switch (qmp.kind) {
    case 'unknown':
      return [told === null ? 'QMP: not asked yet.' : `QMP: ${BY_TOLD[told.kind]} (its own event).`];
    case 'answers':
      return [`QMP: answers "${qmp.status}" via ${qmp.via}, ${qmp.ageMs} ms ago.`];
    case 'refused':
      return [`QMP: connection refused via ${qmp.via}, ${qmp.ageMs} ms ago.`];
    case 'mute':
      return [`QMP: port open via ${qmp.via}, but no answer.`];
    case 'silent':
      return [`QMP: silent on ${qmp.paths.join(', ')}.`];
  }
}
