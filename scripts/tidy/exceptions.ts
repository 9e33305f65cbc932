/** Exceptions from the tidy rules, one by one. One that is not needed any more is a violation itself. */

/** `name`: the function, identifier or word; without it the rule is off for the whole file. */
export type Exception = {
  readonly rule: string;
  readonly file: string;
  readonly name?: string;
  readonly reason: string;
};

/** All exceptions there are. */
export const EXCEPTIONS: readonly Exception[] = [
  {
    rule: 'default-export',
    file: 'scripts/lib/test-reporter.ts',
    reason: "node:test takes a reporter from its module's default export",
  },
];
