/**
 * The part of a roll that happens where `gp` runs: finds the work that hosts wait for, runs the commands, and reports
 * how they ended. The roll itself is in the cluster: this `gp` may end at any time, and another one may continue.
 * Guarantees: a command begins only after the cluster has recorded that this `gp` runs it; while no control node
 * answers, commands under way continue, and their results are reported once one answers again; after Ctrl-C no further
 * command begins and those under way are awaited; a second Ctrl-C ends them.
 */
import { hostname } from 'node:os';
import type { Roll } from '../../api/roll-views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { sleep } from '../../base/sleep.ts';
import type { ApiClient } from '../../client/client.ts';
import { systemClock } from '../../os/clock.ts';
import { randomHex } from '../../os/random.ts';
import { Interrupted } from '../exit-codes.ts';
import type { Session } from '../session.ts';
import { type CommandResult, type CommandRun, runCommand } from './roll-command.ts';

type Step = 'pre' | 'run' | 'verify';
type Report = { readonly host: string; readonly step: Step };
type Host = Roll['hosts'][number];

/**
 * How often the roll is read, and how often the cluster is told that work continues: a third of the time that the
 * cluster waits for that.
 */
const LOOK_MS = 2_000;
const RENEW_MS = 20_000;

/** Does the work of one step on one host. */
export type Perform = (asked: CommandRun) => Promise<CommandResult>;

/**
 * Takes part in a roll until it is over; returns it then. Interrupted at Ctrl-C: the roll goes on. `perform`: by default
 * runs the command.
 */
export async function runRoll(
  session: Session,
  client: ApiClient,
  roll: Roll,
  perform: Perform = runCommand,
): Promise<Roll> {
  return new RollRunner(session, client, { roll, perform }).run();
}

