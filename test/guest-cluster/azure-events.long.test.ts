/**
 * A real guest cluster whose members are given notice of their moves: Pacemaker with Debian's
 * `ocf:heartbeat:azure-events-az`, unmodified, and the metadata service. Under software emulation one check by that
 * agent takes a minute, so the notice is long.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Event, GuestCluster, VmGuest } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { gp, gpJson, until, vmOf } from '../acceptance/case.ts';
import { assertHolds, StoryCluster } from '../stories/story-cluster.ts';
import { type Mark, Members } from './members.ts';

const NAMES = ['sql1', 'sql2', 'sql3'];
const BUILD_DEADLINE_MS = 480_000;
const FORMED_DEADLINE_MS = 400_000;
/** The time that one check by the agent, and its reaction, may take, in seconds. */
const NOTICE_S = 600;
const TOLD_DEADLINE_MS = (NOTICE_S + 120) * 1_000;
/** A member is ready when Pacemaker calls it online again. */
const READY_CHECK = 'crm_mon -1 | grep -q "Online:.* $(hostname) "';
const READY_S = 300;
const WRITES = /writer start=([0-9]+) rows=([0-9]+)\r[\s\S]*?seq [0-9]+ [0-9]+\r/;

let files = '';
let cluster: StoryCluster;
let members: Members;
let active = '';

before(async () => {
  files = await mkdtemp(join(tmpdir(), 'gpa-'));
  cluster = await StoryCluster.start({ hosts: 4, controlNodes: 1, storageNodes: 1 });
  const built = await cluster.gp(['image', 'build', 'guest-cluster'], { deadlineMs: BUILD_DEADLINE_MS });
  assert.equal(built.exitCode, 0, `${built.stdout}\n${built.stderr}`);
  await gp(cluster, ['network', 'create', 'hb']);
  await gp(cluster, ['network', 'create', 'told', '--cidr', '10.30.0.0/24', '--dhcp', '--metadata']);
  const userData = join(files, 'user-data');
  const addresses = NAMES.map((name, index) => `${name}=10.9.0.${index + 1}`).join();
  await writeFile(userData, `members=${addresses}\ntold=eth1\nrate=2\n`);
  for (const name of NAMES) {
    const cards = ['--network', 'hb', '--network', 'told'];
    await gp(cluster, [
      'vm',
      'create',
      name,
      '--image',
      'guest-cluster',
      '--user-data',
      userData,
      ...cards,
      '--no-start',
    ]);
  }
  const limits = ['--heartbeat-network', 'hb', '--max-disturbed', '1', '--tolerates', '3s'];
  const disk = ['--shared-disk', 'data:256M'];
  await gp(cluster, ['guest-cluster', 'create', 'sql', '--members', NAMES.join(), ...disk, ...limits]);
  members = new Members(cluster, NAMES);
  await members.follow();
});
after(async () => {
  await cluster?.end();
  await rm(files, { recursive: true, force: true });
});

type Run = (say: (line: string) => void) => Promise<void>;

/** A failure also says what the members said last. */
function step(name: string, run: Run): void {
  test(name, (t) =>
    assertHolds(
      cluster,
      () => run((line) => t.diagnostic(line)),
      () => NAMES.map((each) => members.lastLines(each)),
    ),
  );
}

const eventsOf = (vm: string) => gpJson<readonly Event[]>(cluster, ['vm', 'events', vm]);
const sqlOf = async (): Promise<GuestCluster> => gpJson<GuestCluster>(cluster, ['guest-cluster', 'show', 'sql']);
const others = (name: string): string[] => NAMES.filter((other) => other !== name);
const secondsSince = (startMs: number): string => ((performance.now() - startMs) / 1_000).toFixed(0);

/** Waits until an event of this kind is there that was not there before; answers it. */
async function eventAfter(vm: string, kind: string, known: readonly Event[], deadlineMs: number): Promise<Event> {
  const isNew = (event: Event): boolean =>
    event.kind === kind && !known.some(({ revision }) => revision === event.revision);
  return until(`${vm} has a new event ${kind}`, async () => (await eventsOf(vm)).find(isNew), { deadlineMs });
}

