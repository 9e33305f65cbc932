/**
 * A real guest cluster (corosync, Pacemaker, fence_scsi, PostgreSQL on a shared disk) on a real Groundplane cluster:
 * every VM of it moves, loses its storage, its heartbeat, its host, and all of its networks. The tests share one
 * cluster and run in order. corosync keeps its default token.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { GuestCluster } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { createTiny, gp, gpJson, until, untilVm, vmOf } from '../acceptance/case.ts';
import { Guest } from '../acceptance/guest.ts';
import { runningQemus } from '../stories/guests.ts';
import { assertHolds, StoryCluster } from '../stories/story-cluster.ts';
import { type Mark, Members, type Said } from './members.ts';

const NAMES = ['sql1', 'sql2', 'sql3'];
/** A member for a while, as the cluster manager sees it: it runs no Pacemaker. */
const FOURTH = 'sql4';
const ROUNDS = 10;
/** The pause that the guest cluster tolerates: corosync's default token. */
const TOLERATES_MS = 3_000;
// Enough for a slow or busy machine.
const BUILD_DEADLINE_MS = 480_000;
const FORMED_DEADLINE_MS = 240_000;
const EVENT_DEADLINE_MS = 150_000;
const WRITES_DEADLINE_MS = 60_000;
const WHOLE = new RegExp(`membership ring=\\S+ quorate=Yes members=${NAMES.join()}\r`);
/**
 * Reads a block of the shared disk and writes the same again, bypassing every cache; prints dd's message for an error,
 * and `rc=` with its exit code. dd writes a line piece by piece, and other output on the console comes in between: so
 * its lines are written whole, afterwards.
 */
const WRITE =
  'said=$(dd if=/dev/sda of=/dev/sda bs=512 count=1 skip=8 seek=8 oflag=direct conv=notrunc 2>&1); printf "%s\\nrc=%s\\n" "$said" $?';

/**
 * Prints the second shared disk's size in blocks of 512 bytes, read anew from the disk. The cluster calls a disk
 * attached when QEMU has plugged it in; the guest's kernel finds the disk some time later, so the command waits for it,
 * 30 s at most.
 */
const SIZE_OF_SECOND = [
  'n=0; while [ ! -e /sys/block/sdb/size ] && [ $n -lt 300 ]; do busybox usleep 100000; n=$((n+1)); done',
  'echo 1 >/sys/block/sdb/device/rescan; cat /sys/block/sdb/size; echo ""',
].join('; ');
const BLOCKS = /\n([0-9]+)\r/;
/**
 * The shared disk's size in blocks of 512 bytes, and the mark of the members' file system on it; `none` where there is
 * no disk.
 */
const LOOK_AT_DISK =
  '[ -b /dev/sda ] && cat /sys/block/sda/size && dd if=/dev/sda bs=2 skip=540 count=1 2>/dev/null | od -An -tx1 || echo none';
const DATA_MIB = 256;
const MIB = 1024 ** 2;
/** Why a write failed, undefined for one that did not, and the exit code. */
const SAID = /(?:dd: [^\r\n]*: ([A-Za-z/ ]+)(?=\r?\n)[\s\S]*?)?(?:^|\n)rc=([0-9]+)/;
/** Linux's error for a reservation conflict (EBADE), and for nothing else. */
const BY_RESERVATION = 'Invalid exchange';

let files = '';
let cluster: StoryCluster;
let members: Members;
let active = '';

