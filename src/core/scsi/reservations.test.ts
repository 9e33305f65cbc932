import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { accessOf, legacyRule } from './access.ts';
import {
  changeReservations,
  isHolder,
  keyOf,
  NO_RESERVATIONS,
  REGISTRATIONS_MAX,
  RESERVATION_TYPE,
  type ReservationCommand,
  type ReservationState,
} from './reservations.ts';
import { ReferenceReservations } from './testing/reference-reservations.ts';

const key = (digit: number): string => digit.toString(16).padStart(16, '0');
const K0 = key(0);
const TYPES = Object.values(RESERVATION_TYPE);

const register = (newKey: string, old = K0, more: object = {}): ReservationCommand => ({
  kind: 'register',
  key: old,
  newKey,
  isIgnoringKey: false,
  isAllTargetPorts: false,
  initiators: null,
  ...more,
});

/** A, B, C registered with keys 1, 2, 3; A may hold a reservation. */
function three(type?: number): ReservationState {
  let state = NO_RESERVATIONS;
  for (const [index, nexus] of ['a', 'b', 'c'].entries()) state = ok(state, nexus, register(key(index + 1))).state;
  return type === undefined ? state : ok(state, 'a', { kind: 'reserve', key: key(1), type }).state;
}

function ok(state: ReservationState, nexus: string, command: ReservationCommand) {
  const outcome = changeReservations(state, nexus, command);
  if (outcome.result !== 'good') assert.fail(`${nexus} ${JSON.stringify(command)}: ${outcome.result}`);
  return outcome;
}

const summary = (state: ReservationState): string =>
  `${state.registrations.map((each) => `${each.nexus}${Number.parseInt(each.key, 16)}`).join(' ')} | ${
    state.reservation === null ? '-' : `${state.reservation.type} ${state.reservation.holder ?? 'all'}`
  }`;

const preempt = (preempted: string, type: number, isAborting = false): ReservationCommand => ({
  kind: 'preempt',
  key: key(2),
  preemptedKey: preempted,
  type,
  isAborting,
});

