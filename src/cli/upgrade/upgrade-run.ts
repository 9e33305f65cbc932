/**
 * Brings the machines of a cluster to another version, one after the other: a command that installs it, run where `gp`
 * runs, then a check that all roles of the machine are back. Guarantees: the upgrade ends at the first machine that
 * does not come back, and leaves the remaining machines as they were; it may be run again, and skips the machines that
 * are done.
 */
import { isIP } from 'node:net';
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { sleep } from '../../base/sleep.ts';
import type { ApiClient } from '../../client/client.ts';
import { tryRun } from '../../os/child-process.ts';
import { systemClock } from '../../os/clock.ts';
import type { Session } from '../session.ts';
import { demandAlive, type PlannedMachine, planUpgrade, type UpgradeFacts, type UpgradePlan } from './upgrade-plan.ts';

/** How a machine is upgraded. */
export interface UpgradeRun {
  readonly to: string;
  /** A command of the shell, with {host}, {address} and {package}. */
  readonly command: string;
  /** A file on each machine, or a package that its apt knows. */
  readonly package: string;
  /** How long the command may take, and how long the machine's roles may take to come back. */
  readonly deadlineMs: number;
}

const LOOK_MS = 1_000;
const TAIL_CHARS = 1_500;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** Reads what the plan is made of. */
export async function readFacts(client: ApiClient, signal: AbortSignal): Promise<UpgradeFacts> {
  const [cluster, hosts, storage, controls] = await Promise.all([
    client.call(client.http.GET('/v1/cluster')),
    client.list('/v1/hosts', { signal }),
    client.list('/v1/storage-nodes', { signal }),
    client.list('/v1/control-nodes', { signal }),
  ]);
  return { cluster, hosts, storage, controls };
}

/** Upgrades everything that is not done. The errors of `planUpgrade`, and CodedError 'failed' with the machine. */
export async function runUpgrade(session: Session, client: ApiClient, run: UpgradeRun): Promise<UpgradePlan> {
  const { signal } = session.io;
  for (;;) {
    // Anew before each machine: another control node may lead in the meantime.
    const plan = await planNow(client, run, signal);
    demandAlive(plan);
    const next = plan.machines.find(({ isDone }) => !isDone);
    if (next === undefined) return plan;
    signal.throwIfAborted();
    await install(session, next, run);
    await untilBack(session, client, { name: next.name, run });
  }
}

async function install(session: Session, { name, address }: PlannedMachine, run: UpgradeRun): Promise<void> {
  const command = commandFor({ name, address }, run);
  session.say(`${name}: ${command}`);
  const { io } = session;
  const options = { deadlineMs: run.deadlineMs, signal: io.killSignal, cwd: io.cwd, outputBytesMax: OUTPUT_BYTES_MAX };
  const ended = await tryRun(['/bin/sh', '-c', command], { ...options, env: { ...io.env, GP_HOST: name } });
  if (ended.exitCode === 0) return;
  const output = `${ended.stdout}${ended.stderr}`.trimEnd().slice(-TAIL_CHARS);
  throw new CodedError('failed', `${name}: exit status ${ended.exitCode}: ${output}`, {
    advice: 'No other machine is upgraded now. Mend it and run the same command: it goes on from there.',
  });
}

/**
 * The command for one machine. The shell reads it: an answer of the API must not bring anything else into it.
 * CodedError 'bad-input' for a machine whose name is not valid; 'conflict' if the command needs an address and the
 * machine has none.
 */
export function commandFor(
  { name, address }: Pick<PlannedMachine, 'name' | 'address'>,
  run: Pick<UpgradeRun, 'command' | 'package'>,
): string {
  const words = { host: parseHostName(name), address, package: run.package };
  return run.command.replaceAll(/\{(host|address|package)\}/g, (_, word: keyof typeof words) => {
    if (word !== 'address' || isIP(address) !== 0) return words[word];
    throw new CodedError('conflict', `${name} has no address that a command can be given: "${address}".`, {
      advice: 'Nothing was changed there. Use {host} in the command, or mend the record of the machine.',
    });
  });
}

/** Waits until every role of the machine answers with the version. Control nodes may not answer in the meantime. */
async function untilBack(
  session: Session,
  client: ApiClient,
  { name, run }: { readonly name: string; readonly run: UpgradeRun },
): Promise<void> {
  const { signal } = session.io;
  const endsAtMs = systemClock.monotonicMs() + run.deadlineMs;
  for (let seen = 'no control node answered'; ; ) {
    try {
      const machine = (await planNow(client, run, signal)).machines.find((each) => each.name === name);
      if (machine?.isDone !== false) {
        session.say(`${name}: runs ${run.to}.`);
        return;
      }
      seen = listed(
        machine.roles.map(
          ({ role, version, isAlive }) => `${role} ${isAlive ? 'answers' : 'silent'} (${version ?? 'unknown'})`,
        ),
      );
    } catch (error) {
      if (!(error instanceof CodedError) || (error.code !== 'unavailable' && error.code !== 'deadline')) throw error;
    }
    if (systemClock.monotonicMs() > endsAtMs)
      throw new CodedError('deadline', `${name} is not back: ${seen}.`, {
        advice: `No other machine is upgraded now. \`gp doctor\` there says what is wrong; the same command goes on.`,
      });
    await sleep(systemClock, LOOK_MS, { signal });
    signal.throwIfAborted();
  }
}

async function planNow(client: ApiClient, { to }: UpgradeRun, signal: AbortSignal): Promise<UpgradePlan> {
  return planUpgrade(await readFacts(client, signal), to);
}
