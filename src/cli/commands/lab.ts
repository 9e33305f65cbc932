/** `gp up`, `gp down` and `gp lab`: a one-machine cluster and the faults one can inject into it. */
import type { Command } from 'commander';
import { CodedError } from '../../base/errors.ts';
import type { FaultArguments, FaultVerb, MachineStatus } from '../../lab/faults.ts';
import { isPackaged } from '../../os/program-file.ts';
import { locate } from '../cluster-location.ts';
import type { Io } from '../io.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';
import { parseCount, parseDuration, parseSize } from '../units.ts';
import { action } from './common.ts';

/** The table of faults; loaded only for `gp lab`, so that the other commands stay quick. */
export type Faults = Readonly<Record<string, FaultVerb>>;

/** Adds `gp up` and `gp down`. */
export function addUpCommands(program: Command, io: Io): void {
  program
    .command('up')
    .description('start a cluster on this machine: hosts as network namespaces, real VMs')
    .option('--hosts <n>', 'number of hosts (default: 3, or as before)', (text: string) => parseCount(text))
    .option('--control-nodes <n>', 'number of control nodes: 1 or 3', (text: string) => parseCount(text))
    .option('--storage-nodes <n>', 'number of storage nodes', (text: string) => parseCount(text))
    .option('--host-memory <size>', 'memory each host gives to VMs', parseSize)
    .option('--api-port <port>', 'port of the API on 127.0.0.1', (text: string) => parseCount(text))
    .option('--outside', 'let networks with NAT reach the real outside')
    .option('--detach', 'return when it is ready; `gp down` ends it')
    .action(
      action(io, async (session, flags: import('../up.ts').UpFlags) => {
        demandClone();
        const { runUp } = await import('../up.ts');
        await runUp(session, flags);
      }),
    );
  program
    .command('down')
    .description('end the cluster on this machine; its state is kept')
    .action(
      action(io, async (session) => {
        const { runDown } = await import('../up.ts');
        await runDown(session);
      }),
    );
}

/** CodedError 'bad-input' in an installed package, which has no cluster on one machine. */
function demandClone(): void {
  if (!isPackaged(import.meta.url)) return;
  throw new CodedError('bad-input', 'A cluster of namespaces on one machine is started from a clone of the project.', {
    advice: 'Nothing was started. A cluster of this machine and others begins with `gp init`.',
  });
}

/** Adds `gp lab` with a verb for each fault, or without verbs where the table was not loaded. */
export function addLabCommands(program: Command, io: Io, faults: Faults | null): void {
  const lab = program.command('lab').description('inject faults into a one-machine cluster');
  for (const [verb, fault] of Object.entries(faults ?? {})) {
    if (verb === 'exec') addExec(lab, io, fault);
    else addFault(lab, io, verb, fault);
  }
}

interface FaultFlags {
  readonly once?: true;
  readonly for?: number;
  readonly serviceOnly?: true;
}

function addFault(lab: Command, io: Io, verb: string, fault: FaultVerb): void {
  const command = lab.command(verb).description(fault.summary);
  if (fault.on !== 'none') {
    const kinds = fault.on.join(', ');
    command.argument(
      fault.targetOptional === true ? '[machine]' : '<machine>',
      `${kinds} machine, such as h1, c1 or s1`,
    );
  }
  const takes = fault.takes ?? [];
  if (takes.includes('once')) command.option('--once', 'it is started again at once');
  if (takes.includes('forSeconds')) command.option('--for <duration>', 'undone after this long', parseDuration);
  if (takes.includes('serviceOnly')) command.option('--service-only', 'the service, not the disk servers it started');
  command.action(
    action(io, async (session, ...given: unknown[]) => {
      const flags = given.pop() as FaultFlags;
      const [target] = given as (string | undefined)[];
      await call(session, verb, {
        target,
        once: flags.once,
        serviceOnly: flags.serviceOnly,
        forSeconds: flags.for === undefined ? undefined : flags.for / 1_000,
      });
    }),
  );
}

function addExec(lab: Command, io: Io, fault: FaultVerb): void {
  lab
    .command('exec')
    .description(`${fault.summary}: gp lab exec h1 -- ip addr`)
    .argument('<machine>', 'machine')
    .argument('<program...>', 'program and its arguments')
    .option('--timeout <duration>', 'ends the program after this long', parseDuration)
    .action(
      action(io, async (session, target: string, argv: string[], { timeout }: { readonly timeout?: number }) => {
        await call(session, 'exec', { target, argv, deadlineMs: timeout });
      }),
    );
}

interface FaultRow {
  readonly verb: string;
  readonly summary: string;
  readonly on: readonly string[];
}

function faultTable(faults: readonly FaultRow[]): string {
  const rows = faults.map(({ verb, summary, on }) => [verb, on.join(', ') || '-', summary]);
  return formatTable(['FAULT', 'MACHINES', 'DOES'], rows);
}

async function call(session: Session, verb: string, args: FaultArguments): Promise<void> {
  const { io } = session;
  const { labCall } = await import('../../lab/client.ts');
  const { dir } = await locate(io, session.options.dir);
  const result = await labCall(dir, { verb, ...args }, io.signal);
  if (await session.printedAsData(result)) return;
  if (verb === 'status') io.out(statusTable(result as readonly MachineStatus[]));
  else if (verb === 'faults') io.out(faultTable(result as readonly FaultRow[]));
  else if (verb === 'exec') printRun(session, result as Ran);
  else session.say(`${verb}${args.target === undefined ? '' : ` ${args.target}`}: done`);
}

interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

function printRun({ io }: Session, { stdout, stderr, exitCode }: Ran): void {
  io.out(stdout);
  io.err(stderr);
  io.setExitCode(exitCode);
}

function statusTable(machines: readonly MachineStatus[]): string {
  return formatTable(
    ['MACHINE', 'KIND', 'POWER', 'CUT FROM', 'PROCESSES'],
    machines.map(({ name, kind, power, cutFrom, processes }) => [
      name,
      kind,
      power,
      cutFrom.join(', ') || '-',
      Object.entries(processes)
        .map(([role, { state }]) => `${role} ${state}`)
        .join(', ') || '-',
    ]),
  );
}
