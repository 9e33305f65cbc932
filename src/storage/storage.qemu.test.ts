import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseDiskId, parseGeneration, parseHostName, parseVmId, type VmId } from '../base/ids.ts';
import type { VmPhase } from '../core/model/vm.ts';
import { run } from '../os/child-process.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { until } from '../os/testing/until.ts';
import { isRecord, type Parser } from '../rpc/parse.ts';
import { ConnectionLook, establishedTo } from './connections.ts';
import { killDaemon, Qsd } from './qsd.ts';
import { StorageLab } from './testing/storage-lab.ts';

const anything: Parser<unknown> = (value) => value;
const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;
const g = parseGeneration;
let lab: StorageLab;
let next = 0;

/** A VM with a blank disk of 8 MiB. */
async function newDisk() {
  const number = (next++).toString(16).padStart(12, '0');
  const made = { vm: parseVmId(`vm-${number}`), disk: parseDiskId(`disk-${number}`), port: 30_000 + next };
  await lab.putDisk({ id: made.disk, vm: made.vm, port: made.port });
  await call('PUT', `/v1/disks/${made.disk}`, { term: 1, vm: made.vm, sizeBytes: 8 << 20, source: { kind: 'blank' } });
  return made;
}
type Made = Awaited<ReturnType<typeof newDisk>>;

const call = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
  lab.control.call({ method, path, body, deadlineMs: 20_000, parse: anything });
const grant = ({ vm, disk, port }: Made, generation: number, term = 1) =>
  call('POST', '/v1/grant', { term, vm, generation, disks: [{ disk, port, readOnly: false }] });
const fence = ({ vm, disk }: Made, below: number, term = 1) =>
  call('POST', '/v1/fence', { term, vm, below, disks: [disk] });
const revoke = ({ vm, disk }: Made, generation: number) =>
  call('POST', '/v1/revoke', { term: 1, vm, generation, disks: [disk] });
const running = (generation: number): VmPhase => ({
  kind: 'running',
  incarnation: { generation: g(generation), host: parseHostName('h1'), slot: 0 },
});

async function grantsOf(disk: string): Promise<readonly unknown[]> {
  const report = await call('GET', '/v1/report');
  assert.ok(isRecord(report) && Array.isArray(report['disks']));
  const found: unknown = report['disks'].find((one: unknown) => isRecord(one) && one['disk'] === disk);
  assert.ok(isRecord(found) && Array.isArray(found['grants']));
  return found['grants'].map((one: unknown) => (isRecord(one) ? one['generation'] : undefined));
}

before(async () => {
  lab = await StorageLab.start();
  await lab.startService();
});
after(() => lab.stop());

test('a granted incarnation reads and writes; nobody else gets through the TLS handshake', async () => {
  const one = await newDisk();
  const other = await newDisk();
  assert.deepEqual(await grant(one, 1), { exports: [{ disk: one.disk, port: one.port, name: 'g1' }] });
  await grant(one, 1);
  const { vm, port } = one;
  assert.ok(await lab.io({ vm, generation: g(1), port }, 'write -P 7 0 64k'));
  assert.ok(await lab.io({ vm, generation: g(1), port }, 'read -P 7 0 64k'));
  assert.ok(
    !(await lab.io({ vm, generation: g(2), port, export: 'g1' }, 'read 0 64k')),
    'a generation that is not granted',
  );
  assert.ok(!(await lab.io({ vm: other.vm, generation: g(1), port }, 'read 0 64k')), "another VM's credential");
  await assert.rejects(grant({ ...one, vm: other.vm }, 1), coded('conflict'));
  assert.deepEqual(await grantsOf(one.disk), [1]);
});

test('a fence cuts an open writer, holds against later grants, and old leaders are refused', async () => {
  const one = await newDisk();
  const { vm, port, disk } = one;
  await grant(one, 1);
  const writer = await lab.openClient({ vm, generation: g(1), port });
  assert.ok(await writer.io('write -P 1 0 4k'));
  assert.deepEqual(await fence(one, 2), { revoked: [{ disk, generation: 1 }] });
  assert.ok(!(await writer.io('write -P 9 0 4k')), 'the fenced writer');
  assert.ok(!(await lab.io({ vm, generation: g(1), port }, 'write -P 9 0 4k')));
  assert.deepEqual(await fence(one, 2), { revoked: [] });
  await assert.rejects(grant(one, 1), coded('stale-order'));
  await grant(one, 2);
  assert.ok(
    await lab.io({ vm, generation: g(2), port }, 'read -P 1 0 4k'),
    'what was written before is there, what came after is not',
  );
  await fence(one, 2, 5);
  await assert.rejects(grant(one, 3, 4), coded('stale-order'));
  // The other tests give orders of term 1: a restarted service knows no term.
  await lab.stopService('SIGKILL');
  await lab.startService();
});

