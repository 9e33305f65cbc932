/**
 * Rolls on a real cluster of four hosts and three control nodes, with VMs that write and two guest clusters: a plan is
 * approved as a file, `--run` pulls each host's plug and boots it, and the leader, `gp` and every control node are lost
 * in the middle of a wave. What is kept at every instant is judged from the event log (event-limits.ts), and what was
 * run from what the commands themselves wrote.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import type { MaintenancePlan } from '../../src/api/maintenance-views.ts';
import type { Roll } from '../../src/api/roll-views.ts';
import type { Event } from '../../src/api/views.ts';
import { EXIT } from '../../src/cli/exit-codes.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { until } from '../acceptance/case.ts';
import { type BusyCluster, storiesOn } from './busy-cluster.ts';
import { assertAway, assertMovedOnce } from './event-limits.ts';

/** A roll on a machine that is busy with other things. */
const ROLL_MS = 420_000;
/** A command on such a machine. */
const WORK_TIMEOUT = '2m';
const CONTROLS = ['c1', 'c2', 'c3'];

const story = storiesOn({
  ...{ hosts: 4, controlNodes: 3, vms: 8 },
  guestClusters: { sql: [1, 2], app: [3, 4] },
});

let files = '';
before(async () => {
  files = await mkdtemp(join(tmpdir(), 'gpr-'));
});
after(() => rm(files, { recursive: true, force: true }));

/** What the commands of a roll are, and the file in which each writes that it ran. */
interface Work {
  readonly log: string;
  readonly words: readonly string[];
}

/** `--run` pulls the plug of the empty host and boots it; `--verify` succeeds once the host runs programs again. */
async function workFor({ cluster }: BusyCluster, name: string): Promise<Work> {
  const log = join(files, `${name}.log`);
  const script = join(files, `${name}.sh`);
  await writeFile(log, '');
  await writeFile(
    script,
    `set -e
echo "$1 $2" >> ${log}
case $1 in
  run) ${cluster.shellCommand} lab kill-host "$2"; ${cluster.shellCommand} lab heal-host "$2" ;;
  verify) ${cluster.shellCommand} lab exec "$2" -- /bin/true ;;
esac
`,
  );
  const words = ['pre', 'run', 'verify'].flatMap((step) => [
    ...[`--${step}`, `/bin/sh ${script} ${step} {host}`, `--${step}-timeout`, WORK_TIMEOUT],
  ]);
  return { log, words };
}

async function approved(
  busy: BusyCluster,
  name: string,
  hosts: string,
): Promise<{ file: string; plan: MaintenancePlan }> {
  // One move at a time: between two of them a wave is in its middle.
  const { stdout } = await busy.gp(['maintenance', 'plan', '--hosts', hosts, '--parallel', '1', '-o', 'json']);
  const file = join(files, `${name}.json`);
  await writeFile(file, stdout);
  return { file, plan: JSON.parse(stdout) as MaintenancePlan };
}

const rolls = ({ cluster }: BusyCluster): Promise<readonly { readonly id: string; readonly createdAt: string }[]> =>
  cluster.client.list('/v1/rolls');

/** Waits until the newest roll is as `isSo` says, also while no control node answers. */
async function newestRoll(busy: BusyCluster, what: string, isSo: (roll: Roll) => boolean): Promise<Roll> {
  let last: Roll | undefined;
  const look = async (): Promise<Roll | undefined> => {
    last = await busy.cluster.observe(async (client) => {
      const all = (await client.list('/v1/rolls')).toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
      const id = all[0]?.id;
      if (id === undefined) return undefined;
      return client.call(client.http.GET('/v1/rolls/{roll}', { params: { path: { roll: id } } }));
    });
    return last !== undefined && isSo(last) ? last : undefined;
  };
  return until(what, look, { deadlineMs: ROLL_MS, seen: () => last });
}

/** Waits until a host is emptied, with one VM gone from it and others still there. */
async function inTheMiddle(busy: BusyCluster, host: string): Promise<void> {
  const roll = await newestRoll(busy, `${host} is being emptied`, ({ hosts }) =>
    hosts.some((each) => each.host === host && each.state === 'draining'),
  );
  const id = roll.hosts.find((each) => each.host === host)?.drain ?? assert.fail(`no drain of ${host}`);
  const drain = await busy.moved(id, 1);
  assert.ok(
    drain.moves.some(({ state }) => state === 'waiting' || state === 'moving'),
    `${host} is empty already: ${JSON.stringify(drain.moves)}`,
  );
}

/** Runs `gp maintenance roll` while `act` does something to it; `stop` is Ctrl-C. It has ended in any case. */
async function whileRolling(
  { cluster }: BusyCluster,
  words: readonly string[],
  act: (stop: () => void) => Promise<void>,
): Promise<RunResult> {
  const stopped = new AbortController();
  const ran = cluster.gp(['maintenance', 'roll', ...words, '-o', 'json'], {
    deadlineMs: ROLL_MS,
    signal: stopped.signal,
  });
  try {
    await act(() => stopped.abort());
  } catch (error) {
    stopped.abort();
    await ran.catch(() => undefined);
    throw error;
  }
  return ran;
}

