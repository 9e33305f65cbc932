/**
 * Checks the parts of requests against the API's schemas. A validator is made when its operation is asked for first:
 * made all together at the start they take a fifth of the processor time that a control node needs until it serves.
 */
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv';
import type { TSchema } from 'typebox';

/** Says whether `data` fits; the latest findings are in `errors`, as Fastify expects. */
interface Validator {
  (data: unknown): boolean;
  errors?: ErrorObject[] | null;
}

/**
 * Every finding is reported; problem.ts bounds how many. The options that Fastify would set (convert, fill in, remove)
 * keep ajv's default: off.
 */
export const EVERY_FINDING: Options = { allErrors: true };

/** Makes the validators of one server (Fastify: setValidatorCompiler). A test checks that the schemas are valid. */
export function validatorCompiler(): (route: { readonly schema: TSchema }) => Validator {
  const ajv = new Ajv({ ...EVERY_FINDING, meta: false, validateSchema: false, addUsedSchema: false });
  return ({ schema }) => {
    let compiled: ValidateFunction | undefined;
    const validate: Validator = (data) => {
      compiled ??= ajv.compile(schema);
      const fits = compiled(data);
      validate.errors = compiled.errors ?? null;
      return fits;
    };
    return validate;
  };
}
