import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { rankHosts, type SpreadProblem, spread } from './spread.ts';

/** VMs are numbered from 0: those of `place` have no host, those of `resident` are on one. */
function problem(input: {
  readonly free: readonly number[];
  readonly place: readonly number[];
  readonly resident?: readonly (readonly [mib: number, host: number])[];
  readonly allows?: SpreadProblem['allows'];
  readonly apart?: SpreadProblem['apart'];
}): SpreadProblem {
  const resident = input.resident ?? [];
  return {
    freeMib: Float64Array.from(input.free),
    ranked: rankHosts(Float64Array.from(input.free)),
    vmMib: Float64Array.from([...input.place, ...resident.map(([mib]) => mib)]),
    allows: input.allows ?? (() => true),
    choices: (vm) => input.free.filter((_mib, host) => input.allows?.(vm, host) ?? true).length,
    toPlace: input.place.map((_mib, vm) => vm),
    apart: input.apart ?? [],
    at: Int32Array.from([...input.place.map(() => -1), ...resident.map(([, host]) => host)]),
    isMovable: () => true,
  };
}

/** Checks an assignment without the code that made it. */
function assertHolds(given: SpreadProblem, at: Int32Array): void {
  const free = given.freeMib.slice();
  for (const [vm, host] of given.at.entries()) if (host >= 0) free[host] = (free[host] ?? 0) + (given.vmMib[vm] ?? 0);
  for (const [vm, host] of at.entries()) {
    if (host < 0) continue;
    free[host] = (free[host] ?? 0) - (given.vmMib[vm] ?? 0);
    if (given.at[vm] !== host) assert.ok(given.allows(vm, host), `VM ${vm} is not allowed on host ${host}`);
  }
  for (const mib of free) assert.ok(mib >= -1, `${mib} MiB free`);
  for (const { vms, perHost } of given.apart) {
    const counts = new Map<number, number>();
    for (const vm of vms) counts.set(at[vm] ?? -1, (counts.get(at[vm] ?? -1) ?? 0) + 1);
    for (const [host, count] of counts) assert.ok(host < 0 || count <= perHost);
  }
}

describe('spread', () => {
  it('puts each VM where it leaves least', () => {
    const result = spread(problem({ free: [100, 50, 30], place: [30, 50] }));
    assert.deepEqual([...result.at], [2, 1]);
  });

  it('gives VMs with few hosts their place before large ones take it', () => {
    const given = problem({ free: [40, 40], place: [40, 40], allows: (vm, host) => vm === 0 || host === 0 });
    const result = spread(given);
    assert.deepEqual([...result.at], [1, 0]);
  });

  it('keeps VMs apart', () => {
    const given = problem({ free: [100, 100, 100], place: [10, 10, 10], apart: [{ vms: [0, 1, 2], perHost: 1 }] });
    const { at } = spread(given);
    assert.equal(new Set(at).size, 3);
    assertHolds(given, at);
  });

  it('moves one VM, and a second one behind it, to make room', () => {
    const allows: SpreadProblem['allows'] = (vm, host) => (vm === 0 ? host === 0 : vm === 1 ? host <= 1 : true);
    const given = problem({
      free: [5, 5, 35],
      place: [40],
      resident: [
        [38, 0],
        [34, 1],
      ],
      allows,
    });
    const { at, unplaced, displaced } = spread(given);
    assert.deepEqual(unplaced, []);
    assert.deepEqual(displaced, [1, 2]);
    assert.deepEqual([...at], [0, 1, 2]);
    assertHolds(given, at);
  });

  it('leaves everything as it was where nothing helps, and stops at its budget', () => {
    const given = problem({
      free: [5, 5],
      place: [40],
      resident: [
        [30, 0],
        [30, 1],
      ],
    });
    for (const steps of [0, 1, 1000]) {
      const { at, unplaced, displaced } = spread(given, steps);
      assert.deepEqual([[...at], unplaced, displaced], [[-1, 0, 1], [0], []]);
    }
  });

  it('holds for many problems, and gives the same twice', () => {
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    let displaced = 0;
    for (let round = 0; round < 200; round += 1) {
      const hosts = 3 + random(5);
      const place = Array.from({ length: 1 + random(8) }, () => 10 + random(40));
      const resident = Array.from({ length: random(10) }, () => [5 + random(30), random(hosts)] as const);
      const closed = new Set(Array.from({ length: random(6) }, () => `${random(place.length)} ${random(hosts)}`));
      const apart = [{ vms: [0, place.length], perHost: 1 }];
      const free = Array.from({ length: hosts }, () => random(60));
      const given = problem({
        free,
        place,
        resident,
        allows: (vm, host) => !closed.has(`${vm} ${host}`),
        apart: resident.length > 0 ? apart : [],
      });
      const first = spread(given);
      assertHolds(given, first.at);
      assert.deepEqual(spread(given), first);
      displaced += first.displaced.length;
    }
    assert.ok(displaced > 10, `${displaced} displaced`);
  });
});