test('a credential of g that opened the export of g+1 during a migration is cut too; the rightful one goes on', async () => {
  const one = await newDisk();
  const { vm, port } = one;
  await grant(one, 1);
  await grant(one, 2);
  const intruder = await lab.openClient({ vm, generation: g(1), port, export: 'g2' });
  const rightful = await lab.openClient({ vm, generation: g(2), port, patienceS: 10 });
  assert.ok(await intruder.io('write -P 1 0 4k'));
  assert.ok(await rightful.io('write -P 2 0 4k'));
  await fence(one, 2);
  assert.ok(!(await intruder.io('write -P 9 0 4k')), 'the intruder');
  assert.ok(await rightful.io('write -P 3 4k 4k'), 'the destination');
  assert.ok(await lab.io({ vm, generation: g(2), port }, 'read -P 2 0 4k'));
});

test('who is connected to a daemon its descriptors say as the table of the kernel does, once they are known and before', async () => {
  const one = await newDisk();
  await grant(one, 1);
  const { pid } = lab.daemonOf(one.disk);
  const look = new ConnectionLook();
  const agrees = (count: number): void => {
    for (const found of [look.to(one.port, pid), establishedTo(one.port)]) assert.equal(found.length, count);
    assert.deepEqual(look.to(one.port, pid), establishedTo(one.port));
  };
  agrees(0);
  const guest = await lab.openClient({ ...one, generation: g(1) });
  assert.ok(await guest.io('write 0 4k'));
  agrees(1);
  agrees(1);
  await fence(one, 2);
  agrees(0);
  await killDaemon(lab.daemonOf(one.disk));
  agrees(0);
});

test('revoking the destination of an abandoned migration leaves the source undisturbed', async () => {
  const one = await newDisk();
  const { vm, port, disk } = one;
  await grant(one, 1);
  const source = await lab.openClient({ vm, generation: g(1), port });
  assert.ok(await source.io('write 0 4k'));
  const { pid } = lab.daemonOf(disk);
  await grant(one, 2);
  await revoke(one, 2);
  assert.ok(await source.io('write 0 4k'));
  assert.equal(lab.daemonOf(disk).pid, pid);
  assert.deepEqual(await grantsOf(disk), [1]);
});

test('a daemon that is killed comes back on its port; its guest stalls and goes on', async () => {
  const one = await newDisk();
  const { vm, port, disk } = one;
  await grant(one, 1);
  const guest = await lab.openClient({ vm, generation: g(1), port, patienceS: 20 });
  assert.ok(await guest.io('write -P 1 0 64k'));
  assert.ok(await guest.io('write -f -P 2 64k 64k'));
  // Acknowledged and never flushed, in clusters that the image did not have before: the flush after the reconnect must
  // not lie about it.
  assert.ok(await guest.io('write -P 4 4M 64k'));
  const old = lab.daemonOf(disk);
  await killDaemon(old);
  assert.ok(await guest.io('write -f -P 3 128k 64k'));
  assert.ok(await guest.io('read -P 4 4M 64k'), 'an acknowledged write survives the daemon');
  assert.notEqual(lab.daemonOf(disk).pid, old.pid);
  assert.ok(await guest.io('read -P 2 64k 64k'));
});

test('killing the service disturbs nobody; the next one takes over what runs and serves what etcd admits', async () => {
  const kept = await newDisk();
  const stale = await newDisk();
  for (const one of [kept, stale]) await grant(one, 1);
  const guest = await lab.openClient({ ...kept, generation: g(1) });
  const fenced = await lab.openClient({ ...stale, generation: g(1) });
  assert.ok((await guest.io('write 0 4k')) && (await fenced.io('write 0 4k')));
  const { pid } = lab.daemonOf(kept.disk);
  await lab.stopService('SIGKILL');
  assert.ok(await guest.io('write 0 4k'));
  await lab.putVm(kept.vm, { generation: 1, phase: running(1), disk: kept.disk });
  await lab.putVm(stale.vm, { generation: 2, phase: running(2), disk: stale.disk });
  await lab.startService();
  assert.equal(lab.daemonOf(kept.disk).pid, pid);
  assert.ok(await guest.io('write 0 4k'));
  assert.ok(!(await fenced.io('write 0 4k')), 'a generation that etcd no longer admits');
  assert.deepEqual([await grantsOf(kept.disk), await grantsOf(stale.disk)], [[1], [2]]);
  await assert.rejects(grant(stale, 1), coded('stale-order'));
  assert.ok(await lab.io({ ...stale, generation: g(2) }, 'write 0 4k'));
});

