/** What fast-check draws scenarios from: migrations often, since they have the most to go wrong. */
import fc from 'fast-check';
import {
  type Action,
  GUEST_FAULTS,
  HOST_FAULTS,
  LEADER_FAULTS,
  type Scenario,
  STORAGE_FAULTS,
  WISHES,
} from './scenario.ts';

const vm = fc.nat({ max: 3 });
const host = fc.nat({ max: 2 });
const wishes = fc.record({ do: fc.constantFrom(...WISHES), vm });
const guestFaults = fc.record({ do: fc.constantFrom(...GUEST_FAULTS), vm });
const hostFaults = fc.record({ do: fc.constantFrom(...HOST_FAULTS), host });
const storageFaults = fc.record({ do: fc.constantFrom(...STORAGE_FAULTS), node: fc.nat({ max: 1 }) });
const leaderFaults = fc.record({ do: fc.constantFrom(...LEADER_FAULTS) });
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: wishes },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('migrate' as const), vm }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('migrate-to' as const), vm, host }) },
  { weight: 2, arbitrary: guestFaults },
  { weight: 4, arbitrary: hostFaults },
  { weight: 2, arbitrary: storageFaults },
  { weight: 1, arbitrary: leaderFaults },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('crash-leader-at' as const), step: fc.integer({ min: 1, max: 14 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), percent: fc.constantFrom(0, 10, 30) }) },
);
/** Up to fourteen commands and faults, on one to four VMs. */
export const anyScenario: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.nat(),
  vms: fc.integer({ min: 1, max: 4 }),
  actions: fc.array(fc.record({ afterMs: fc.constantFrom(0, 3, 20, 150, 700, 2_000, 6_000), action }), {
    minLength: 1,
    maxLength: 14,
    size: 'max',
  }),
});
