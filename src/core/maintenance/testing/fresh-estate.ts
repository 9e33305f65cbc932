/** For tests: the estate as a leader keeps it, but made again from the records at every question. */
import { PARALLEL_MOVES } from '../../model/drain.ts';
import type { Observed } from '../../request/basis.ts';
import { type EstateSource, estateOf, withoutLost } from '../estate-records.ts';
import { modelOf } from '../model.ts';

/** `source`: the records as they are at each moment. Changes break nothing. */
export function freshEstate(source: () => Omit<EstateSource, 'dirtyRateOf'>): Observed['estate'] {
  return {
    model: ({ dirtyRateOf, lost = new Set(), ...view }) =>
      modelOf(withoutLost(estateOf({ ...source(), dirtyRateOf }, view), lost)),
    copy: () => modelOf(estateOf({ ...source(), dirtyRateOf: () => null }, { drain: null, parallel: PARALLEL_MOVES })),
    judge: async () => [],
    inTurn: (act) => act(),
    expect: () => undefined,
    expected: () => [],
  };
}