test('a daemon in the middle of a fence is started anew by the service that takes it over; its guests go on', async () => {
  const one = await newDisk();
  await lab.putVm(one.vm, { generation: 1, phase: running(1), disk: one.disk });
  await grant(one, 1);
  const guest = await lab.openClient({ ...one, generation: g(1), patienceS: 20 });
  assert.ok(await guest.io('write -P 1 0 4k'));
  const marked = lab.daemonOf(one.disk);
  await lab.stopService('SIGKILL');
  const daemon = await Qsd.adopt(marked, lab.runDir);
  assert.equal(await daemon.isFencing(), false);
  await daemon.admitNobody();
  await daemon.admitNobody();
  assert.equal(await daemon.isFencing(), true);
  assert.ok(!(await lab.io({ ...one, generation: g(1) }, 'read 0 4k')), 'nobody new');
  assert.ok(await guest.io('read -P 1 0 4k'), 'who is connected stays so');
  await daemon.admit([{ vm: one.vm, generation: g(1), readOnly: false }]);
  assert.equal(await daemon.isFencing(), false);
  assert.ok(await lab.io({ ...one, generation: g(1) }, 'read -P 1 0 4k'), 'admitted again');
  assert.ok(!(await lab.io({ ...one, generation: g(2), export: 'g1' }, 'read 0 4k')), 'and nobody else');
  await daemon.admitNobody();
  daemon.release();
  await lab.startService();
  assert.notEqual(lab.daemonOf(one.disk).pid, marked.pid);
  assert.ok(await guest.io('read -P 1 0 4k'));
});

test('without etcd a service that starts serves on and fences, and grants nothing', async () => {
  const one = await newDisk();
  await lab.putVm(one.vm, { generation: 1, phase: running(1), disk: one.disk });
  await grant(one, 1);
  const guest = await lab.openClient({ ...one, generation: g(1) });
  assert.ok(await guest.io('write 0 4k'));
  await lab.stopService('SIGKILL');
  await lab.stopEtcd();
  await lab.startService({ restored: false });
  assert.ok(await guest.io('write 0 4k'));
  await assert.rejects(grant(one, 2), coded('unavailable'));
  assert.deepEqual(await fence(one, 2), { revoked: [{ disk: one.disk, generation: 1 }] });
  assert.ok(!(await guest.io('write 0 4k')));
  await lab.restartEtcd();
  await until('the first read of etcd', () => lab.log.some((line) => line.includes('generations that etcd admits')));
  // etcd still names generation 1; the fence was newer.
  assert.deepEqual(await grantsOf(one.disk), []);
  await grant(one, 2);
  assert.ok(await lab.io({ ...one, generation: g(2) }, 'write 0 4k'));
});

test('a grant that races a fence never outlives it', async () => {
  const one = await newDisk();
  const durationsMs: number[] = [];
  for (let generation = 1; generation <= 60; generation++) {
    const granting = grant(one, generation).then(
      () => true,
      (error: unknown) => {
        assert.ok(coded('stale-order')(error), String(error));
        return false;
      },
    );
    // Every third time the fence comes when the grant is done, so that there is something to revoke.
    if (generation % 3 === 0) await granting;
    const startedMs = monotonicMs();
    await fence(one, generation + 1);
    durationsMs.push(monotonicMs() - startedMs);
    await granting;
    assert.deepEqual(await grantsOf(one.disk), []);
  }
  assert.ok(!(await lab.io({ ...one, generation: g(60) }, 'read 0 4k')));
});

test('how long a fence takes, with a connected writer', async (t) => {
  const one = await newDisk();
  const durationsMs: number[] = [];
  for (let generation = 1; generation <= 20; generation++) {
    await grant(one, generation);
    const writer = await lab.openClient({ ...one, generation: g(generation) });
    assert.ok(await writer.io('write 0 4k'));
    const startedMs = monotonicMs();
    await fence(one, generation + 1);
    durationsMs.push(monotonicMs() - startedMs);
    assert.ok(!(await writer.io('write 0 4k')));
  }
  durationsMs.sort((a, b) => a - b);
  t.diagnostic(`fence: median ${durationsMs[10]?.toFixed(1)} ms, worst ${durationsMs[19]?.toFixed(1)} ms`);
});