describe('the table of SPC-4', () => {
  /** before: type held by A (0: none) | who | command | result | after | unit attentions */
  const rows: [number, string, ReservationCommand, string, string?, string?][] = [
    [0, 'd', register(K0), 'good', 'a1 b2 c3 | -', ''],
    [0, 'd', register(key(4)), 'good', 'a1 b2 c3 d4 | -', ''],
    [0, 'd', register(key(4), key(9)), 'reservation-conflict'],
    [0, 'a', register(key(9)), 'reservation-conflict'],
    [0, 'a', register(key(9), key(1)), 'good', 'a9 b2 c3 | -', ''],
    [0, 'a', register(key(9), key(7), { isIgnoringKey: true }), 'good', 'a9 b2 c3 | -', ''],
    [0, 'd', register(K0, key(7), { isIgnoringKey: true }), 'good', 'a1 b2 c3 | -', ''],
    [0, 'd', register(key(4), K0, { initiators: ['e', 'a'] }), 'good', 'a1 b2 c3 d4 e4 | -', ''],
    [0, 'a', register(key(4), key(1), { initiators: ['e'] }), 'invalid-parameter'],
    [0, 'd', register(key(4), K0, { initiators: ['e'], isIgnoringKey: true }), 'invalid-parameter'],
    [1, 'a', register(K0, key(1)), 'good', 'b2 c3 | -', ''],
    [5, 'a', register(K0, key(1)), 'good', 'b2 c3 | -', 'b:reservationsReleased c:reservationsReleased'],
    [7, 'a', register(K0, key(1)), 'good', 'b2 c3 | 7 all', ''],
    [5, 'b', register(K0, key(2)), 'good', 'a1 c3 | 5 a', ''],
    [0, 'd', { kind: 'reserve', key: key(1), type: 1 }, 'reservation-conflict'],
    [0, 'a', { kind: 'reserve', key: key(2), type: 1 }, 'reservation-conflict'],
    [0, 'a', { kind: 'reserve', key: key(1), type: 2 }, 'invalid-cdb'],
    [5, 'a', { kind: 'reserve', key: key(1), type: 5 }, 'good', 'a1 b2 c3 | 5 a', ''],
    [5, 'a', { kind: 'reserve', key: key(1), type: 6 }, 'reservation-conflict'],
    [5, 'b', { kind: 'reserve', key: key(2), type: 5 }, 'reservation-conflict'],
    [8, 'b', { kind: 'reserve', key: key(2), type: 8 }, 'good', 'a1 b2 c3 | 8 all', ''],
    [0, 'a', { kind: 'release', key: key(1), type: 1 }, 'good', 'a1 b2 c3 | -', ''],
    [1, 'b', { kind: 'release', key: key(2), type: 1 }, 'good', 'a1 b2 c3 | 1 a', ''],
    [1, 'a', { kind: 'release', key: key(1), type: 3 }, 'invalid-release'],
    [3, 'a', { kind: 'release', key: key(1), type: 3 }, 'good', 'a1 b2 c3 | -', ''],
    [
      6,
      'a',
      { kind: 'release', key: key(1), type: 6 },
      'good',
      'a1 b2 c3 | -',
      'b:reservationsReleased c:reservationsReleased',
    ],
    [
      7,
      'c',
      { kind: 'release', key: key(3), type: 7 },
      'good',
      'a1 b2 c3 | -',
      'a:reservationsReleased b:reservationsReleased',
    ],
    [5, 'b', { kind: 'clear', key: key(2) }, 'good', ' | -', 'a:reservationsPreempted c:reservationsPreempted'],
    [5, 'd', { kind: 'clear', key: K0 }, 'reservation-conflict'],
    [5, 'b', preempt(key(1), 5), 'good', 'b2 c3 | 5 b', 'a:registrationsPreempted'],
    [5, 'b', preempt(key(1), 1), 'good', 'b2 c3 | 1 b', 'a:registrationsPreempted c:reservationsReleased'],
    [5, 'b', preempt(key(1), 0), 'invalid-cdb'],
    [5, 'b', preempt(key(3), 0), 'good', 'a1 b2 | 5 a', 'c:registrationsPreempted'],
    [5, 'b', preempt(key(2), 0), 'good', 'a1 c3 | 5 a', ''],
    [5, 'b', preempt(key(9), 5), 'reservation-conflict'],
    [5, 'b', preempt(K0, 5), 'invalid-parameter'],
    [0, 'b', preempt(key(1), 5), 'good', 'b2 c3 | -', 'a:registrationsPreempted'],
    [7, 'b', preempt(K0, 5), 'good', 'b2 | 5 b', 'a:registrationsPreempted c:registrationsPreempted'],
    [7, 'b', preempt(key(1), 5), 'good', 'b2 c3 | 7 all', 'a:registrationsPreempted'],
  ];
  for (const [type, nexus, command, result, after, attentions] of rows)
    test(`type ${type}, ${nexus}: ${JSON.stringify(command)} -> ${result} ${after ?? ''}`, () => {
      const state = three(type === 0 ? undefined : type);
      const outcome = changeReservations(state, nexus, command);
      assert.equal(outcome.result, result);
      if (outcome.result !== 'good') return;
      assert.equal(summary(outcome.state), after);
      assert.equal(outcome.attentions.map((each) => `${each.nexus}:${each.attention}`).join(' '), attentions);
    });

  test('REGISTER AND MOVE hands the reservation on', () => {
    const move = (initiator: string, more: object = {}): ReservationCommand => ({
      kind: 'register-and-move',
      key: key(1),
      newKey: key(9),
      isUnregistering: false,
      initiator,
      ...more,
    });
    assert.equal(summary(ok(three(5), 'a', move('d')).state), 'a1 b2 c3 d9 | 5 d');
    assert.equal(summary(ok(three(5), 'a', move('b', { isUnregistering: true })).state), 'c3 b9 | 5 b');
    const refusals: [number | undefined, ReservationCommand, string][] = [
      [undefined, move('d'), 'invalid-cdb'],
      [7, move('d'), 'reservation-conflict'],
      [5, move('a'), 'invalid-parameter'],
      [5, move('d', { newKey: K0 }), 'invalid-parameter'],
    ];
    for (const [type, command, result] of refusals)
      assert.equal(changeReservations(three(type), 'a', command).result, result);
  });

  test('PREEMPT AND ABORT names whose commands end', () => {
    assert.deepEqual(ok(three(5), 'b', preempt(key(1), 5, true)).aborted, ['a']);
    assert.deepEqual(ok(three(8), 'b', preempt(K0, 8, true)).aborted, ['a', 'c']);
    assert.deepEqual(ok(three(5), 'b', preempt(key(1), 5)).aborted, []);
  });

  test('the last registrant that leaves takes an all-registrants reservation along', () => {
    let state = three(8);
    for (const [index, nexus] of ['a', 'b', 'c'].entries())
      state = ok(state, nexus, register(K0, key(index + 1))).state;
    assert.equal(summary(state), ' | -');
  });

  test('registrations are bounded', () => {
    const initiators = Array.from({ length: REGISTRATIONS_MAX }, (_, index) => `n${index}`);
    assert.equal(
      changeReservations(NO_RESERVATIONS, 'a', register(key(1), K0, { initiators })).result,
      'no-registration-resources',
    );
  });

  test('the generation wraps', () => {
    const state = { ...NO_RESERVATIONS, generation: 0xffff_ffff };
    assert.equal(ok(state, 'a', register(key(1))).state.generation, 0);
  });
});

