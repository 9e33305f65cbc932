/** RFC 9457 problem details: how every error goes over the wire, on the API and between the cluster's parts. */
import { CodedError, ERROR_CODES, type ErrorCode } from './errors.ts';
import { printable } from './printable.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/**
 * A header of answers that says that no control node leads now: no part of the request was carried out, and it may be
 * sent again.
 */
export const NOBODY_LEADS_HEADER = 'groundplane-nobody-leads';

/**
 * No control node leads now, or the last leader cannot be reached: no part of the request was sent on or carried out.
 */
export class NobodyLeads extends CodedError {
  constructor(message: string, options: { readonly cause?: unknown } = {}) {
    super('unavailable', message, {
      ...options,
      advice: 'VMs run on. Nothing was changed; try again in some seconds.',
    });
  }
}

/** The fault in one field of a request. */
export interface FieldError {
  /** JSON pointer (RFC 6901) into the part of the request. */
  readonly pointer: string;
  readonly detail: string;
}

/** The question that somebody must sign for before a change is made. */
export interface ToAccept {
  /** The ties that would bind VMs to hosts. */
  readonly ties: readonly { readonly kind: 'pin' | 'cpu-model' | 'guest-cluster'; readonly what: string }[];
  /** Hosts that could not be drained, or lost, any more, each with a few reasons. */
  readonly broken: readonly {
    readonly host: string;
    readonly question: 'drain' | 'loss';
    readonly because: readonly string[];
  }[];
  /** The number of further ones. */
  readonly moreBroken: number;
}

/** Why there is no plan, and what would make one possible: each way was verified by planning again. */
export interface Explained {
  /** What is not possible, as a sentence. */
  readonly about: string;
  /** VMs without a place. */
  readonly vms: readonly {
    readonly vm: string;
    /** Why it cannot be moved whatever host there is; null: it could. */
    readonly held: string | null;
    /** Every host, by the reason against it. */
    readonly hosts: readonly { readonly why: string; readonly hosts: readonly string[] }[];
  }[];
  /** How many more there are. */
  readonly moreVms: number;
  /** What cannot be met together, even with everything else given up; each is needed for that. Empty: not found. */
  readonly conflict: readonly string[];
  /** No smaller set conflicts. */
  readonly isSmallest: boolean;
  /** What would make a plan possible, and how many moves that plan has. */
  readonly ways: readonly { readonly what: string; readonly moves: number }[];
  /** False: time was up before everything was tried. */
  readonly isComplete: boolean;
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  /** HTTP status. */
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly advice?: string;
  readonly errors?: FieldError[];
  readonly acceptance?: ToAccept;
  readonly explanation?: Explained;
}

/** A request that does not fit its schema: `bad-input` with one sentence per field. */
export class InvalidRequest extends CodedError {
  readonly fields: readonly FieldError[];

  constructor(part: 'body' | 'query string' | 'path' | 'headers', fields: readonly FieldError[]) {
    const first = fields[0];
    const where = first === undefined || first.pointer === '' ? '' : ` at ${first.pointer}`;
    super('bad-input', `The ${part} is not valid${where}: ${first?.detail ?? 'it does not fit the schema'}.`, {
      advice: 'Nothing was changed.',
    });
    this.fields = fields;
  }
}

/** A change that is refused unless somebody signs for it. */
export class NeedsAcceptance extends CodedError {
  readonly acceptance: ToAccept;
  /** What would make it possible without a signature; null: nothing was looked for. */
  readonly explanation: Explained | null;

  constructor(
    message: string,
    {
      advice,
      acceptance,
      explanation,
    }: { readonly advice: string; readonly acceptance: ToAccept; readonly explanation: Explained | null },
  ) {
    super('needs-acceptance', message, { advice });
    this.acceptance = acceptance;
    this.explanation = explanation;
  }
}

/** Hosts cannot be emptied now. */
export class NoPlan extends CodedError {
  /** The hosts whose VMs have no place; empty: not known. */
  readonly hosts: readonly string[];
  /** What would make it possible; null: nothing was looked for. */
  readonly explanation: Explained | null;

  constructor(
    message: string,
    {
      advice,
      hosts,
      explanation = null,
    }: { readonly advice: string; readonly hosts: readonly string[]; readonly explanation?: Explained | null },
  ) {
    super('no-capacity', message, { advice });
    this.hosts = hosts;
    this.explanation = explanation;
  }

  /** The same refusal with what would make it possible. */
  explainedBy(explanation: Explained): NoPlan {
    const advice = [this.advice, wayWords(explanation)].filter((words) => words !== undefined).join(' ');
    return new NoPlan(this.message, { advice, hosts: this.hosts, explanation });
  }
}

/** Ways that a sentence names; the others are in the explanation. */
const WAYS_TOLD = 5;

/** What would make it possible, as sentences for the end of an error message. */
export function wayWords({ ways, isComplete }: Explained): string {
  const told = ways.slice(0, WAYS_TOLD).map(({ what }) => what);
  const more = ways.length - told.length;
  if (told.length > 0)
    return `It would be possible ${[...told, ...(more > 0 ? [`in ${more} more ways`] : [])].join('; or ')}.`;
  return isComplete
    ? 'No single change was found that would make it possible.'
    : 'What would make it possible was not found in the time that there is.';
}

/**
 * Converts an error to problem details. Text that came from a peer is made printable, so that it cannot steer a
 * terminal. Of an unexpected error only the class is named: its text may hold details that the peer must not see.
 */
export function problemOf(error: unknown): Problem {
  const coded =
    error instanceof CodedError
      ? error
      : new CodedError('failed', 'The service met an error it did not expect; its log has the details.');
  const { status, title } = ERROR_CODES[coded.code];
  return {
    type: `urn:groundplane:error:${coded.code}`,
    title,
    status,
    code: coded.code,
    detail: printable(coded.message),
    ...(coded.advice === undefined ? {} : { advice: printable(coded.advice) }),
    ...(coded instanceof InvalidRequest ? { errors: coded.fields.map(printableField) } : {}),
    ...(coded instanceof NeedsAcceptance ? { acceptance: printableAcceptance(coded.acceptance) } : {}),
    ...((coded instanceof NeedsAcceptance || coded instanceof NoPlan) && coded.explanation !== null
      ? { explanation: printableExplanation(coded.explanation) }
      : {}),
  };
}

const printableField = ({ pointer, detail }: FieldError): FieldError => ({
  pointer: printable(pointer),
  detail: printable(detail),
});

const printableAcceptance = ({ ties, broken, moreBroken }: ToAccept): ToAccept => ({
  ties: ties.map(({ kind, what }) => ({ kind, what: printable(what) })),
  broken: broken.map(({ host, question, because }) => ({ host, question, because: because.map(printable) })),
  moreBroken,
});

const printableExplanation = ({ about, vms, conflict, ways, ...rest }: Explained): Explained => ({
  ...rest,
  about: printable(about),
  vms: vms.map(({ vm, held, hosts }) => ({
    vm: printable(vm),
    held: held === null ? null : printable(held),
    hosts: hosts.map(({ why, hosts: names }) => ({ why: printable(why), hosts: names.map(printable) })),
  })),
  conflict: conflict.map(printable),
  ways: ways.map(({ what, moves }) => ({ what: printable(what), moves })),
});
