/** The command's grammar: every noun and verb, their options and help. Loads nothing that talks to a cluster. */
import { Command, Option } from 'commander';
import { addAuditCommand } from './commands/audit.ts';
import { addClusterCommands } from './commands/cluster.ts';
import { addGuestClusterCommands } from './commands/guest-cluster.ts';
import { addImageCommands } from './commands/image.ts';
import { addInstallCommands } from './commands/install.ts';
import { addLabCommands, addUpCommands, type Faults } from './commands/lab.ts';
import { addTargetCommands } from './commands/target.ts';
import { addTieCommands } from './commands/ties.ts';
import { addVmCommands } from './commands/vm.ts';
import type { Io } from './io.ts';
import { OUTPUTS } from './session.ts';

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 bad input, 3 a program is missing, 4 not found, 5 conflict or stale revision,
6 unreachable, 7 timed out waiting (the operation goes on), 130 Ctrl-C.

The cluster is found by --dir, GP_DIR, the context file (gp context use DIR), or the nearest .groundplane directory.`;

const SHELLS = ['bash', 'zsh', 'fish'] as const;

export interface Grammar {
  readonly io: Io;
  readonly version: string;
  /** Null: `gp lab` has no verbs. */
  readonly faults: Faults | null;
  /** False where a completion library brings its own `completion`. */
  readonly withCompletion: boolean;
}

/** Builds the program; it throws CommanderError instead of exiting. */
export function buildProgram({ io, version, faults, withCompletion }: Grammar): Command {
  const program = new Command('gp')
    .description('Groundplane: a cluster manager for virtual machines whose hosts keep no state')
    .option('--dir <dir>', 'directory of the cluster')
    .addOption(new Option('-o, --output <format>', 'form of the output').choices(OUTPUTS).default('table'))
    .version(version, '-V, --version', 'print the version')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true, helpWidth: 110 })
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
    .addHelpText('after', EXIT_CODES);
  addUpCommands(program, io);
  addInstallCommands(program, io);
  addVmCommands(program, io);
  addImageCommands(program, io);
  addGuestClusterCommands(program, io);
  addTieCommands(program, io);
  addClusterCommands(program, io);
  addLabCommands(program, io, faults);
  addTargetCommands(program, io);
  addAuditCommand(program, io);
  program
    .command('version')
    .description('print the version')
    .action(() => io.out(`${version}\n`));
  if (withCompletion) {
    program.command('completion').description('print a completion script').argument('<shell>', SHELLS.join(', '));
  }
  return program;
}