test('uploads are whole and what their name says, or leave nothing; disks are clones of them; hosts may fetch', async () => {
  const content = randomBytes(3 << 20);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const put = (name: string, body: Buffer, sizeBytes = body.length, deadlineMs = 20_000) =>
    lab.control.upload({
      method: 'PUT',
      path: `/v1/artifacts/${name}?kind=disk-raw`,
      stream: Readable.from([body]),
      sizeBytes,
      deadlineMs,
      parse: anything,
    });
  await assert.rejects(put('a'.repeat(64), content), coded('bad-input'));
  await assert.rejects(put(sha256, content.subarray(0, 1 << 20), content.length, 1_000), coded('deadline'));
  const temporary = join(lab.dir, 'pool', 'tmp');
  await until('the end of the interrupted upload', async () => (await readdir(temporary)).length === 0);
  assert.deepEqual(await readdir(join(lab.dir, 'pool', 'artifacts')), []);
  assert.deepEqual(await put(sha256, content), { sha256, sizeBytes: content.length, virtualSizeBytes: content.length });
  await put(sha256, content);
  const { stream } = await lab.host.download(`/v1/artifacts/${sha256}`, { deadlineMs: 20_000 });
  const hash = createHash('sha256');
  for await (const chunk of stream as AsyncIterable<Buffer>) hash.update(chunk);
  assert.equal(hash.digest('hex'), sha256);
  await assert.rejects(
    lab.host.call({ method: 'GET', path: '/v1/report', deadlineMs: 20_000, parse: anything }),
    coded('forbidden'),
  );

  const vm: VmId = parseVmId('vm-ffffffffffff');
  const clone: Made = { vm, disk: parseDiskId('disk-ffffffffffff'), port: 30_500 };
  const order = { term: 1, vm, sizeBytes: 8 << 20, source: { kind: 'image', artifact: sha256, format: 'raw' } };
  await call('PUT', `/v1/disks/${clone.disk}`, order);
  await call('PUT', `/v1/disks/${clone.disk}`, order);
  await assert.rejects(call('DELETE', `/v1/artifacts/${sha256}?term=1`), coded('conflict'));
  await grant(clone, 1);
  const byte = content[4096 * 5] ?? 0;
  assert.ok(await lab.io({ ...clone, generation: g(1) }, `read -P ${byte} ${4096 * 5} 1`));
  assert.ok(await lab.io({ ...clone, generation: g(1) }, 'write -P 5 0 1M'));
  assert.ok(
    (await readFile(join(lab.dir, 'pool', 'artifacts', sha256))).equals(content),
    'the image itself is untouched',
  );
  await call('POST', `/v1/disks/${clone.disk}/resize`, { term: 1, sizeBytes: 16 << 20 });
  assert.ok(await lab.io({ ...clone, generation: g(1) }, 'write -P 6 15M 1M'));
  await assert.rejects(
    call('POST', `/v1/disks/${clone.disk}/resize`, { term: 1, sizeBytes: 1 << 20 }),
    coded('conflict'),
  );
  await assert.rejects(call('DELETE', `/v1/disks/${clone.disk}?term=1`), coded('conflict'));
  await fence(clone, 2);
  await call('POST', `/v1/disks/${clone.disk}/resize`, { term: 1, sizeBytes: 32 << 20 });
  await call('DELETE', `/v1/disks/${clone.disk}?term=1`);
  await call('DELETE', `/v1/disks/${clone.disk}?term=1`);
  assert.ok(!lab.daemons().some(({ disk }) => disk === clone.disk));
  await call('DELETE', `/v1/artifacts/${sha256}?term=1`);
});

test('seeds are served read only, and a daemon is confined to its own disk where we are root', async () => {
  const { vm } = await newDisk();
  const disk = parseDiskId('disk-eeeeeeeeeeee');
  const port = 30_600;
  const content = Buffer.alloc(1000, 4);
  const artifact = createHash('sha256').update(content).digest('hex');
  await lab.control.upload({
    method: 'PUT',
    path: `/v1/artifacts/${artifact}?kind=seed`,
    stream: Readable.from([content]),
    sizeBytes: content.length,
    deadlineMs: 20_000,
    signal: AbortSignal.timeout(20_000),
    parse: anything,
  });
  await call('PUT', `/v1/disks/${disk}`, { term: 1, vm, sizeBytes: 0, source: { kind: 'content', artifact } });
  await call('POST', '/v1/grant', { term: 1, vm, generation: 1, disks: [{ disk, port, readOnly: true }] });
  assert.ok(await lab.io({ vm, generation: g(1), port, readOnly: true }, 'read -P 4 0 1000'));
  assert.ok(!(await lab.io({ vm, generation: g(1), port }, 'write 0 512')));
  const { pid } = lab.daemonOf(disk);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  if (process.getuid?.() !== 0 || !lab.log.every((line) => !line.includes('as our own user'))) return;
  assert.match(status, /^Uid:\s+700600\s+700600/m);
  assert.equal((await stat(join(lab.dir, 'pool', 'disks', disk))).mode & 0o777, 0o700);
});

