/**
 * Three members of a real guest cluster under software emulation, on one shared disk of our target. The tests share one cluster and run in
 * order: it forms, its members migrate, the active one is killed, the killed one comes back.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { present } from '../base/assert.ts';
import { type Serving, serveFile } from '../target/serve.ts';
import { buildGuestClusterImage } from './guest-cluster.ts';
import { ClusterRig } from './testing/cluster-rig.ts';
import { captured } from './testing/guest.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images', import.meta.url));
const MEMBERS = ['sql1', 'sql2', 'sql3'];
const DISK_BYTES = 256 * 1024 * 1024;
/** Corosync's default, and the tolerance of a guest cluster that keeps it. */
const TOKEN_MS = 3000;
/** Of a machine that has other things to do, too. */
const FORMED_DEADLINE_MS = 180_000;
const EVENT_DEADLINE_MS = 120_000;
/** Reads a block of the shared disk and writes the same again, past every cache. */
const WRITE = 'dd if=/dev/sda of=/dev/sda bs=512 count=1 skip=8 seek=8 oflag=direct conv=notrunc 2>&1; echo rc=$?';

let dir = '';
let target: Serving | undefined;
let rig: ClusterRig;
let active = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gp-guest-cluster-'));
  const image = await buildGuestClusterImage({ cacheDir: CACHE });
  const file = join(dir, 'shared');
  const onClosed = (): void => undefined;
  target = await serveFile({ file, sizeBytes: DISK_BYTES, blockBytes: 512, host: '127.0.0.1', port: 0, onClosed });
  const { uuid }: { readonly uuid: string } = JSON.parse(await reservations());
  // The NAA designator: the UUID's end, marked as locally assigned.
  const disk = `/dev/disk/by-id/wwn-0x3${uuid.replaceAll('-', '').slice(17)}`;
  // A free TCP port of our own stands for a UDP port that nobody else uses.
  const { port } = target;
  rig = new ClusterRig({ directory: dir, image, members: MEMBERS, disk, targetPort: port, networkPort: port });
  await rig.prepare();
});
after(async () => {
  await rig?.end();
  await target?.close();
  await rm(dir, { recursive: true, force: true });
});

/** The disk's reservations as the target has stored them. */
async function reservations(): Promise<string> {
  return readFile(join(dir, 'shared.unit.json'), 'utf8');
}

function all(name: string, pattern: RegExp): string[] {
  return [...rig.console(name).matchAll(pattern)].map((match) => present(match[1], 'a capture'));
}

function lastWritten(name: string): number {
  return Number(all(name, /seq ([0-9]+) [0-9]+\r/g).at(-1) ?? '0');
}

/** What must not happen by a migration: everything the members told of changes and errors. */
function disturbances(): string[] {
  const pattern = /groundplane-cluster ((?:membership|fencing|node|resource|writer|write-failed|kernel) .*)\r/g;
  return MEMBERS.flatMap((name) => all(name, pattern).map((line) => `${name}: ${line}`));
}

describe('a guest cluster of Debian, corosync, Pacemaker, fence_scsi and PostgreSQL', () => {
  test('forms, and its service runs on one member', async (t) => {
    const startMs = performance.now();
    const seconds = (): string => ((performance.now() - startMs) / 1000).toFixed(1);
    for (const name of MEMBERS) rig.boot(name);
    const whole = /membership ring=\S+ quorate=Yes members=sql1,sql2,sql3/;
    await Promise.all(MEMBERS.map((name) => rig.guest(name).waitFor(whole, { deadlineMs: FORMED_DEADLINE_MS })));
    t.diagnostic(`membership of all three after ${seconds()} s`);
    active = (await rig.firstOf(MEMBERS, /seq 5 [0-9]+\r/, { deadlineMs: FORMED_DEADLINE_MS })).name;
    t.diagnostic(`service after ${seconds()} s, on ${active}`);
    for (const name of MEMBERS) assert.equal(lastWritten(name) > 0, name === active, name);
  });

  test('members migrate live: no change of membership, no fencing, no failed write, the same reservations', async (t) => {
    const passive = present(
      MEMBERS.find((name) => name !== active),
      'a passive member',
    );
    const [told, held] = [disturbances(), await reservations()];
    for (const name of [active, passive, active, active]) {
      const since = rig.mark();
      const written = lastWritten(active);
      const { totalMs, downtimeMs } = await rig.migrate(name);
      // Two reports: the first may have been due before the pause ended.
      const reports = /pause-recent ([0-9]+)\r[\s\S]*pause-recent ([0-9]+)\r/;
      const { match } = await rig.firstOf([name], reports, { deadlineMs: EVENT_DEADLINE_MS, since });
      const pauseMs = Math.max(Number(match[1]), Number(match[2]));
      t.diagnostic(`${name}: ${Math.round(totalMs)} ms, QEMU says ${downtimeMs} ms down, inside ${pauseMs} ms`);
      assert.ok(pauseMs < TOKEN_MS, `${pauseMs} ms`);
      assert.ok(lastWritten(active) > written, 'writes go on');
      assert.equal(await rig.askAgent(name), '{"return": 7}');
    }
    assert.deepEqual(disturbances(), told);
    assert.equal(await reservations(), held);
  });

  test('the active member killed: the survivors take its key and its service, and no committed row is missing', async (t) => {
    const survivors = MEMBERS.filter((name) => name !== active);
    const written = lastWritten(active);
    const since = rig.mark();
    const startMs = performance.now();
    const seconds = (): string => ((performance.now() - startMs) / 1000).toFixed(1);
    const wait = { deadlineMs: EVENT_DEADLINE_MS, since };
    await rig.kill(active);
    await rig.firstOf(survivors, new RegExp(`membership .* members=${survivors.join()}\r`), wait);
    t.diagnostic(`membership without it after ${seconds()} s`);
    await rig.firstOf(survivors, new RegExp(`fencing ${active} .*Operation reboot of ${active} .*: OK`), wait);
    t.diagnostic(`fenced after ${seconds()} s`);
    const began = await rig.firstOf(survivors, /writer start=([0-9]+) rows=([0-9]+)\r[\s\S]*seq [0-9]+ [0-9]+\r/, wait);
    t.diagnostic(`writes again after ${seconds()} s, on ${began.name}`);
    const [, start, rows] = began.match;
    assert.equal(Number(rows), Number(start) - 1);
    assert.ok(Number(rows) >= written, `${rows} rows, ${written} acknowledged`);
  });

  test('the killed one, booted again, cannot write before it rejoins and can afterwards', async () => {
    const since = rig.mark();
    const guest = rig.boot(active);
    await guest.waitFor(/groundplane-cluster ready/);
    const refused = await guest.ask(WRITE, /\nrc=([0-9]+)/);
    assert.notEqual(captured(refused), '0');
    const rejoined = /membership ring=\S+ quorate=Yes members=sql1,sql2,sql3/;
    await guest.waitFor(rejoined, { deadlineMs: EVENT_DEADLINE_MS });
    const registered = new RegExp(`fencing ${active} .*Operation on of ${active} .*: OK`);
    await rig.firstOf(MEMBERS, registered, { deadlineMs: EVENT_DEADLINE_MS, since });
    assert.equal(captured(await guest.ask(WRITE, /\nrc=([0-9]+)/)), '0');
    // Found while others held the reservation. Taken for write-through, the disk would get no SYNCHRONIZE CACHE from this member.
    const cache = await guest.ask('cat /sys/class/scsi_disk/*/cache_type', /\n(write [a-z]+)\r/);
    assert.equal(captured(cache), 'write back');
  });
});
