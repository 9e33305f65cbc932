import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { Type } from 'typebox';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS } from '../../api/operations.ts';
import { schemaOf } from './operation-schema.ts';
import { EVERY_FINDING, validatorCompiler } from './request-validator.ts';

test('every schema of a request is one: the server takes them without a look', () => {
  const ajv = new Ajv(EVERY_FINDING);
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS))
    for (const [part, schema] of Object.entries(schemaOf(operation)))
      assert.doesNotThrow(() => ajv.compile(schema), `${id} ${part}`);
  assert.throws(() => ajv.compile({ type: 'no-such-type' }));
});

test('a validator is made when it is asked first; it changes nothing and tells every finding of the last request', () => {
  const makeValidator = validatorCompiler();
  const never = makeValidator({ schema: { type: 'no-such-type' } });
  assert.throws(() => never({}));
  const validate = makeValidator({
    schema: Type.Object({ size: Type.Integer(), name: Type.String() }, { additionalProperties: false }),
  });
  const request = { size: '1', name: 2, more: true };
  assert.equal(validate(request), false);
  assert.deepEqual(validate.errors?.map(({ keyword }) => keyword).sort(), ['additionalProperties', 'type', 'type']);
  assert.deepEqual(request, { size: '1', name: 2, more: true });
  assert.equal(validate({ size: 1, name: 'a' }), true);
  assert.equal(validate.errors, null);
});