test('unknown needs, bad values and relays to other ports are refused', async () => {
  const one = await newDisk();
  await assert.rejects(
    call('POST', '/v1/fence', { term: 1, vm: one.vm, below: 2, disks: [], needs: ['more'] }),
    coded('unsupported'),
  );
  await assert.rejects(grant({ ...one, port: 22 }, 1), coded('bad-input'));
  await assert.rejects(
    lab.control.connectThrough({ address: lab.address, port: 2379 }, { deadlineMs: 20_000 }),
    coded('forbidden'),
  );
  await assert.rejects(
    lab.control.connectThrough({ address: lab.address, port: 21_000 }, { deadlineMs: 20_000 }),
    coded('unavailable'),
  );
  const probe = (port: number) => call('POST', '/v1/probe', { address: lab.address, port, deadlineMs: 1_000 });
  assert.deepEqual(await probe(2379), { outcome: 'accepted', lateMs: 0 });
  assert.deepEqual(await probe(1), { outcome: 'refused', lateMs: 0 });
});

test('whatever lies in the pool, the service starts, serves every other disk, and says what it does not serve', async () => {
  const [good, broken, empty, linked] = [await newDisk(), await newDisk(), await newDisk(), await newDisk()];
  for (const each of [good, broken]) {
    await lab.putVm(each.vm, { generation: 1, phase: running(1), disk: each.disk });
    await grant(each, 1);
  }
  await lab.stopService('SIGTERM');
  const pool = join(lab.dir, 'pool');
  await writeFile(join(pool, 'disks', broken.disk, 'disk.json'), '{"vm":');
  await truncate(join(pool, 'disks', empty.disk, 'disk.qcow2'), 0);
  await rename(join(pool, 'disks', linked.disk, 'disk.qcow2'), join(pool, 'disks', linked.disk, 'elsewhere'));
  await symlink('elsewhere', join(pool, 'disks', linked.disk, 'disk.qcow2'));
  await mkdir(join(pool, 'disks', 'lost+found'));
  await mkdir(join(pool, 'disks', 'disk-0000000000f0'));
  await mkdir(join(pool, 'shared', 'disk-0000000000f1'));
  await run(['mkfifo', join(pool, 'shared', 'disk-0000000000f1', 'disk.json')], { deadlineMs: 5_000 });
  await writeFile(join(pool, 'shared', 'notes.txt'), 'x');
  await symlink('/etc/passwd', join(pool, 'artifacts', 'f'.repeat(64)));
  await writeFile(join(pool, 'artifacts', 'README'), 'x');
  await lab.startService({ restored: false });
  await until('the disk that is right', async () => (await grantsOf(good.disk)).includes(1));
  assert.ok(await lab.io({ vm: good.vm, generation: g(1), port: good.port }, 'read 0 512'));
  assert.ok(!lab.daemons().some(({ disk }) => disk === broken.disk), 'whose it is cannot be known: it is ended');
  await assert.rejects(grant(broken, 1), coded('failed'));
  await assert.rejects(grant(empty, 1), coded('failed'));
  await assert.rejects(grant(linked, 1), coded('failed'));
  let told = '';
  await until('the faults', async () => {
    const report = await call('GET', '/v1/report');
    told = isRecord(report) ? JSON.stringify(report['faults']) : '';
    return told.includes(broken.disk);
  });
  for (const name of [empty.disk, linked.disk, 'lost+found', 'disk-0000000000f0', 'disk-0000000000f1', 'notes.txt'])
    assert.ok(told.includes(name), `${name} in ${told}`);
  for (const name of ['README', 'f'.repeat(64)]) assert.ok(told.includes(name), `${name} in ${told}`);
  const again = await newDisk();
  await grant(again, 1);
});

test('SIGTERM ends the service within two seconds with status 0 and leaves the daemons', async () => {
  const count = lab.daemons().length;
  const startedMs = monotonicMs();
  assert.equal(await lab.stopService('SIGTERM'), 0);
  assert.ok(monotonicMs() - startedMs < 2_000);
  assert.equal(lab.daemons().length, count);
  assert.ok(count > 0);
});
