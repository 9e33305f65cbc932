import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { type Explained, InvalidRequest, NeedsAcceptance, NoPlan, problemOf, wayWords } from '../base/problem.ts';
import { errorOfProblem, type Finding, fieldErrors } from './problem.ts';

const EXPLANATION: Explained = {
  about: 'h1 cannot be drained now',
  vms: [{ vm: 'db', held: null, hosts: [{ why: 'cordoned', hosts: ['h2', 'h3'] }] }],
  ...{ moreVms: 0, conflict: ['memory'], isSmallest: true, isComplete: true },
  ways: [
    { what: 'with 4 GiB more on h2', moves: 1 },
    { what: 'if db is stopped', moves: 0 },
  ],
};

const finding = (
  keyword: string,
  instancePath: string,
  schemaPath: string,
  params: Finding['params'] = {},
): Finding => ({
  keyword,
  instancePath,
  schemaPath,
  params,
});

test('a coded error survives the way through problem details', () => {
  const error = new CodedError('conflict', 'It is running.', { advice: 'Stop it first.' });
  const back = errorOfProblem(409, problemOf(error));
  assert.deepEqual([back.code, back.message, back.advice], [error.code, error.message, error.advice]);
});

test('what is to be signed for survives the way through problem details, made printable', () => {
  const acceptance = {
    ties: [{ kind: 'pin', what: 'web\u001b is pinned to h1' }],
    broken: [{ host: 'h2', question: 'loss', because: ['db: there is no other host'] }],
    moreBroken: 3,
  } as const;
  const explanation = { ...EXPLANATION, ways: [{ what: 'if web\u001b is stopped', moves: 2 }] };
  const refusal = new NeedsAcceptance('Refused.', { advice: 'Sign.', acceptance, explanation });
  const back = errorOfProblem(409, problemOf(refusal));
  assert(back instanceof NeedsAcceptance);
  assert.deepEqual(back.explanation?.ways, [{ what: 'if web\\u{1b} is stopped', moves: 2 }]);
  assert.deepEqual(back.acceptance, {
    ...acceptance,
    ties: [{ kind: 'pin', what: 'web\\u{1b} is pinned to h1' }],
  });
  assert.deepEqual([back.code, back.advice], ['needs-acceptance', 'Sign.']);
});

test('what would make a plan possible survives it, too, and is told in a sentence', () => {
  const refused = new NoPlan('h1 cannot be drained now.', { advice: 'Nothing was changed.', hosts: ['h1'] });
  assert.equal('explanation' in problemOf(refused), false);
  const back = errorOfProblem(409, problemOf(refused.explainedBy(EXPLANATION)));
  assert(back instanceof NoPlan);
  assert.deepEqual(back.explanation, EXPLANATION);
  assert.equal(back.advice, 'Nothing was changed. It would be possible with 4 GiB more on h2; or if db is stopped.');
  const words = (isComplete: boolean): string => wayWords({ ...EXPLANATION, ways: [], isComplete });
  assert.match(words(true), /No single change was found/);
  assert.match(words(false), /not found in the time/);
});

test('every field of an invalid request is told to the reader', () => {
  const error = new InvalidRequest('body', [
    { pointer: '/name', detail: 'it is missing' },
    { pointer: '/vcpus', detail: 'it must be at least 1' },
  ]);
  const back = errorOfProblem(400, problemOf(error));
  assert.match(back.message, /at \/name: it is missing\. \/vcpus: it must be at least 1\.$/);
});

test('what is not of this API is told by its status', () => {
  for (const [status, code] of [
    [502, 'unavailable'],
    [503, 'unavailable'],
    [401, 'unauthorized'],
    [404, 'not-found'],
    [418, 'failed'],
  ] as const) {
    for (const body of [undefined, null, 'text', {}, { code: 'made-up', detail: 3 }]) {
      assert.equal(errorOfProblem(status, body).code, code);
    }
  }
  assert.equal(errorOfProblem(500, { code: 'toString', detail: 'x' }).code, 'failed');
});

test('of a union only the alternative that fits best is complained about', () => {
  const at = '/networks/0';
  const union = '#/properties/networks/items/anyOf';
  const findings = [
    finding('type', at, `${union}/0/type`, { type: 'string' }),
    finding('required', at, `${union}/1/required`, { missingProperty: 'network' }),
    finding('anyOf', at, union),
  ];
  assert.deepEqual(fieldErrors(findings), [{ pointer: '/networks/0/network', detail: 'it is missing' }]);
  const wrongType = [
    finding('type', at, `${union}/0/type`, { type: 'string' }),
    finding('type', at, `${union}/1/type`, { type: 'object' }),
    finding('anyOf', at, union),
  ];
  assert.deepEqual(fieldErrors(wrongType), [{ pointer: at, detail: 'it must be of type string or object' }]);
});

test('the number of field errors is bounded, and pointers are escaped', () => {
  const many = Array.from({ length: 500 }, (_, i) =>
    finding('additionalProperties', '', '#/additionalProperties', { additionalProperty: `a/b~${i}` }),
  );
  const errors = fieldErrors(many);
  assert.equal(errors.length, 20);
  assert.equal(errors[0]?.pointer, '/a~1b~00');
});

test('control characters of a request never come back', () => {
  const bad = '\u001b[2J\r\n\u009b\u202e';
  const error = new InvalidRequest('body', [{ pointer: `/${bad}`, detail: `${bad} is not known` }]);
  const coded = new CodedError('not-found', `There is no ${bad}.`, { advice: `Not ${bad}.` });
  for (const problem of [problemOf(error), problemOf(coded)])
    for (const char of bad)
      if (char !== '[' && char !== '2' && char !== 'J')
        assert(!JSON.stringify(problem).includes(JSON.stringify(char).slice(1, -1)));
  assert.equal(problemOf(coded).detail, 'There is no \\u{1b}[2J\\u{d}\\u{a}\\u{9b}\\u{202e}.');
});
