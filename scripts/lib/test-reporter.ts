/**
 * Reporter for `node --test`: one JSON record per finished test, each on a line that starts with the record separator
 * (RFC 7464), so that whatever tests print to the same stream can be told apart.
 */
import type { TestEvent } from 'node:test/reporters';

/** Starts each record's line. */
export const RECORD_SEPARATOR = '\u001e';

/** One finished test as it crosses from the test process to ours. */
export type TestRecord = {
  readonly file: string;
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly isSuite: boolean;
  /** True if only tests inside of it failed, which have records of their own. */
  readonly onlyInside: boolean;
  readonly durationMs: number;
  /** Empty unless failed. */
  readonly message: string;
};

/** The events and some of the logs of a cluster on which a story failed. */
const MESSAGE_CHARS_MAX = 12_000;
/**
 * Variable of the environment: how long after its last test a process with a failed test may stay alive, in ms. Without
 * it the process lives until its deadline, if a failed test left a socket or a timer behind.
 */
export const LEFT_BEHIND_MS = 'GROUNDPLANE_TEST_LEFT_BEHIND_MS';

/** Turns the runner's events into records; only ends of tests are kept. */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const leftBehindMs = Number(process.env[LEFT_BEHIND_MS] ?? Number.POSITIVE_INFINITY);
  let open = 0;
  let hasFailed = false;
  let ending: NodeJS.Timeout | undefined;
  for await (const event of events) {
    clearTimeout(ending);
    if (event.type === 'test:enqueue') open += 1;
    if (event.type === 'test:complete') open -= 1;
    if (event.type === 'test:fail') hasFailed = true;
    if (hasFailed && open === 0 && Number.isFinite(leftBehindMs))
      ending = setTimeout(() => process.exit(1), leftBehindMs).unref();
    if (event.type === 'test:pass' || event.type === 'test:fail') {
      yield `${RECORD_SEPARATOR}${JSON.stringify(recordOf(event))}\n`;
    }
  }
}

function recordOf(event: Extract<TestEvent, { type: 'test:pass' | 'test:fail' }>): TestRecord {
  const { data } = event;
  const failed = event.type === 'test:fail' && data.todo === undefined;
  const skipped = data.skip !== undefined || data.todo !== undefined;
  const error = event.type === 'test:fail' ? event.data.details.error : undefined;
  return {
    file: data.file ?? '',
    name: data.name,
    outcome: failed ? 'failed' : skipped ? 'skipped' : 'passed',
    isSuite: data.details.type === 'suite',
    onlyInside: error !== undefined && 'failureType' in error && error.failureType === 'subtestsFailed',
    durationMs: data.details.duration_ms,
    message: failed ? describe(error) : '',
  };
}

function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  const ownFrames = text.split('\n').filter((line) => !/\(?node:internal/.test(line));
  return ownFrames.join('\n').slice(0, MESSAGE_CHARS_MAX);
}