before(async () => {
  files = await mkdtemp(join(tmpdir(), 'gpg-'));
  cluster = await StoryCluster.start({ hosts: 4, controlNodes: 1, storageNodes: 1 });
  const built = await cluster.gp(['image', 'build', 'guest-cluster'], { deadlineMs: BUILD_DEADLINE_MS });
  assert.equal(built.exitCode, 0, `${built.stdout}\n${built.stderr}`);
  await gp(cluster, ['network', 'create', 'hb']);
  const userData = join(files, 'user-data');
  await writeFile(userData, `members=${NAMES.map((name, index) => `${name}=10.9.0.${index + 1}`).join()}\n`);
  for (const name of NAMES) {
    const seed = ['--user-data', userData, '--network', 'hb', '--no-start'];
    await gp(cluster, ['vm', 'create', name, '--image', 'guest-cluster', ...seed]);
  }
  const limits = ['--heartbeat-network', 'hb', '--max-disturbed', '1', '--tolerates', `${TOLERATES_MS}ms`];
  await gp(cluster, [
    'guest-cluster',
    'create',
    'sql',
    '--members',
    NAMES.join(),
    '--shared-disk',
    `data:${DATA_MIB}M`,
    ...limits,
  ]);
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

function shown(): Promise<GuestCluster> {
  return gpJson<GuestCluster>(cluster, ['guest-cluster', 'show', 'sql']);
}

/** The reservation on the data disk, as people see it. */
async function held(): Promise<{ readonly keys: readonly string[]; readonly reservation: unknown }> {
  const data = present(
    (await shown()).disks.find(({ name }) => name === 'data'),
    'the data disk',
  );
  const keys = data.registrations.map(({ vm, key }) => `${vm} ${key}`).sort();
  return { keys, reservation: data.reservation };
}

async function untilWrites(since: Mark, deadlineMs = WRITES_DEADLINE_MS): Promise<Said> {
  return members.first(NAMES, /seq ([0-9]+) [0-9]+\r/, { since, deadlineMs });
}

/** Seconds since `startMs`, for a diagnostic. */
function seconds(startMs: number): string {
  return ((performance.now() - startMs) / 1000).toFixed(1);
}

const others = (name: string): string[] => NAMES.filter((each) => each !== name);

describe('a Pacemaker cluster of three VMs with a shared disk', () => {
  step('forms on three hosts; each member has its key, and one has the service', async (say) => {
    const startMs = performance.now();
    for (const name of NAMES) await gp(cluster, ['vm', 'start', name]);
    for (const name of NAMES) await members.first([name], WHOLE, { deadlineMs: FORMED_DEADLINE_MS });
    say(`membership of all three after ${seconds(startMs)} s`);
    active = (await members.first(NAMES, /seq 5 [0-9]+\r/, { deadlineMs: FORMED_DEADLINE_MS })).name;
    say(`service after ${seconds(startMs)} s, on ${active}`);
    const { members: seen } = await shown();
    assert.equal(new Set(seen.map(({ host }) => host)).size, NAMES.length, 'members never share a host');
    const { keys } = await until('three keys', async () => {
      const now = await held();
      return now.keys.length === NAMES.length ? now : undefined;
    });
    // The key as fence_scsi makes it; a member that comes back waits until its own old key is gone (guest/cluster).
    const hash = createHash('md5').update('sql').digest('hex').slice(0, 4);
    assert.deepEqual(
      keys,
      NAMES.map((name, place) => `${name} ${`${hash}000${place}`.padStart(16, '0')}`),
    );
  });

  step('a shared disk comes, grows and goes while everything runs', async () => {
    const since = members.mark();
    const blocks = async (name: string): Promise<string> => (await members.ask(name, SIZE_OF_SECOND, BLOCKS))[1] ?? '';
    await gp(cluster, ['guest-cluster', 'add-disk', 'sql', 'more:16M']);
    for (const name of NAMES) assert.equal(await blocks(name), String((16 * MIB) / 512), name);
    await gp(cluster, ['guest-cluster', 'resize-disk', 'sql', 'more', '32M']);
    for (const name of NAMES) assert.equal(await blocks(name), String((32 * MIB) / 512), name);
    await gp(cluster, ['guest-cluster', 'remove-disk', 'sql', 'more']);
    assert.deepEqual(
      (await shown()).disks.map(({ name }) => name),
      ['data'],
    );
    assert.deepEqual(members.disturbances(since), []);
  });

  step('a running VM becomes a member and is one no more; the others notice nothing', async () => {
    const since = members.mark();
    const before = await held();
    const memberNames = async (): Promise<readonly string[]> => (await shown()).members.map(({ vm }) => vm);
    await createTiny(cluster, FOURTH, ['--network', 'hb']);
    const { host, generation } = await untilVm(cluster, FOURTH, { verdict: 'running' });
    const guest = await Guest.open(cluster, FOURTH);
    try {
      // The guest's kernel finds, or loses, a disk some time after QEMU has plugged it in or out.
      const untilDisk = async (expected: RegExp): Promise<void> => {
        let seen = '';
        const look = async (): Promise<true | undefined> => {
          seen = (await guest.run(LOOK_AT_DISK)).text.trim();
          return expected.test(seen) || undefined;
        };
        await until(`the disk in ${FOURTH} is ${expected}`, look, { seen: () => seen });
      };
      await untilDisk(/^none$/);
      // Four members on four hosts let no host be drained: somebody signs for that.
      const sign = ['--accept', '--owner', 'story', '--reason', 'four members for a minute', '--until', '2100-01-01'];
      await gp(cluster, ['guest-cluster', 'add-member', 'sql', FOURTH, ...sign]);
      assert.deepEqual(await memberNames(), [...NAMES, FOURTH]);
      await untilDisk(new RegExp(`^${(DATA_MIB * MIB) / 512}\\s+53 ef$`));
      const { text } = await guest.run(WRITE);
      assert.equal(
        SAID.exec(text)?.[1],
        BY_RESERVATION,
        `the reservation of the others binds a member without a key: ${text}`,
      );
      await gp(cluster, ['guest-cluster', 'remove-member', 'sql', FOURTH]);
      assert.deepEqual(await memberNames(), NAMES);
      await untilDisk(/^none$/);
    } finally {
      guest.close();
    }
    const now = await vmOf(cluster, FOURTH);
    assert.deepEqual([now.verdict, now.host, now.generation], ['running', host, generation], 'it ran all the time');
    await gp(cluster, ['vm', 'delete', FOURTH]);
    await untilWrites(members.mark());
    assert.deepEqual(await held(), before);
    assert.deepEqual(members.disturbances(since), []);
  });

  step(`each member moves ${ROUNDS} times round the hosts under load: nobody notices`, async (say) => {
    const since = members.mark();
    const before = await held();
    const pausesMs: number[] = [];
    // A member's report about its pause is awaited while the others move.
    const moved = new Map<string, number>();
    for (const name of Array.from({ length: ROUNDS }, () => NAMES).flat()) {
      if (moved.has(name)) pausesMs.push(await pauseOf(name, moved.get(name)));
      await gp(cluster, ['vm', 'migrate', name]);
      moved.set(name, (await vmOf(cluster, name)).generation);
    }
    for (const name of NAMES) pausesMs.push(await pauseOf(name, moved.get(name)));
    assert.equal(pausesMs.length, ROUNDS * NAMES.length);
    const sorted = pausesMs.toSorted((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)];
    say(
      `${sorted.length} moves; pauses seen inside: median ${middle} ms, longest ${sorted.at(-1)} ms, tolerated ${TOLERATES_MS} ms`,
    );
    say(`rings formed anew of the same members: ${members.reformed(since)}`);
    assert.deepEqual(members.disturbances(since), []);
    assert.deepEqual(await held(), before);
    for (const pauseMs of pausesMs) assert.ok(pauseMs < TOLERATES_MS, `${pauseMs} ms`);
  });

  step('a move whose predicted pause is too long is not started, and says so', async () => {
    const shorter = ['guest-cluster', 'set', 'sql', '--tolerates', '1ms'];
    const refused = await gp(cluster, shorter, 5);
    assert.match(refused.stderr, /could not be drained: .*guest cluster sql tolerates 1 ms/);
    const date = new Date(Date.now() + 3_600_000).toISOString();
    await gp(cluster, [...shorter, '--accept', '--owner', 'ann', '--reason', 'a test', '--until', date]);
    const { generation, host } = await vmOf(cluster, active);
    const { stderr } = await gp(cluster, ['vm', 'migrate', active], 1);
    assert.match(stderr, /would pause .* for about [0-9]+ ms .* tolerates 1 ms/);
    const stays = await vmOf(cluster, active);
    assert.deepEqual([stays.generation, stays.host], [generation, host]);
    await gp(cluster, ['guest-cluster', 'set', 'sql', '--tolerates', `${TOLERATES_MS}ms`]);
  });

  step('the storage service and its target killed and restarted: reservations intact, nothing fails', async (say) => {
    const since = members.mark();
    const before = await held();
    await gp(cluster, ['lab', 'kill-storage', 's1']);
    const startMs = performance.now();
    await gp(cluster, ['lab', 'restore', 's1']);
    await untilWrites(members.mark());
    say(`writes again ${seconds(startMs)} s after the restart began`);
    assert.deepEqual(await held(), before);
    assert.deepEqual(members.disturbances(since), []);
  });

  step(
    'a member without its heartbeat is kept from the disk by the cluster’s own reservation, while its grant stands',
    async () => {
      const cut = present(others(active)[0], 'a passive member');
      const { host, generation } = await vmOf(cluster, cut);
      const since = members.mark();
      await cluster.lab('exec', { target: host, argv: ['ip', 'link', 'set', 'ovl0', 'down'] });
      const fenced = new RegExp(`fencing ${cut} .*Operation (?:off|reboot) of ${cut} .*: OK`);
      await members.first(others(cut), fenced, { deadlineMs: EVENT_DEADLINE_MS, since });
      const { keys } = await held();
      assert.ok(!keys.some((line) => line.startsWith(`${cut} `)), 'its key is gone');
      const refused = await members.ask(cut, WRITE, SAID);
      assert.equal(refused[1], BY_RESERVATION);
      const now = await vmOf(cluster, cut);
      assert.deepEqual([now.generation, now.verdict], [generation, 'running'], 'it is this cluster that let it be');
      await cluster.lab('exec', { target: host, argv: ['ip', 'link', 'set', 'ovl0', 'up'] });
      await gp(cluster, ['vm', 'reset', cut]);
      await rejoined(cut, members.mark());
    },
  );

  step(
    'the host of the active member lost: survivors fence by reservation and take over; it comes back elsewhere and writes only then',
    async (say) => {
      const lost = active;
      const { host, generation } = await vmOf(cluster, lost);
      const written = members.lastWritten(lost);
      const since = members.mark();
      const startMs = performance.now();
      await gp(cluster, ['lab', 'kill-host', present(host, 'its host')]);
      const restarted = await untilVm(cluster, lost, { verdict: 'running', generation: generation + 1 });
      assert.notEqual(restarted.host, host);
      say(`restarted on another host after ${seconds(startMs)} s`);
      const survivors = others(lost);
      const began = /writer start=([0-9]+) rows=([0-9]+)\r[\s\S]*?seq [0-9]+ [0-9]+\r/;
      const fenced = new RegExp(`fencing ${lost} .*Operation (?:off|reboot) of ${lost} .*: OK`);
      await members.first(survivors, fenced, { deadlineMs: EVENT_DEADLINE_MS, since });
      await members.first([lost], /groundplane-cluster ready/, { deadlineMs: EVENT_DEADLINE_MS, since });
      const refused = await members.ask(lost, WRITE, SAID);
      assert.equal(refused[1], BY_RESERVATION, 'it does not write before it is a member again');
      const takenOver = await members.first(survivors, began, { deadlineMs: EVENT_DEADLINE_MS, since });
      active = takenOver.name;
      say(`fenced, and writes again after ${seconds(startMs)} s, on ${active}`);
      const [, start, rows] = takenOver.match;
      assert.equal(Number(rows), Number(start) - 1, 'no committed row is missing');
      assert.ok(Number(rows) >= written, `${rows} rows, ${written} acknowledged`);
      await rejoined(lost, since);
      // Found while others held the reservation. Taken for write-through, the disk would get no SYNCHRONIZE CACHE from
      // this member.
      const cache = await members.ask(lost, 'cat /sys/class/scsi_disk/*/cache_type', /(write [a-z]+)\r/);
      assert.equal(cache[1], 'write back');
      await gp(cluster, ['lab', 'heal-host', present(host, 'its host')]);
    },
  );

  step(
    'a member cut off with its QEMU alive: its next generation runs, and the old one does not log in again',
    async (say) => {
      const cut = active;
      const { id, host, generation } = await vmOf(cluster, cut);
      const written = members.lastWritten(cut);
      const since = members.mark();
      await gp(cluster, ['lab', 'cut-host', present(host, 'its host')]);
      await untilVm(cluster, cut, { verdict: 'running', generation: generation + 1 });
      const takenOver = await members.first(others(cut), /writer start=([0-9]+) rows=([0-9]+)\r/, {
        deadlineMs: EVENT_DEADLINE_MS,
        since,
      });
      const [, start, rows] = takenOver.match;
      assert.equal(Number(rows), Number(start) - 1);
      assert.ok(Number(rows) >= written, `${rows} rows, ${written} acknowledged`);
      active = takenOver.name;
      await gp(cluster, ['lab', 'heal-host', present(host, 'its host')]);
      const isThere = (): boolean => runningQemus().some((qemu) => qemu.vm === id && qemu.generation === generation);
      await until(`generation ${generation} of ${cut} is gone`, () => (isThere() ? undefined : true));
      say(`the old QEMU of ${cut} was ended after its host was back`);
      await rejoined(cut, since);
    },
  );
});

/** The pause that a member has measured since it runs in this generation, in ms. */
async function pauseOf(name: string, generation: number | undefined): Promise<number> {
  // Two reports: the first may have been due before the pause ended.
  const reports = /pause-recent ([0-9]+)\r[\s\S]*?pause-recent ([0-9]+)\r/;
  const [, ...told] = await until(
    `${name} tells its pause`,
    () => members.heard([name], reports).find((one) => one.generation === generation)?.match,
    { deadlineMs: WRITES_DEADLINE_MS },
  );
  return Math.max(...told.map(Number));
}

/** Waits until a member that was fenced is a member again, has its key, and may write. */
async function rejoined(name: string, since: Mark): Promise<void> {
  await members.first([name], WHOLE, { deadlineMs: FORMED_DEADLINE_MS, since });
  const registered = new RegExp(`fencing ${name} .*Operation on of ${name} .*: OK`);
  await members.first(NAMES, registered, { deadlineMs: EVENT_DEADLINE_MS, since });
  const allowed = await members.ask(name, WRITE, SAID);
  assert.equal(allowed[2], '0');
}