class RollRunner {
  readonly #session: Session;
  readonly #client: ApiClient;
  readonly #by = `${hostname()
    .replaceAll(/[^A-Za-z0-9.-]/g, '-')
    .slice(0, 60)}:${process.pid}:${randomHex(4)}`;
  readonly #busy = new Map<string, Promise<void>>();
  readonly #said = new Map<string, string>();
  readonly #perform: Perform;
  #roll: Roll;

  constructor(
    session: Session,
    client: ApiClient,
    { roll, perform }: { readonly roll: Roll; readonly perform: Perform },
  ) {
    this.#perform = perform;
    this.#session = session;
    this.#client = client;
    this.#roll = roll;
  }

  async run(): Promise<Roll> {
    const { signal } = this.#session.io;
    while (this.#roll.endedAt === null && !signal.aborted) {
      this.#tell();
      for (const host of this.#roll.hosts) this.#take(host);
      await sleep(systemClock, LOOK_MS, { signal });
      await this.#look();
    }
    await Promise.all(this.#busy.values());
    if (this.#roll.endedAt === null && signal.aborted)
      throw new Interrupted(
        `No longer taking part; ${this.#roll.id} stays as it is. ` +
          `Continue with: gp maintenance roll --resume ${this.#roll.id}`,
      );
    this.#tell();
    return this.#roll;
  }

  async #look(): Promise<void> {
    try {
      const params = { path: { roll: this.#roll.id } };
      this.#roll = await this.#client.call(this.#client.http.GET('/v1/rolls/{roll}', { params }));
      this.#once('cluster', 'The cluster answers.', { isQuiet: true });
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#once('cluster', `No control node answers; commands continue: ${messageOf(error)}`);
    }
  }

  /** Does the work that a host waits for, unless somebody does it. */
  #take({ host, state, work, done }: Host): void {
    if (state !== 'pre' && state !== 'run' && state !== 'verify') return;
    if (this.#busy.has(host)) return;
    if (work !== null && Date.parse(work.until) > Date.now()) return;
    const last = done.at(-1);
    if (state === 'verify' && last?.step === 'verify' && last.succeeded) return;
    this.#busy.set(
      host,
      this.#work({ host, step: state })
        .catch((error: unknown) => this.#once(`${host} failed`, `${host}: ${messageOf(error)}`))
        .finally(() => this.#busy.delete(host)),
    );
  }

  async #work({ host, step }: Report): Promise<void> {
    const { commands, id } = this.#roll;
    const command = commands[step];
    if (command === null) return;
    try {
      await this.#report({ host, step }, 'begun');
    } catch (error) {
      this.#once(`${host} refused`, `${host}: ${messageOf(error)}`);
      return;
    }
    this.#session.say(`${host}: ${step} begins: ${command.replaceAll('{host}', host)}`);
    const isOver = new AbortController();
    const renewing = this.#renew({ host, step }, isOver.signal);
    const { io } = this.#session;
    const deadlineMs = { pre: commands.preMs, run: commands.runMs, verify: commands.verifyMs }[step];
    const ended = await this.#perform({
      ...{
        command,
        host,
        address: await this.#addressOf(host),
        roll: id,
        deadlineMs,
        isRepeated: step === 'verify',
        signal: io.killSignal,
      },
      ...{ env: io.env, cwd: io.cwd },
    }).catch((error: unknown) => ({ succeeded: false, message: `Ended with gp: ${messageOf(error)}` }));
    isOver.abort();
    await renewing;
    this.#session.say(`${host}: ${step} ${ended.succeeded ? 'succeeded' : 'failed'}: ${ended.message}`);
    await this.#tellEnd({ host, step }, ended);
  }

  /** Returns the host's address on the control network; null if its record cannot be read now. */
  async #addressOf(host: string): Promise<string | null> {
    const params = { path: { host } };
    return this.#client.call(this.#client.http.GET('/v1/hosts/{host}', { params })).then(
      ({ addresses }) => addresses.control,
      () => null,
    );
  }

  /** Reports that the work continues, until it is over. */
  async #renew(report: Report, signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(systemClock, RENEW_MS, { signal });
      if (signal.aborted) return;
      await this.#report(report, 'begun').catch((error: unknown) =>
        this.#once(`${report.host} renew`, `${report.host}: ${messageOf(error)}`),
      );
    }
  }

  /** Reports how work ended, until a control node has recorded it, or answers that the work is another runner's. */
  async #tellEnd(report: Report, { succeeded, message }: { succeeded: boolean; message: string }): Promise<void> {
    const { killSignal } = this.#session.io;
    while (!killSignal.aborted) {
      try {
        await this.#report(report, succeeded ? 'succeeded' : 'failed', message);
        return;
      } catch (error) {
        if (!isPassing(error)) throw error;
        this.#once('cluster', `No control node answers; commands continue: ${messageOf(error)}`);
        await sleep(systemClock, LOOK_MS, { signal: killSignal });
      }
    }
  }

  async #report(report: Report, outcome: 'begun' | 'succeeded' | 'failed', message?: string): Promise<void> {
    const params = { path: { roll: this.#roll.id } };
    const body = { ...report, by: this.#by, outcome, ...(message === undefined ? {} : { message }) };
    this.#roll = await this.#client.call(this.#client.http.POST('/v1/rolls/{roll}/work', { params, body }));
  }

  /** Prints the changes since the last call. */
  #tell(): void {
    const { state, held, hosts, deviations } = this.#roll;
    this.#once('state', `${this.#roll.id}: ${state}`);
    this.#once('held', held === null ? 'Nothing holds it.' : `Held: ${held}`, { isQuiet: held === null });
    for (const { host, state: at, note } of hosts)
      this.#once(`host ${host}`, `${host}: ${at}${note === null ? '' : `: ${note}`}`, { isQuiet: at === 'waiting' });
    const told = this.#said.get('deviations') ?? '';
    for (const { at, what } of deviations) if (at > told) this.#session.say(`${at} ${what}`);
    this.#said.set('deviations', deviations.at(-1)?.at ?? told);
  }

  #once(key: string, text: string, { isQuiet = false }: { readonly isQuiet?: boolean } = {}): void {
    if (this.#said.get(key) === text) return;
    this.#said.set(key, text);
    if (!isQuiet) this.#session.say(text);
  }
}

/**
 * Whether the cluster may answer later: no control node was reached, none leads, or the answer did not come in time.
 */
function isPassing(error: unknown): boolean {
  return error instanceof CodedError && (error.code === 'unavailable' || error.code === 'deadline');
}
