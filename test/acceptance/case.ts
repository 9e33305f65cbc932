/**
 * The shared parts of the acceptance tests: how a case is written, and how it waits and asks. Guarantees: a wait has a
 * deadline and reports its last observation; a command with an unexpected exit code is a failure that shows its whole
 * output.
 */
import assert from 'node:assert/strict';
import type { VmDetail } from '../../src/api/views.ts';
import { sleep } from '../../src/base/sleep.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { systemClock } from '../../src/os/clock.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';

/** One acceptance test on the shared cluster. `say` prints a figure for the reader of the run. */
export interface Case {
  readonly name: string;
  run(cluster: StoryCluster, say: (line: string) => void): Promise<void>;
}

const POLL_MS = 150;
const VM_DEADLINE_MS = 60_000;

/** Runs `gp` and demands its exit code (by default 0). */
export async function gp(cluster: StoryCluster, words: readonly string[], exitCode = 0): Promise<RunResult> {
  const ran = await cluster.gp(words);
  const said = `gp ${words.join(' ')}: exit code ${ran.exitCode}\n${ran.stdout}\n${ran.stderr}`;
  assert.equal(ran.exitCode, exitCode, said);
  return ran;
}

/** The output of `gp … -o json`. */
export async function gpJson<T>(cluster: StoryCluster, words: readonly string[]): Promise<T> {
  const { stdout } = await gp(cluster, [...words, '-o', 'json']);
  return JSON.parse(stdout) as T;
}

/** A running VM of the tiny image, with as little memory as it boots with. */
export async function createTiny(cluster: StoryCluster, name: string, words: readonly string[] = []): Promise<void> {
  await gp(cluster, ['vm', 'create', name, '--image', 'tiny', '--memory', '96M', ...words]);
}

export function vmOf(cluster: StoryCluster, name: string): Promise<VmDetail> {
  const { client } = cluster;
  return client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } } }));
}

/** Deletes VMs, at once, whether they exist or not. */
export async function deleteVms(cluster: StoryCluster, names: readonly string[]): Promise<void> {
  for (const { name } of await gpJson<readonly { readonly name: string }[]>(cluster, ['vm', 'list'])) {
    if (names.includes(name)) await gp(cluster, ['vm', 'delete', name]);
  }
}

/** Waits until `look` returns something; a failure includes the last observation from `seen`. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
  options: { readonly deadlineMs?: number; readonly seen?: () => unknown } = {},
): Promise<T> {
  const { deadlineMs = VM_DEADLINE_MS, seen = () => '' } = options;
  const endsAtMs = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > endsAtMs)
      throw new Error(`Not within ${deadlineMs} ms: ${what}. Last seen: ${JSON.stringify(seen())}`);
    await sleep(systemClock, POLL_MS);
  }
}

/** Waits until the VM is as `expected` says. */
export async function untilVm(
  cluster: StoryCluster,
  name: string,
  expected: Partial<Pick<VmDetail, 'verdict' | 'host' | 'generation'>>,
): Promise<VmDetail> {
  let last: VmDetail | undefined;
  const look = async (): Promise<VmDetail | undefined> => {
    last = await vmOf(cluster, name);
    const shown: Readonly<Record<string, unknown>> = { ...last };
    return Object.entries(expected).every(([key, value]) => shown[key] === value) ? last : undefined;
  };
  return until(`${name} is ${JSON.stringify(expected)}`, look, { seen: () => last });
}

/** Waits until the guest printed something on its serial console that matches. */
export async function untilSaid(
  cluster: StoryCluster,
  name: string,
  pattern: RegExp,
  { deadlineMs = VM_DEADLINE_MS } = {},
): Promise<RegExpExecArray> {
  const { id } = await vmOf(cluster, name);
  let text = '';
  const look = (): RegExpExecArray | undefined => {
    cluster.serial.look();
    text = cluster.serial
      .of(id)
      .map((log) => log.text)
      .join('');
    return pattern.exec(text) ?? undefined;
  };
  return until(`the console of ${name} says ${pattern}`, look, { deadlineMs, seen: () => text.slice(-600) });
}

/** The last number of the guest's sequence on the serial console. */
export async function acknowledged(cluster: StoryCluster, name: string): Promise<number> {
  const { id } = await vmOf(cluster, name);
  cluster.serial.look();
  return cluster.serial.acknowledged(id);
}

/** Waits until the guest's sequence is further than `from`; answers how far. */
export async function growsBeyond(cluster: StoryCluster, name: string, from: number): Promise<number> {
  const look = async (): Promise<number | undefined> => {
    const at = await acknowledged(cluster, name);
    return at > from ? at : undefined;
  };
  return until(`the sequence of ${name} goes on`, look, { seen: () => from });
}
