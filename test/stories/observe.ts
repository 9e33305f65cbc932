/**
 * The questions of a story about a cluster: `let` facts and `expect` conditions. Every question looks at one instant;
 * the caller waits. An answer describes the observation, so that a story that waits in vain can report the last one.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { ApiClient } from '../../src/client/client.ts';
import { openConsole } from '../../src/client/console.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { isRunning } from '../../src/os/process-table.ts';
import { meets } from '../../src/stories/story-language.ts';
import type { Seen, Waiting } from '../../src/stories/story-teller.ts';
import { runningQemus, type SeenQemu } from './guests.ts';
import type { StatusQuestion } from './qemu-status.ts';
import type { StoryCluster } from './story-cluster.ts';

/** Lines that a sequence must have grown by before it `continues`. */
const CONTINUES_LINES = 5;
/** A sequence without output for this long `stalls`: at 10 lines a second some 15 lines are missing. */
const STALLED_MS = 1_500;
const CONSOLE_DEADLINE_MS = 5_000;
const EXEC_DEADLINE_MS = 10_000;

/** Reports one cluster's present state to a story. */
export class Observer {
  readonly #cluster: StoryCluster;
  /** Processes that the story named. */
  readonly #processes = new Map<string, SeenQemu>();

  constructor(cluster: StoryCluster) {
    this.#cluster = cluster;
  }

