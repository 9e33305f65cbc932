/** Selectors of Kubernetes: which labels, and which nodes, a term of an affinity means. */
import { own } from '../../../base/own.ts';
import { type Fields, fieldsOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

/** Returns the affinity terms that apply to single hosts. */
export function requiredTerms(spec: unknown, kind: 'podAffinity' | 'podAntiAffinity'): readonly Fields[] {
  const terms = objectsAt(spec, 'affinity', kind, 'requiredDuringSchedulingIgnoredDuringExecution');
  return terms.filter((term) => textAtPath(term, 'topologyKey') === 'kubernetes.io/hostname');
}

/** Returns true if the labels fit the selector; an empty selector fits nothing. */
export function matches(selector: unknown, labels: Fields): boolean {
  const exact = Object.entries(fieldsOf(valueAt(selector, 'matchLabels')));
  const terms = objectsAt(selector, 'matchExpressions');
  if (exact.length + terms.length === 0) return false;
  return (
    exact.every(([label, value]) => own(labels, label) === value) &&
    terms.every((term) => fits(term, own(labels, textAtPath(term, 'key'))))
  );
}

/** Returns true if a node fits the term of a node affinity. */
export function matchesTerm(term: Fields, name: string, labels: Readonly<Record<string, string>>): boolean {
  const expressions = objectsAt(term, 'matchExpressions').every((one) =>
    fits(one, own(labels, textAtPath(one, 'key'))),
  );
  const fields = objectsAt(term, 'matchFields').every((one) =>
    fits(one, textAtPath(one, 'key') === 'metadata.name' ? name : undefined),
  );
  return expressions && fields;
}

function fits(term: Fields, value: unknown): boolean {
  const raw = valueAt(term, 'values');
  const values = Array.isArray(raw) ? raw.map(String) : [];
  switch (textAtPath(term, 'operator')) {
    case 'In':
      return typeof value === 'string' && values.includes(value);
    case 'NotIn':
      return typeof value !== 'string' || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return Number(value) > Number(values[0]);
    case 'Lt':
      return Number(value) < Number(values[0]);
    default:
      return false;
  }
}