/** Every host was worked on once, and its work followed its emptying: as the commands wrote it. */
async function assertWorked({ log }: Work, hosts: readonly string[]): Promise<void> {
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  const once = lines.filter((line, index) => !(line.startsWith('verify') && lines[index - 1] === line));
  assert.deepEqual(
    once,
    hosts.flatMap((host) => ['pre', 'run', 'verify'].map((step) => `${step} ${host}`)),
  );
}

function assertDone({ exitCode, stdout, stderr }: RunResult, hosts: readonly string[]): void {
  assert.equal(exitCode, 0, `${stdout}\n${stderr}`);
  const roll = JSON.parse(stdout) as Roll;
  assert.deepEqual([roll.state, roll.done, roll.failed], ['completed', hosts.length, 0]);
  assert.deepEqual(
    roll.hosts.map(({ host, state }) => `${host} ${state}`).sort(),
    hosts.map((host) => `${host} done`).sort(),
  );
}

/** One host at a time was away, in the order that was approved, and no move was repeated. */
function assertRolled(events: readonly Event[], plan: MaintenancePlan): void {
  assert.deepEqual(
    assertAway(events, plan.maxUnavailable),
    plan.waves.flatMap(({ hosts }) => hosts),
  );
  assertMovedOnce(events);
}

story('a plan that was changed after its approval is refused, and nothing is begun', async (busy) => {
  const { file, plan } = await approved(busy, 'changed', 'all');
  assert.equal(plan.waves.length, busy.hosts.length);
  const [first] = plan.waves.flatMap(({ moves }) => moves);
  const other = busy.hosts.find((host) => host !== first?.to && host !== first?.from);
  await writeFile(file, JSON.stringify(plan).replace(`"to":"${first?.to}"`, `"to":"${other}"`));
  const known = (await rolls(busy)).length;
  const refused = await busy.cluster.gp(['maintenance', 'roll', '--plan', file]);
  assert.equal(refused.exitCode, EXIT.conflict);
  assert.match(
    refused.stderr,
    new RegExp(`The plan in the file has the hash [0-9a-f]{64}, and says that ${plan.hash}`),
  );
  assert.equal((await rolls(busy)).length, known);
});

story(
  'a roll restarts every host: the leader is killed in the middle of a wave, and gp ends and is begun again',
  async (busy) => {
    const { file, plan } = await approved(busy, 'all', 'all');
    const order = plan.waves.flatMap(({ hosts }) => hosts);
    const work = await workFor(busy, 'all');
    const { events } = await busy.judged(async () => {
      let id = '';
      const ended = await whileRolling(busy, ['--plan', file, '--change', 'CHG4711', ...work.words], async (stop) => {
        // Not the last: the roll is to go on after it.
        const wave = plan.waves.findIndex(({ moves }, number) => moves.length > 1 && number < plan.waves.length - 1);
        await inTheMiddle(busy, order[wave] ?? assert.fail('no wave has two moves'));
        const leader = await busy.leader();
        await busy.cluster.lab('kill-server', { target: leader });
        id = (await newestRoll(busy, 'its host is done', ({ done }) => done > wave)).id;
        assert.notEqual(await busy.leader(), leader);
        stop();
      });
      assert.equal(ended.exitCode, EXIT.interrupted, ended.stderr);
      assert.match(ended.stderr, new RegExp(`${id} stays as it is`));
      const strange = await busy.cluster.gp(['maintenance', 'roll', '--resume', id, '--run', 'true']);
      assert.match(strange.stderr, /must be given as they were when it began/);
      assertDone(await whileRolling(busy, ['--resume', id, ...work.words], async () => undefined), busy.hosts);
    });
    assertRolled(events, plan);
    await assertWorked(work, order);
  },
);

story(
  'every control node is lost in the middle of a wave: VMs run on, and the roll goes on by itself',
  async (busy) => {
    const at = [...(await busy.settled()).values()];
    const isBusy = (host: string): boolean => at.filter((each) => each === host).length >= 2;
    const chosen = busy.hosts.filter(isBusy).slice(0, 2);
    const { file, plan } = await approved(busy, 'two', chosen.join());
    const order = plan.waves.flatMap(({ hosts }) => hosts);
    const work = await workFor(busy, 'two');
    const { events } = await busy.judged(async () => {
      const ended = await whileRolling(busy, ['--plan', file, ...work.words], async () => {
        await inTheMiddle(busy, order[0] ?? assert.fail('no host'));
        for (const verb of ['kill-server', 'kill-etcd'])
          await Promise.all(CONTROLS.map((target) => busy.cluster.lab(verb, { target })));
        const gone = await busy.cluster.gp(['vm', 'list']);
        assert.equal(gone.exitCode, EXIT.unreachable, `${gone.stdout}\n${gone.stderr}`);
        await busy.goOn(busy.reached());
        await busy.cluster.lab('restore');
      });
      assertDone(ended, chosen);
    });
    assertRolled(events, plan);
    await assertWorked(work, order);
  },
);