  /** The value of a fact. Throws an Error when there is none. */
  async fact(words: readonly string[]): Promise<string> {
    const [what, of, subject = ''] = words;
    if (what === 'leader') return (await this.#leader()) ?? fail('Nobody leads.');
    if (what === 'other' && of === 'host') return this.#otherHost(words.slice(3));
    if (of !== 'of') throw new Error(`There is no fact ${words.join(' ')}.`);
    if (what === 'process') return this.#nameProcess(subject);
    if (what === 'address') return (await this.#vm(subject)).nics[0]?.address ?? fail(`${subject} has no address.`);
    const vm: Readonly<Record<string, unknown>> = { ...(await this.#vm(subject)) };
    const value = vm[what ?? ''];
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    throw new Error(`${subject} has no ${what}.`);
  }

  /** Whether the condition in `words` holds at this instant. Throws an Error for words that are no condition. */
  look(words: readonly string[], waiting: Waiting): Promise<Seen> {
    const [what = '', subject = '', ...conditions] = words;
    const { http } = this.#cluster.client;
    const ask = (call: (client: ApiClient) => Promise<unknown>): Promise<Seen> => this.#resource(call, conditions);
    switch (what) {
      case 'vm':
        return ask((client) => client.call(http.GET('/v1/vms/{vm}', { params: { path: { vm: subject } } })));
      case 'host':
        return ask((client) => client.call(http.GET('/v1/hosts/{host}', { params: { path: { host: subject } } })));
      case 'cluster':
        return this.#resource((client) => client.call(http.GET('/v1/cluster')), words.slice(1));
      case 'control-node':
        return ask(async (client) => named(await client.list('/v1/control-nodes'), subject));
      case 'storage-node':
        return ask(async (client) => named(await client.list('/v1/storage-nodes'), subject));
      case 'machine':
        return ask(async () => named((await this.#cluster.lab('status', { target: subject })) as Named[], subject));
      case 'no':
        return this.#absent(subject, conditions[0] ?? '');
      case 'sequence':
        return this.#sequence(subject, conditions, waiting);
      case 'process':
        return Promise.resolve(this.#process(subject, conditions[0] ?? ''));
      case 'qemu':
        return this.#qemu(subject, conditions);
      case 'console':
        return this.#console(subject, conditions[0] ?? '');
      case 'guest':
        return this.#guest(subject, conditions);
      case 'log':
        return this.#log(subject, conditions);
      case 'crash':
        return this.#crashed();
      default:
        throw new Error(`Nothing is known about ${JSON.stringify(what)}.`);
    }
  }

  async #resource(call: (client: ApiClient) => Promise<unknown>, conditions: readonly string[]): Promise<Seen> {
    const seen = await this.#cluster.observe(call);
    if (seen === undefined) return { met: false, what: 'no answer' };
    return { met: conditions.every((condition) => meets(seen, condition)), what: JSON.stringify(seen) };
  }

  /** `expect no task web1`: no requested action on the VM is still under way. */
  async #absent(what: string, vm: string): Promise<Seen> {
    if (what !== 'task') throw new Error('expect no task VM');
    const params = { query: { state: 'running' as const, vm } };
    const tasks = await this.#cluster.observe((client) => client.list('/v1/tasks', { params }));
    return { met: tasks?.length === 0, what: JSON.stringify(tasks) };
  }

  async #sequence(name: string, [how = '', , by]: readonly string[], { since }: Waiting): Promise<Seen> {
    const { serial } = this.#cluster;
    const id = await this.#id(name);
    if (id === undefined) return { met: false, what: 'the VM was not seen yet' };
    const at = serial.acknowledged(id);
    if (how === 'stalls') return { met: serial.silentMs(id) >= STALLED_MS, what: `at ${at}` };
    if (how === 'undisturbed') {
      const errors = serial.of(id).flatMap(({ text }) => text.match(/seq-(error|full|refused)[^\n]*/g) ?? []);
      return { met: errors.length === 0 && at > 0, what: `at ${at}, errors: ${errors.slice(0, 5).join('; ')}` };
    }
    if (how !== 'continues') throw new Error(`A sequence continues, stalls, or is undisturbed; not ${how}.`);
    const from = since.get(id) ?? at;
    since.set(id, from);
    return { met: at >= from + Number(by ?? CONTINUES_LINES), what: `at ${at}, was at ${from}` };
  }

  #process(name: string, state: string): Seen {
    const qemu = this.#processes.get(name) ?? fail(`${name} names no process.`);
    const alive = isRunning(qemu.process);
    if (state !== 'alive' && state !== 'gone') throw new Error(`A process is alive or gone, not ${state}.`);
    return { met: alive === (state === 'alive'), what: `${name} is ${alive ? 'alive' : 'gone'}` };
  }

  /** `expect qemu $P on $H status=paused`: its own word, asked on its host, where no cut link can come between. */
  async #qemu(name: string, [on, host = '', ...conditions]: readonly string[]): Promise<Seen> {
    const { vm, generation, slot } = this.#processes.get(name) ?? fail(`${name} names no process.`);
    if (on !== 'on') throw new Error('expect qemu PROCESS on HOST status=…');
    const question: StatusQuestion = { vm, generation, slot, credentials: await this.#controlCredentials() };
    const script = join(import.meta.dirname, 'qemu-status.ts');
    const ran = (await this.#cluster.lab('exec', {
      target: host,
      argv: [process.execPath, '--disable-warning=ExperimentalWarning', script],
      input: JSON.stringify(question),
      deadlineMs: EXEC_DEADLINE_MS,
    })) as { readonly stdout: string; readonly stderr: string };
    const seen = { status: ran.stdout };
    return {
      met: conditions.every((condition) => meets(seen, condition)),
      what: `${ran.stdout} ${ran.stderr}`,
    };
  }

  async #console(name: string, how: string): Promise<Seen> {
    if (how !== 'answers') throw new Error(`A console answers, it does not ${how}.`);
    const { answer, said } = await this.#type(name, 'echo con$((40+2))sole', /con42sole/);
    return { met: answer !== null, what: said };
  }

  /** `expect guest web1 from watcher generation=2`: who answers at the guest's address when another guest asks. */
  async #guest(name: string, [from, asker = '', ...conditions]: readonly string[]): Promise<Seen> {
    if (from !== 'from') throw new Error('expect guest VM from VM generation=…');
    const address = (await this.#vm(name)).nics[0]?.address ?? fail(`${name} has no address.`);
    // Not wget: the guest's busybox is linked statically, and its resolver crashes.
    const request = "printf 'GET /cgi-bin/generation HTTP/1.0\\r\\n\\r\\n'";
    const ask = `echo "said <$(${request} | busybox nc -w 2 ${address} 80 | busybox tail -n 1)>"`;
    const { answer, said } = await this.#type(asker, ask, /said <\S+ ([0-9]+)>/);
    const seen = { generation: answer === null ? 'none' : String(Number(answer[1])) };
    return { met: conditions.every((condition) => meets(seen, condition)), what: said };
  }

  /**
   * Types a command on the shell of a tiny guest's serial line, and waits for what only its output matches, not its
   * echo.
   */
  async #type(
    name: string,
    line: string,
    wanted: RegExp,
  ): Promise<{ readonly answer: RegExpExecArray | null; readonly said: string }> {
    let stream: Duplex | undefined;
    let said = '';
    try {
      const opened = await openConsole(this.#cluster.target, name);
      stream = opened;
      const answered = (): Promise<RegExpExecArray> =>
        new Promise((resolve, reject) => {
          opened.on('data', (chunk: Buffer) => {
            said += chunk.toString('latin1');
            const answer = wanted.exec(said);
            if (answer !== null) resolve(answer);
          });
          opened.once('error', reject);
          opened.once('close', () => reject(new Error('it was closed')));
          opened.write(`\n${line}\n`);
        });
      const what = `the console of ${name}`;
      return { answer: await withDeadline(answered, { deadlineMs: CONSOLE_DEADLINE_MS, what }), said };
    } catch (error) {
      return { answer: null, said: `${error instanceof Error ? error.message : ''} ${said.slice(-400)}` };
    } finally {
      stream?.destroy();
    }
  }

  /** `expect log control of c1 "no longer leading"`. */
  async #log(role: string, [of, machine = '', text = '']: readonly string[]): Promise<Seen> {
    if (of !== 'of' || text === '') throw new Error('expect log ROLE of MACHINE TEXT');
    const log = await readFile(join(labLayout(this.#cluster.dir).machine(machine).logDir, `${role}.log`), 'utf8');
    return { met: log.includes(text), what: log.slice(-500) };
  }

  /** A crash point was met: its file is gone. */
  async #crashed(): Promise<Seen> {
    const layout = labLayout(this.#cluster.dir);
    for (let node = 1; node <= this.#cluster.shape.controlNodes; node++) {
      const wanted = await readFile(layout.machine(`c${node}`).failpointFile, 'utf8').catch(() => null);
      if (wanted !== null) return { met: false, what: `still to come: ${wanted}` };
    }
    return { met: true, what: 'crashed' };
  }

  async #controlCredentials(): Promise<StatusQuestion['credentials']> {
    const { dir } = labLayout(this.#cluster.dir).machine('c1');
    const read = (name: string): Promise<string> => readFile(join(dir, 'credentials', name), 'utf8');
    const [caPem, certPem, keyPem] = await Promise.all([
      read('ca-cert.pem'),
      read('client-cert.pem'),
      read('client-key.pem'),
    ]);
    return { caPem, certPem, keyPem };
  }

  async #vm(name: string) {
    const { client } = this.#cluster;
    return client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } } }));
  }

  readonly #ids = new Map<string, string>();

  /** Remembered: a sequence is also looked at while no server answers. */
  async #id(name: string): Promise<string | undefined> {
    const id = await this.#cluster.observe(async () => (await this.#vm(name)).id);
    if (id !== undefined) this.#ids.set(name, id);
    return this.#ids.get(name);
  }

  async #nameProcess(name: string): Promise<string> {
    const { id, generation } = await this.#vm(name);
    const qemu = runningQemus().find((seen) => seen.vm === id && seen.generation === generation);
    if (qemu === undefined) throw new Error(`No QEMU of ${name}, generation ${generation}, runs.`);
    const called = `${name}/g${generation}/pid${qemu.process.pid}`;
    this.#processes.set(called, qemu);
    return called;
  }

  async #leader(): Promise<string | null | undefined> {
    const { http } = this.#cluster.client;
    return (await this.#cluster.observe((client) => client.call(http.GET('/v1/cluster'))))?.leader;
  }

  async #otherHost(not: readonly string[]): Promise<string> {
    const { client } = this.#cluster;
    const hosts = await client.list('/v1/hosts');
    return hosts.find(({ name }) => !not.includes(name))?.name ?? fail(`There is no host but ${not.join(', ')}.`);
  }
}

interface Named {
  readonly name: string;
}

function named(list: readonly Named[], name: string): Named {
  return list.find((item) => item.name === name) ?? fail(`There is no ${name}.`);
}

function fail(why: string): never {
  throw new Error(why);
}