describe('who may do what', () => {
  /** SPC-4 table 66, SBC-3 table 13: type -> holder, registered, not registered; r: reads, w: writes as well. */
  const table: Record<number, readonly [string, string, string]> = {
    1: ['rw', 'r', 'r'],
    3: ['rw', '', ''],
    5: ['rw', 'rw', 'r'],
    6: ['rw', 'rw', ''],
    7: ['rw', 'rw', 'r'],
    8: ['rw', 'rw', ''],
  };
  for (const type of TYPES)
    test(`type ${type}`, () => {
      const state = three(type);
      const found = ['a', 'b', 'x'].map((nexus) => {
        const { mayRead, mayWrite } = accessOf(state, nexus);
        return `${mayRead ? 'r' : ''}${mayWrite ? 'w' : ''}`;
      });
      assert.deepEqual(found, table[type]);
    });

  test('RESERVE and RELEASE of SPC-2 beside registrations', () => {
    assert.equal(legacyRule(NO_RESERVATIONS, 'a'), 'legacy');
    assert.deepEqual(
      ['a', 'b', 'x'].map((nexus) => legacyRule(three(), nexus)),
      ['conflict', 'conflict', 'conflict'],
    );
    assert.deepEqual(
      ['a', 'b', 'x'].map((nexus) => legacyRule(three(1), nexus)),
      ['good', 'conflict', 'conflict'],
    );
    assert.deepEqual(
      ['a', 'b', 'x'].map((nexus) => legacyRule(three(5), nexus)),
      ['good', 'good', 'conflict'],
    );
  });
});

const nexuses = fc.constantFrom('a', 'b', 'c', 'd');
const keys = fc.constantFrom(K0, key(1), key(2), key(3));
const types = fc.constantFrom(1, 3, 5, 6, 7, 8, 0, 2, 9);
const commands: fc.Arbitrary<ReservationCommand> = fc.oneof(
  fc.record({
    kind: fc.constant('register' as const),
    key: keys,
    newKey: keys,
    isIgnoringKey: fc.boolean(),
    isAllTargetPorts: fc.boolean(),
    initiators: fc.option(fc.array(nexuses, { maxLength: 3 }), { freq: 4 }),
  }),
  fc.record({ kind: fc.constantFrom('reserve' as const, 'release' as const), key: keys, type: types }),
  fc.record({ kind: fc.constant('clear' as const), key: keys }),
  fc.record({
    kind: fc.constant('preempt' as const),
    key: keys,
    preemptedKey: keys,
    type: types,
    isAborting: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('register-and-move' as const),
    key: keys,
    newKey: keys,
    isUnregistering: fc.boolean(),
    initiator: nexuses,
  }),
);

