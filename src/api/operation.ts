/** The shape of an operation of the API, and how one is declared (operations.ts has all of them). */
import type { TObject, TSchema } from 'typebox';
import type { ErrorCode } from '../base/errors.ts';
import { SMALL_BODY_BYTES_MAX } from './common.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** How a request or an answer travels. */
export type Medium = 'json' | 'bytes' | 'text' | 'event-stream' | 'upgrade' | 'none';

/** One operation. Everything optional has its usual value: token needed, leader needed, no query, no body. */
export interface Operation {
  readonly method: Method;
  readonly path: `/${string}`;
  readonly tag: string;
  readonly summary: string;
  readonly query: TObject | null;
  readonly body: TSchema | null;
  readonly bodyMedium: 'json' | 'bytes' | 'none';
  /** Largest accepted size of the JSON body, in bytes. */
  readonly bodyBytesMax: number;
  /** An optional If-Match header with the object's revision. */
  readonly ifMatch: boolean;
  readonly status: 101 | 200 | 201 | 202 | 204;
  readonly answer: TSchema | null;
  readonly answerMedium: Medium;
  /** `none`: no token is needed. */
  readonly auth: 'bearer' | 'none';
  /** Answered by the control node that was asked, leader or not. */
  readonly anyNode: boolean;
  /** Whether the answer sets the session cookie in the browser, or clears it. */
  readonly cookie: 'set' | 'clear' | null;
  /** The refusals in addition to those that every operation can give. */
  readonly errors: readonly ErrorCode[];
}

type Partially = Partial<Omit<Operation, 'method' | 'path' | 'tag' | 'summary'>>;
type Defined<O extends Partially> = Omit<Operation, keyof O> & O;

/** Completes an operation with its usual values. `route`: method and path. */
export function operation<const O extends Partially>(
  route: `${Method} /${string}`,
  tag: string,
  summary: string,
  options: O,
): Defined<O> {
  const [method, path] = route.split(' ') as [Method, `/${string}`];
  return {
    method,
    path,
    tag,
    summary,
    query: null,
    body: null,
    bodyMedium: options.body ? 'json' : 'none',
    bodyBytesMax: SMALL_BODY_BYTES_MAX,
    ifMatch: false,
    status: 200,
    answer: null,
    answerMedium: options.answer ? 'json' : 'none',
    auth: 'bearer',
    anyNode: false,
    cookie: null,
    errors: [],
    ...options,
  } as Defined<O>;
}
