/**
 * Work on a machine as a list of steps. Guarantees: a step that is done is not repeated, so that a list that failed in
 * the middle can be run again as a whole; each step is announced before it begins; a dry run looks and changes nothing.
 */
import { CodedError } from '../base/errors.ts';

/** One step. */
export interface Step {
  /** The action, as a sentence without its end: "write /etc/…". */
  readonly does: string;
  /** Whether its result exists already. CodedError for a result that differs from the requested one. */
  isDone(): Promise<boolean>;
  do(): Promise<void>;
}

/** How steps are taken. */
export interface StepOptions {
  readonly dryRun: boolean;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Takes the steps in order; the first failure ends the list, and its error says that the list may be run again. */
export async function takeSteps(steps: readonly Step[], { dryRun, say, signal }: StepOptions): Promise<void> {
  for (const step of steps) {
    signal.throwIfAborted();
    if (await step.isDone()) {
      say(`done before: ${step.does}`);
      continue;
    }
    if (dryRun) {
      say(`to do: ${step.does}`);
      continue;
    }
    say(step.does);
    try {
      await step.do();
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      throw new CodedError(error.code, `Could not ${step.does}: ${error.message}`, {
        cause: error,
        advice: `${error.advice ?? ''} Completed steps are kept; the same command continues from there.`.trim(),
      });
    }
  }
}
