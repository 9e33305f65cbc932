/** Exceptions from the tidy rules, one by one. An exception that is not needed any more is a violation itself. */

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
    file: 'web/src/consoles/novnc.d.ts',
    reason: 'noVNC has a default export, and no types of its own',
  },
  {
    rule: 'default-export',
    file: 'web/vite.config.ts',
    reason: "Vite takes its configuration from the module's default export",
  },
  {
    rule: 'default-export',
    file: 'scripts/lib/test-reporter.ts',
    reason: "node:test takes a reporter from its module's default export",
  },
  {
    rule: 'child-process',
    file: 'src/lab/machine.ts',
    reason:
      'owns the init of a machine and reads from its output when it has booted; ended by killMachine and with its parent',
  },
  {
    rule: 'child-process',
    file: 'src/lab/outer.ts',
    reason: 'owns the room and talks to it over its standard streams; both it and slirp4netns die with this process',
  },
  {
    rule: 'child-process',
    file: 'src/lab/supervisor.ts',
    reason: "is an init system: starts, signals and restarts the roles' processes, which die with their machine",
  },
  {
    rule: 'child-process',
    file: 'src/lab/up.ts',
    reason: "forks the cluster's own process, which outlives the command, and hears of its start over Node's channel",
  },
];
