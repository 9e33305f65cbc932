/**
 * The API's view of whether hosts can be drained and lost. The verdicts that the leader keeps are formatted; nothing is
 * planned here, and another control node answers that it does not know.
 */
import type { ClusterEvacuability, HostEvacuability } from '../../api/evacuability-views.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import type { HostVerdict } from '../../core/maintenance/evacuability.ts';
import type { BackendContext } from './context.ts';

const MIB = 1024 ** 2;
/** Hosts that the summary of the cluster names for each question. */
const HOSTS_NAMED = 20;

type EvacuabilityContext = Pick<BackendContext, 'store' | 'leading'>;

/** The verdict that the leader keeps of a host; null: none yet, or this control node does not lead. */
export function verdictOfHost({ leading }: EvacuabilityContext, host: HostName): HostVerdict | null {
  return leading()?.controller.estate.verdict(host) ?? null;
}

/** Whether the host can be drained now, how long that would take, and whether it can be lost. */
export function hostEvacuability(context: EvacuabilityContext, host: HostName): HostEvacuability {
  const verdict = verdictOfHost(context, host);
  if (verdict === null) {
    const nothing = { foretoldMs: null, moves: null, movedBytes: null };
    return {
      drain: { possible: 'unknown', ...nothing, because: [] },
      loss: { possible: 'unknown', tied: [], because: [] },
    };
  }
  const { drain, loss } = verdict;
  return {
    drain:
      drain.kind === 'can'
        ? {
            possible: 'yes',
            foretoldMs: Math.ceil(drain.wave.durationMs),
            moves: drain.wave.moves.length,
            movedBytes: drain.wave.moves.reduce((sum, { memoryMib }) => sum + memoryMib, 0) * MIB,
            because: [],
          }
        : { possible: 'no', foretoldMs: null, moves: null, movedBytes: null, because: [...drain.because] },
    loss:
      loss.kind === 'can'
        ? { possible: 'yes', tied: loss.witness.tied.map((vm) => nameOf(context, vm)), because: [] }
        : { possible: 'no', tied: [], because: [...loss.because] },
  };
}

/** Whether every host can be drained, and any host lost. */
export function clusterEvacuability(context: EvacuabilityContext): ClusterEvacuability {
  const hosts = [...context.store.hosts.values()].map(({ value: { name } }) => name);
  const verdicts = hosts.map((name) => [name, verdictOfHost(context, name)] as const);
  const of = (question: 'drain' | 'loss'): ClusterEvacuability['drain'] => {
    const refused = verdicts.flatMap(([name, verdict]) => {
      const answer = verdict?.[question];
      return answer?.kind === 'cannot' ? [{ name, because: answer.because }] : [];
    });
    const isUnknown = verdicts.some(([, verdict]) => verdict === null);
    return {
      possible: refused.length > 0 ? 'no' : isUnknown ? 'unknown' : 'yes',
      hosts: verdicts.filter(([, verdict]) => verdict?.[question].kind === 'can').length,
      refused: refused.length,
      because: refused.slice(0, HOSTS_NAMED).map(({ name, because }) => `${name}: ${because.join('; ')}`),
    };
  };
  return { drain: of('drain'), loss: of('loss') };
}

function nameOf({ store }: EvacuabilityContext, vm: VmId): string {
  return store.vms.get(vm)?.value.name ?? vm;
}