/** The actions of Pacemaker's agents, as the members report them, in the order of each member's report. */
const done = (names: readonly string[], since: Mark): readonly string[] =>
  members.heard(names, /resource (\S+ \S+ on=\S+ rc=\S+)/, since).map(({ match }) => match[1] ?? '');

describe('a guest cluster that is told of its moves', () => {
  step('three members form a cluster, each with the agent that looks for events', async (say) => {
    const startMs = performance.now();
    for (const name of NAMES) await gp(cluster, ['vm', 'start', name]);
    const began = await members.first(NAMES, WRITES, { deadlineMs: FORMED_DEADLINE_MS });
    active = began.name;
    for (const name of NAMES)
      await members.first([name], new RegExp(`resource events start on=${name} rc=0`), {
        deadlineMs: FORMED_DEADLINE_MS,
      });
    say(`the service runs on ${active}, everybody is told, after ${secondsSince(startMs)} s`);
  });

  step('the real qemu-guest-agent says what its guest is, to the control node itself', async () => {
    const guest = await until('it answers', async () => {
      const said = await gpJson<VmGuest>(cluster, ['vm', 'guest', active]);
      return said.agent === 'answers' ? said : undefined;
    });
    assert.equal(guest.hostname, active);
    assert.match(guest.os ?? '', /Debian GNU\/Linux 12/);
    const addresses = guest.interfaces.flatMap((card) => card.addresses);
    assert.ok(addresses.includes(`10.9.0.${NAMES.indexOf(active) + 1}/24`), addresses.join());
  });

  step('the database is on another member before its VM’s copy begins, and the move is not waited out', async (say) => {
    const notice = ['--notice', `${NOTICE_S}s`];
    const check = ['--ready-check', READY_CHECK, '--ready-within', `${READY_S}s`];
    await gp(cluster, ['guest-cluster', 'set', 'sql', ...notice, ...check]);
    const since = members.mark();
    const before = active;
    const known = await eventsOf(before);
    const startMs = performance.now();
    await gp(cluster, ['vm', 'migrate', before, '--no-wait']);
    await eventAfter(before, 'migrating', known, TOLD_DEADLINE_MS);
    const elsewhere = members.heard(others(before), WRITES, since)[0];
    say(`the move began ${secondsSince(startMs)} s after it was asked for`);
    assert.ok(elsewhere !== undefined, `the database is on another member: ${done(NAMES, since).join('; ')}`);
    active = elsewhere.name;
    assert.equal(Number(elsewhere.match[2]), Number(elsewhere.match[1]) - 1, 'no committed row is missing');
    const member = (await sqlOf()).members.find(({ vm }) => vm === before);
    assert.equal(member?.notice?.ended, 'acknowledged');
    assert.deepEqual(members.heard(NAMES, /write-failed/, since), []);
    const healthy = await eventAfter(before, 'member-healthy', known, READY_S * 1_000);
    assert.match(healthy.message, /its ready-check succeeded/);
    say(`it moved and was seen healthy ${secondsSince(startMs)} s after it was asked for`);
  });

  step('with the agent of its host dead nobody tells the guest: the move waits for the notice’s time', async (say) => {
    const quiet = present(others(active)[0], 'a passive member');
    await gp(cluster, ['guest-cluster', 'set', 'sql', '--notice', '20s']);
    const { host, generation } = await vmOf(cluster, quiet);
    const known = await eventsOf(quiet);
    await gp(cluster, ['lab', 'kill-agent', present(host, 'its host')]);
    const startMs = performance.now();
    await gp(cluster, ['vm', 'migrate', quiet]);
    say(`it moved after ${secondsSince(startMs)} s`);
    assert.ok(performance.now() - startMs >= 20_000);
    assert.ok((await vmOf(cluster, quiet)).generation > generation);
    const member = (await sqlOf()).members.find(({ vm }) => vm === quiet);
    assert.equal(member?.notice?.ended, 'time');
    await eventAfter(quiet, 'member-healthy', known, READY_S * 1_000);
    await gp(cluster, ['lab', 'restore', present(host, 'its host')]);
  });
});
