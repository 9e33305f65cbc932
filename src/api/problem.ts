/**
 * The errors that the API's problem details describe, and readable sentences made from the validator's findings. Pure.
 */
import { CodedError, type ErrorCode, isErrorCode } from '../base/errors.ts';
import { type FieldError, NeedsAcceptance, NoPlan } from '../base/problem.ts';
import type { Problem } from './views.ts';

/** One finding of the JSON Schema validator (ajv's shape). */
export interface Finding {
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string | undefined;
}

/** Most field errors reported for one request. */
const FIELD_ERRORS_MAX = 20;

/** The error that problem details describe; problem details of another API become `failed`. */
export function errorOfProblem(status: number, body: unknown): CodedError {
  if (isProblem(body)) {
    const { acceptance, explanation = null, advice = '' } = body;
    if (body.code === 'needs-acceptance' && acceptance !== undefined)
      return new NeedsAcceptance(body.detail, { advice, acceptance, explanation });
    if (body.code === 'no-capacity' && explanation !== null)
      return new NoPlan(body.detail, { advice, hosts: [], explanation });
    const more = (body.errors ?? []).slice(1).map((field) => `${field.pointer || '/'}: ${field.detail}.`);
    return new CodedError(codeOf(body.code, status), [body.detail, ...more].join(' '), {
      ...(body.advice === undefined ? {} : { advice: body.advice }),
    });
  }
  return new CodedError(codeOf('', status), `The server answered with HTTP status ${status} and no explanation.`, {
    advice: 'Look at the log of the control node.',
  });
}

function isProblem(body: unknown): body is Problem {
  return (
    typeof body === 'object' && body !== null && 'code' in body && 'detail' in body && typeof body.detail === 'string'
  );
}

function codeOf(code: string, status: number): ErrorCode {
  if (isErrorCode(code)) return code;
  if (status === 401) return 'unauthorized';
  if (status === 404) return 'not-found';
  return status === 502 || status === 503 ? 'unavailable' : 'failed';
}

/**
 * Returns one readable sentence per field, at most FIELD_ERRORS_MAX. For a union, only the findings of the best-fitting
 * alternative are reported. Takes time linear in the findings.
 */
export function fieldErrors(findings: readonly Finding[]): readonly FieldError[] {
  const seen = new Map<string, FieldError>();
  for (const finding of withoutOtherAlternatives(findings)) {
    const field = { pointer: pointerOf(finding), detail: sentence(finding) };
    seen.set(`${field.pointer} ${field.detail}`, field);
    if (seen.size === FIELD_ERRORS_MAX) break;
  }
  return [...seen.values()];
}

/** Points to the property at fault, not to the object around it. */
function pointerOf(finding: Finding): string {
  const property =
    finding.params['missingProperty'] ?? finding.params['additionalProperty'] ?? finding.params['propertyName'];
  if (typeof property !== 'string') return finding.instancePath;
  return `${finding.instancePath}/${property.slice(0, 60).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/**
 * For each union that failed, keeps only the findings of the alternative that fits best. The validator reports a union
 * after its alternatives.
 */
function withoutOtherAlternatives(findings: readonly Finding[]): readonly Finding[] {
  const kept: Finding[] = [];
  for (const finding of findings) {
    if (finding.keyword !== 'anyOf') kept.push(finding);
    else kept.push(...nearestOf(finding, takeAlternatives(kept, finding)));
  }
  return kept;
}

/** Removes from the end of `kept` the findings in the alternatives of `union` and returns them in order. */
function takeAlternatives(kept: Finding[], union: Finding): readonly Finding[] {
  let first = kept.length;
  const isInside = ({ schemaPath, instancePath }: Finding): boolean =>
    schemaPath.startsWith(`${union.schemaPath}/`) &&
    (instancePath === union.instancePath || instancePath.startsWith(`${union.instancePath}/`));
  for (let last = kept[first - 1]; last !== undefined && isInside(last); last = kept[first - 1]) first -= 1;
  return kept.splice(first);
}

/**
 * Returns the findings of the best-fitting alternative; if no alternative has the right type, the union's own sentence
 * lists the possible types.
 */
function nearestOf(union: Finding, inUnion: readonly Finding[]): readonly Finding[] {
  const prefix = `${union.schemaPath}/`;
  const alternatives = Map.groupBy(inUnion, (f) => f.schemaPath.slice(prefix.length).split('/', 1)[0] ?? '');
  const fitting = [...alternatives.values()].filter((of) => !of.some((f) => isTypeMismatch(f, union)));
  const best = fitting.sort((a, b) => score(a) - score(b))[0];
  return best ?? [{ ...union, params: { ...union.params, types: typesOf(inUnion, union) } }];
}

const isTypeMismatch = (finding: Finding, union: Finding): boolean =>
  finding.instancePath === union.instancePath && finding.keyword === 'type';

/** A missing or an unknown property says more about which alternative was meant than a value out of range. */
const score = (of: readonly Finding[]): number =>
  of.reduce((sum, f) => sum + (f.keyword === 'additionalProperties' || f.keyword === 'required' ? 10 : 1), 0);

const typesOf = (inUnion: readonly Finding[], union: Finding): readonly string[] => [
  ...new Set(inUnion.filter((f) => isTypeMismatch(f, union)).map((f) => String(f.params['type']))),
];

function sentence(finding: Finding): string {
  const { keyword, params } = finding;
  switch (keyword) {
    case 'required':
      return 'it is missing';
    case 'additionalProperties':
      return 'it is not known here';
    case 'type':
      return `it must be of type ${String(params['type'])}`;
    case 'enum':
      return `it must be one of ${(params['allowedValues'] as readonly unknown[]).join(', ')}`;
    case 'pattern':
      return `it must match ${String(params['pattern'])}`;
    case 'minimum':
      return `it must be at least ${String(params['limit'])}`;
    case 'maximum':
      return `it must be at most ${String(params['limit'])}`;
    case 'minItems':
    case 'minProperties':
      return `it must have at least ${String(params['limit'])} entries`;
    case 'maxItems':
    case 'maxProperties':
      return `it must have at most ${String(params['limit'])} entries`;
    case 'minLength':
      return `it must be at least ${String(params['limit'])} characters long`;
    case 'maxLength':
      return `it must be at most ${String(params['limit'])} characters long`;
    case 'multipleOf':
      return `it must be a multiple of ${String(params['multipleOf'])}`;
    case 'anyOf': {
      const types = (params['types'] as readonly string[] | undefined) ?? [];
      return types.length === 0 ? 'it fits none of the alternatives' : `it must be of type ${types.join(' or ')}`;
    }
    default:
      return finding.message ?? 'it is not valid';
  }
}
