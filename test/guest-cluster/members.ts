/**
 * The members of a guest cluster as an outside observer sees them: the output on their serial consoles
 * (guest/cluster/README.md), whichever process they run in. Guarantees: every wait has a deadline and reports the
 * members' last output.
 */
import { present } from '../../src/base/assert.ts';
import { messageOf } from '../../src/base/errors.ts';
import { openConsole } from '../../src/client/console.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { until, vmOf } from '../acceptance/case.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';

/** The end of each incarnation's console at one time, by VM's name and generation. */
export type Mark = ReadonlyMap<string, ReadonlyMap<number, number>>;

/** One match, and the member that printed it. */
export interface Said {
  readonly name: string;
  readonly generation: number;
  readonly match: RegExpExecArray;
}

export interface HearOptions {
  readonly deadlineMs: number;
  readonly since?: Mark;
}

const LINES_SHOWN = 25;
const ANSWER_DEADLINE_MS = 60_000;

export class Members {
  readonly names: readonly string[];
  readonly #cluster: StoryCluster;
  readonly #ids = new Map<string, string>();

  constructor(cluster: StoryCluster, names: readonly string[]) {
    this.#cluster = cluster;
    this.names = names;
  }

  /** Call this once the VMs exist. */
  async follow(): Promise<void> {
    for (const name of this.names) this.#ids.set(name, (await vmOf(this.#cluster, name)).id);
  }

  /** The present ends of all consoles. */
  mark(): Mark {
    this.#cluster.serial.look();
    const lengths = (name: string): Map<number, number> =>
      new Map(this.#logs(name).map(({ generation, text }) => [generation, text.length]));
    return new Map(this.names.map((name) => [name, lengths(name)]));
  }

  /** Every match in the output of these members since the mark, by member and generation. */
  heard(names: readonly string[], pattern: RegExp, since: Mark = new Map()): Said[] {
    this.#cluster.serial.look();
    return names.flatMap((name) =>
      this.#logs(name).flatMap(({ generation, text }) =>
        [...text.slice(since.get(name)?.get(generation) ?? 0).matchAll(new RegExp(pattern, 'g'))].map((match) => ({
          name,
          generation,
          match,
        })),
      ),
    );
  }

  /** The first match in the output of one of these members since the mark. */
  first(names: readonly string[], pattern: RegExp, { deadlineMs, since }: HearOptions): Promise<Said> {
    return until(`${names.join(' or ')} says ${pattern}`, () => this.heard(names, pattern, since)[0], {
      deadlineMs,
      seen: () => names.map((name) => this.lastLines(name)),
    });
  }

  /** The highest number that PostgreSQL acknowledged to this member's load; 0 for none. */
  lastWritten(name: string): number {
    return Math.max(0, ...this.heard([name], /seq ([0-9]+) [0-9]+\r/).map(({ match }) => Number(match[1])));
  }

  /**
   * Events that no migration may cause: changes of membership, fencings, services that stop or start, failed writes,
   * errors of the kernel. A ring that was formed anew of the same members does not count, see `reformed`.
   */
  disturbances(since: Mark): string[] {
    const whole = new RegExp(`^membership ring=\\S+ quorate=Yes members=${this.names.join()}$`);
    const pattern = /groundplane-cluster ((?:membership|fencing|node|resource|writer|write-failed|kernel) [^\r]*)\r/;
    return this.heard(this.names, pattern, since)
      .filter(({ match }) => !whole.test(match[1] ?? ''))
      .map(({ name, match }) => `${name}: ${match[1]}`);
  }

  /**
   * How often corosync has formed its ring anew of the same members. Three guests under software emulation on two busy
   * processors lose a token now and then without any move (corosync.log: links down, tokens not received), so the
   * number is reported and not asserted.
   */
  reformed(since: Mark): number {
    const rings = this.heard(this.names, /membership ring=(\S+) quorate=Yes/, since).map(({ match }) => match[1]);
    return new Set(rings).size;
  }

  /** Types a line into the shell on the member's console and answers the match in what follows. */
  async ask(name: string, line: string, pattern: RegExp): Promise<RegExpExecArray> {
    const stream = await openConsole(this.#cluster.target, name);
    let text = '';
    try {
      const answered = new Promise<RegExpExecArray>((resolve, reject) => {
        stream.setEncoding('latin1').on('data', (chunk: string) => {
          text += chunk;
          const match = pattern.exec(text);
          if (match !== null) resolve(match);
        });
        stream.once('error', reject);
        stream.once('close', () => reject(new Error(`The console of ${name} ended: ${text.slice(-300)}`)));
      });
      answered.catch(() => undefined);
      stream.write(`${line}\r`);
      return await withDeadline(() => answered, {
        deadlineMs: ANSWER_DEADLINE_MS,
        what: `${name}'s answer to ${line}`,
      });
    } catch (error) {
      throw new Error(`${messageOf(error)} The console said: ${JSON.stringify(text.slice(-600))}`, {
        cause: error,
      });
    } finally {
      stream.destroy();
    }
  }

  #logs(name: string): readonly { readonly generation: number; readonly text: string }[] {
    return this.#cluster.serial.of(present(this.#ids.get(name), `${name} is followed`));
  }

  /** The last output of a member, for the report of a failure. */
  lastLines(name: string): string {
    const lines = this.#logs(name).flatMap(({ text }) => text.split('\n'));
    return [`--- ${name}`, ...lines.filter((line) => !/seq |pause-/.test(line)).slice(-LINES_SHOWN)].join('\n');
  }
}