/** A step: who, what, and whether the right key is put in, which random keys seldom are. */
const steps = fc.array(fc.tuple(nexuses, commands, fc.boolean()), { minLength: 1, maxLength: 40 });
const RUNS = { seed: 20_261_121, numRuns: 3_000 } as const;

const keyed = (state: ReservationState, nexus: string, command: ReservationCommand, isRight: boolean) =>
  isRight ? { ...command, key: keyOf(state, nexus) ?? K0 } : command;

describe('properties', () => {
  test('agrees with a second implementation, unit attentions included', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const reference = new ReferenceReservations();
        let state = NO_RESERVATIONS;
        for (const [nexus, random, isRight] of sequence) {
          const command = keyed(state, nexus, random, isRight);
          const outcome = changeReservations(state, nexus, command);
          assert.equal(reference.run(nexus, command), outcome.result, JSON.stringify({ nexus, command }));
          if (outcome.result !== 'good') continue;
          const sorted = (items: readonly object[]) => items.map((each) => JSON.stringify(each)).sort();
          assert.deepEqual(sorted(outcome.attentions), sorted(reference.attentions));
          assert.deepEqual([...outcome.aborted].sort(), [...reference.aborted].sort());
          state = outcome.state;
          const other = reference.toState();
          assert.deepEqual(
            { ...state, registrations: sorted(state.registrations) },
            { ...other, registrations: sorted(other.registrations) },
          );
        }
      }),
      RUNS,
    );
  });

  test('R1: a state is never changed, only followed by another', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state = NO_RESERVATIONS;
        for (const [nexus, random, isRight] of sequence) {
          const before = structuredClone(state);
          const outcome = changeReservations(state, nexus, keyed(state, nexus, random, isRight));
          assert.deepEqual(state, before);
          if (outcome.result === 'good') state = outcome.state;
        }
      }),
      { ...RUNS, numRuns: 500 },
    );
  });

  test('R2, R4: holders are registered; the generation counts changes of registrations; a state survives JSON', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state = NO_RESERVATIONS;
        for (const [nexus, random, isRight] of sequence) {
          const outcome = changeReservations(state, nexus, keyed(state, nexus, random, isRight));
          if (outcome.result !== 'good') continue;
          const isCounted = outcome.state.generation !== state.generation;
          if (!isCounted) assert.deepEqual(outcome.state.registrations, state.registrations);
          else assert.equal(outcome.state.generation, state.generation + 1);
          state = outcome.state;
          if (state.reservation !== null) assert.ok(state.registrations.some((each) => isHolder(state, each.nexus)));
          assert.ok(state.registrations.every((each) => each.key !== K0));
          assert.equal(new Set(state.registrations.map((each) => each.nexus)).size, state.registrations.length);
          assert.deepEqual(JSON.parse(JSON.stringify(state)), state);
        }
      }),
      RUNS,
    );
  });

  test('R3: whoever loses a registration or an access by another is told', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state = NO_RESERVATIONS;
        for (const [nexus, random, isRight] of sequence) {
          const outcome = changeReservations(state, nexus, keyed(state, nexus, random, isRight));
          if (outcome.result !== 'good') continue;
          const before = state;
          state = outcome.state;
          const lost = before.registrations.filter(
            (each) => each.nexus !== nexus && keyOf(state, each.nexus) === undefined,
          );
          for (const each of lost)
            assert.ok(
              outcome.attentions.some((told) => told.nexus === each.nexus),
              each.nexus,
            );
          for (const told of outcome.attentions) {
            assert.notEqual(told.nexus, nexus);
            assert.ok(keyOf(before, told.nexus) !== undefined, 'only who was registered');
          }
        }
      }),
      RUNS,
    );
  });
});
