/** Mistakes about whether hosts can be drained and lost, made on purpose: in what a leader keeps, and in what it says. */
import type { PlantedBug } from './planted-bug.ts';

/** In no order. */
export const VERDICT_BUGS: readonly PlantedBug[] = [
  {
    name: 'verdicts-of-yesterday',
    says: 'a leader does not look again at the hosts that a VM has left',
    rules: ['EV1-verdicts-hold'],
    plantController: ({ estate, index }) => {
      const changed = estate.vmChanged.bind(estate);
      estate.vmChanged = (id, before) => {
        if (index.vm(id)?.phase.kind !== 'stopped') changed(id, before);
      };
    },
  },
  {
    name: 'refusals-stay-unsaid',
    says: 'a leader lists no host that cannot be drained, or lost, any more',
    rules: ['EV2-refusals-are-said'],
    plantController: ({ evacuability }) => evacuability.stop(),
  },
];
