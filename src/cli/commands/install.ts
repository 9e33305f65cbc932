/** `gp init`, `gp join`, `gp leave`, `gp doctor`: this machine and its cluster. They ask no questions. */
import { connect } from 'node:net';
import { hostname } from 'node:os';
import type { Command } from 'commander';
import { CodedError } from '../../base/errors.ts';
import type { Finding } from '../../install/checks.ts';
import type { MachineConfig } from '../../install/machine-config.ts';
import type { Io } from '../io.ts';
import type { Session } from '../session.ts';
import { present } from '../session.ts';
import { formatTable } from '../table.ts';
import { action, nameArgument } from './common.ts';

const API_PORT = 7440;
const CONNECT_MS = 5_000;

interface RoleFlags {
  readonly name?: string;
  readonly address?: string;
  readonly storageNetwork?: string;
  readonly overlayNetwork?: string;
  readonly control?: boolean;
  readonly storage?: boolean;
  readonly host?: boolean;
  readonly pool?: string;
  readonly memory?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** Adds the commands named in the module's comment. */
export function addInstallCommands(program: Command, io: Io): void {
  withMachine(
    program
      .command('init')
      .description('begin a cluster: this machine is its first control node, and a storage node or host where asked')
      .requiredOption('--name <name>', 'name of this machine', nameArgument)
      .requiredOption('--address <address>', 'its address, or its interface, on the control network'),
  ).action(
    action(io, async (session, flags: RoleFlags) => {
      const { initSteps } = await import('../../install/setup.ts');
      const machine = machineOf({ ...flags, control: true });
      await checkFirst(session, machine, [], flags);
      await take(session, initSteps(machine), flags);
    }),
  );
  withMachine(
    program
      .command('join')
      .description('make this machine a member of a cluster: a host, or the given role')
      .argument(
        '<token@addresses>',
        'a token of `gp join-token create`, and control nodes: TOKEN@10.0.0.11[,10.0.0.12]',
      )
      .option('--name <name>', 'name that the token is for (default: the host name)', nameArgument)
      .option(
        '--address <address>',
        'own address, or interface, on the control network (default: the one that leads there)',
      )
      .option('--control', 'a control node'),
  ).action(
    action(io, async (session, where: string, flags: RoleFlags) => {
      const { joinSteps } = await import('../../install/setup.ts');
      const place = placeOf(where);
      const name = flags.name ?? hostname().split('.')[0];
      const address = flags.address ?? (await ownAddressTo(place.addresses));
      const isAny = flags.control === true || flags.storage === true || flags.host === true;
      const machine = machineOf({ ...flags, name: nameArgument(name ?? ''), address, host: flags.host ?? !isAny });
      await checkFirst(session, machine, place.addresses, flags);
      await take(session, joinSteps(machine, place), flags);
    }),
  );
  addLeave(program, io);
  addDoctor(program, io);
}

function withMachine(command: Command): Command {
  return command
    .option('--storage', 'a storage node')
    .option('--host', 'a host: VMs run on it')
    .option('--storage-network <address>', 'own address, or interface, on the storage network (default: as control)')
    .option('--overlay-network <address>', 'own address, or interface, on the overlay network (default: as storage)')
    .option('--pool <directory>', 'where a storage node keeps its disks')
    .option('--memory <size>', 'memory that all VMs on a host may have together, such as 60GiB')
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--force', 'continue although a check found a problem');
}

interface LeaveFlags {
  readonly local?: boolean;
  readonly control?: boolean;
  readonly endCluster?: boolean;
  readonly dryRun?: boolean;
}

function addLeave(program: Command, io: Io): void {
  program
    .command('leave')
    .description('take this machine out of its cluster, and undo gp init and gp join')
    .option('--local', 'undo it on this machine without asking the cluster')
    .option('--control', 'only as a control node: it stays a host or storage node, with all that it runs')
    .option('--end-cluster', 'end the cluster with its last machine, which has no VM')
    .option('--dry-run', 'say what would be done, and change nothing')
    .action(
      action(io, async (session, flags: LeaveFlags) => {
        const [{ leaveSteps }, { createClient }] = await Promise.all([
          import('../../install/leave.ts'),
          import('../../client/client.ts'),
        ]);
        const machine = await demandMachine();
        const endsCluster = flags.endCluster === true;
        const target = flags.local === true ? null : await elsewhere(session, machine.name);
        const client = target === null ? null : createClient(target);
        try {
          await take(session, leaveSteps(machine, { client, endsCluster, onlyControl: flags.control }), flags);
        } finally {
          await client?.close();
        }
      }),
    );
}

function addDoctor(program: Command, io: Io): void {
  program
    .command('doctor')
    .description('check this machine: networks, ports, clock, certificates, space, services')
    .action(
      action(io, async (session) => {
        const { diagnose } = await import('../../install/checks.ts');
        const findings = await diagnose(await demandMachine());
        if (!(await session.printedAsData(findings))) session.io.out(textOf(findings));
        if (findings.some(({ level }) => level === 'bad')) session.io.setExitCode(1);
      }),
    );
}

async function demandMachine(): Promise<MachineConfig> {
  const { readMachineConfig } = await import('../../install/setup.ts');
  const machine = await readMachineConfig();
  if (machine !== undefined) return machine;
  throw new CodedError('not-found', 'This machine is in no cluster.', {
    advice: 'Begin one with `gp init`, or join one with `gp join`.',
  });
}

/** The cluster as another control node shows it: this machine's own server is about to end. */
async function elsewhere(session: Session, name: string) {
  const [client, target] = [await session.client(), await session.target()];
  const nodes = await client.list('/v1/control-nodes', { signal: session.io.signal });
  const other = nodes.find((node) => node.name !== name && node.state === 'alive');
  return other === undefined ? target : { ...target, apiUrl: `https://${other.address}:${API_PORT}` };
}

async function checkFirst(
  session: Session,
  machine: MachineConfig,
  controls: readonly string[],
  { force }: RoleFlags,
): Promise<void> {
  const [{ preflight }, { demandSystemd }] = await Promise.all([
    import('../../install/checks.ts'),
    import('../../install/services.ts'),
  ]);
  if (process.geteuid?.() !== 0)
    throw new CodedError('bad-input', 'This needs root.', { advice: 'Nothing was changed.' });
  demandSystemd();
  const findings = await preflight(machine, controls);
  const wrong = findings.filter(({ level }) => level !== 'ok');
  if (wrong.length > 0) session.io.err(textOf(wrong));
  if (force === true || !wrong.some(({ level }) => level === 'bad')) return;
  throw new CodedError('conflict', 'This machine is not ready.', {
    advice: 'Nothing was changed. Mend the problems above, or pass --force.',
  });
}

async function take(
  session: Session,
  steps: readonly import('../../install/step.ts').Step[],
  { dryRun = false }: { readonly dryRun?: boolean },
): Promise<void> {
  const { takeSteps } = await import('../../install/step.ts');
  const { signal } = session.io;
  await takeSteps(steps, { dryRun, signal, say: (line) => session.io.out(`${line}\n`) });
}

function machineOf(flags: RoleFlags): MachineConfig {
  const { name = '', address = '', storageNetwork, overlayNetwork, pool, memory } = flags;
  return {
    name,
    networks: { control: address, ...present({ storage: storageNetwork, overlay: overlayNetwork }) },
    ...(flags.control === true ? { control: {} } : {}),
    ...(flags.storage === true ? { storage: present({ pool }) } : {}),
    ...(flags.host === true ? { host: present({ memory }) } : {}),
  };
}

function placeOf(text: string): { readonly token: string; readonly addresses: readonly string[] } {
  const [, token, list] = /^(\S+)@([0-9.,]+)$/.exec(text) ?? [];
  const addresses = list?.split(',').filter((address) => address !== '') ?? [];
  if (token !== undefined && addresses.length > 0) return { token, addresses };
  throw new CodedError('bad-input', 'The cluster is named as TOKEN@ADDRESS[,ADDRESS…].', {
    advice: 'Nothing was changed. A token is made at a control node: `gp join-token create host NAME`.',
  });
}

/** The address from which this machine reaches a control node. */
async function ownAddressTo(addresses: readonly string[]): Promise<string> {
  for (const host of addresses) {
    const own = await new Promise<string | undefined>((resolve) => {
      const socket = connect({ host, port: API_PORT, timeout: CONNECT_MS });
      const end = (address: string | undefined): void => {
        socket.destroy();
        resolve(address);
      };
      socket.once('connect', () => end(socket.localAddress));
      socket.once('error', () => end(undefined)).once('timeout', () => end(undefined));
    });
    if (own !== undefined) return own;
  }
  throw new CodedError('unavailable', `No control node answers at ${addresses.join(', ')}.`, {
    advice: 'Nothing was changed; the token is still good. Check the addresses and the network.',
  });
}

function textOf(findings: readonly Finding[]): string {
  const rows = findings.map(({ check, level, found, advice = '' }) => [level, check, `${found} ${advice}`.trim()]);
  return formatTable(['LEVEL', 'CHECK', 'FOUND'], rows);
}
