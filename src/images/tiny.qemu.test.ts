import assert from 'node:assert/strict';
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sleep } from '../base/sleep.ts';
import { systemClock } from '../os/clock.ts';
import { makeSeedIso } from '../wire/iso9660/seed-iso.ts';
import { acknowledgedIn, checkSequence, type SequenceReport } from './sequence-check.ts';
import { captured, type GuestOptions, scoped } from './testing/guest.ts';
import { buildTiny, type TinyImage } from './tiny.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images', import.meta.url));
const DISK_BYTES = 64 * 1024 * 1024;
let dir = '';
let image: TinyImage;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gp-tiny-'));
  image = await buildTiny({ cacheDir: CACHE });
});
after(() => rm(dir, { recursive: true, force: true }));

function guestOptions(words: string, options: { generation?: number; args?: readonly string[] } = {}): GuestOptions {
  const { generation = 7, args = [] } = options;
  const digits = String(generation).padStart(20, '0');
  const boot = ['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', `${image.append} ${words}`];
  return { directory: dir, args: [...boot, '-fw_cfg', `name=opt/groundplane/generation,string=${digits}`, ...args] };
}

async function writeAtStart(path: string, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, 0);
}

async function readStart(path: string, sizeBytes: number): Promise<Buffer> {
  await using file = await open(path);
  const { buffer } = await file.read({ buffer: Buffer.alloc(sizeBytes), position: 0 });
  return buffer;
}

async function newDisk(name: string): Promise<string> {
  const path = join(dir, name);
  await using file = await open(path, 'wx');
  await file.truncate(DISK_BYTES);
  return path;
}

function virtioDisk(path: string): string[] {
  return ['-drive', `file=${path},format=raw,if=none,id=d,cache=none`, '-device', 'virtio-blk-pci,drive=d'];
}

async function check(path: string, ...serialLogs: string[]): Promise<SequenceReport> {
  const file = await open(path);
  try {
    const readAt = async (offset: number, length: number) =>
      (await file.read(new Uint8Array(length), 0, length, offset)).buffer;
    return await checkSequence({ readAt, diskSizeBytes: DISK_BYTES, serialLogs });
  } finally {
    await file.close();
  }
}

describe('buildTiny', () => {
  test('a build in the cache is the answer, without a look at packages', async () => {
    const again = await buildTiny({ cacheDir: CACHE, onProgress: (line) => assert.fail(line) });
    assert.deepEqual(again, image);
    assert.equal((await stat(image.initrdPath)).mode & 0o777, 0o444);
  });

  test('concurrent builders agree and leave nothing beside the build', async () => {
    const cacheDir = join(dir, 'cache');
    const builds = await Promise.all([1, 2, 3].map(() => buildTiny({ cacheDir })));
    assert.equal(new Set(builds.map((build) => build.fingerprint)).size, 1);
    assert.deepEqual(
      (await readdir(cacheDir)).filter((name) => name.startsWith('.')),
      [],
    );
    assert.deepEqual(
      await readFile(builds[0]?.initrdPath ?? ''),
      await readFile(image.initrdPath),
      'same inputs, same bytes',
    );
  });

  test('given up, it leaves nothing half-made', async () => {
    const cacheDir = join(dir, 'given-up');
    const signal = AbortSignal.abort(new Error('enough'));
    await assert.rejects(buildTiny({ cacheDir, signal }), /enough/);
    assert.deepEqual(
      (await readdir(cacheDir)).filter((name) => name !== 'packages'),
      [],
    );
  });
});

describe('the tiny guest', () => {
  test('tells its generation, takes commands, reads a seed image, obeys the power button', async () => {
    const seed = join(dir, 'seed.iso');
    const files = ['user-data', 'meta-data', 'network-config'].map((name) => ({ name, content: `this is ${name}\n` }));
    await writeFile(seed, makeSeedIso({ volumeLabel: 'CIDATA', files }));
    const args = ['-drive', `file=${seed},format=raw,if=none,id=s,readonly=on`, '-device', 'virtio-blk-pci,drive=s'];
    await using guest = scoped(
      guestOptions('gp.hostname=web1 gp.ip=10.9.8.7/24', { args: [...args, '-nic', 'user,model=virtio-net-pci'] }),
    );
    assert.equal(captured(await guest.waitFor(/groundplane-tiny ready generation=(\d+)/)), '7');
    await guest.waitFor(/groundplane-tiny net eth0 10\.9\.8\.7\/24/);
    await guest.waitFor(/tiny# /);
    await guest.ask('hostname', /\nweb1\r/);
    await guest.ask('mount -o ro /dev/vda /mnt && ls /mnt', /meta-data +network-config +user-data/);
    await guest.ask('cat /mnt/network-config', /\nthis is network-config\r/);
    await guest.ask('wget -qO- http://10.9.8.7/cgi-bin/generation', /\nweb1 7\r/);
    await guest.qmp('system_powerdown');
    await guest.waitFor(/groundplane-tiny power button/);
    await guest.exited;
  });

  test('the sequence goes on after a hard stop, under the next generation', async () => {
    const disk = await newDisk('sequence.raw');
    const logs: string[] = [];
    let last = 0;
    for (const generation of [3, 4]) {
      await using guest = scoped(guestOptions('gp.workload=sequence', { generation, args: virtioDisk(disk) }));
      const start = Number(captured(await guest.waitFor(/seq-start (\d+) disk=\/dev\/vda sectors=131072\r/)));
      assert.ok(start === last + 1 || start === last + 2, `goes on at ${start} after ${last}`);
      // Up to the end of the line: a line without it is no acknowledgement, and the guest may be killed between two
      // characters.
      await guest.waitFor(new RegExp(`seq ${start + 20} ${generation}\r\n`));
      await guest.end();
      logs.push(guest.serial);
      last = acknowledgedIn(guest.serial).at(-1)?.sequence ?? 0;
    }
    const report = await check(disk, ...logs);
    assert.equal(
      report.good,
      true,
      JSON.stringify(report, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
    );
    assert.ok(report.counts.acknowledged >= 42);
  });

  test('the sequence runs on a SCSI disk, and never over a disk that holds something else', async () => {
    const disk = await newDisk('scsi.raw');
    const args = [
      '-drive',
      `file=${disk},format=raw,if=none,id=d`,
      '-device',
      'virtio-scsi-pci',
      '-device',
      'scsi-hd,drive=d',
    ];
    {
      await using guest = scoped(guestOptions('gp.workload=sequence gp.rate=100', { args }));
      await guest.waitFor(/seq-start 1 disk=\/dev\/sda/);
      await guest.waitFor(/seq 30 7\r/);
    }
    const others = Buffer.from('a partition table, say');
    await writeAtStart(disk, others);
    await using guest = scoped(guestOptions('gp.workload=sequence', { args }));
    await guest.waitFor(/seq-refused \/dev\/sda holds something else/);
    assert.doesNotMatch(guest.serial, /seq-start/);
    await guest.end();
    assert.deepEqual(await readStart(disk, others.length), others);
  });

  test('a live migration changes the generation under the running guest', async () => {
    const disk = await newDisk('migration.raw');
    const words = 'gp.workload=sequence gp.dirty=16';
    await using source = scoped(guestOptions(words, { generation: 1, args: virtioDisk(disk) }));
    await source.waitFor(/seq 10 1\r/);
    await source.waitFor(/dirty-pass 1/);
    const channel = `unix:${join(dir, 'migration')}`;
    const args = [...virtioDisk(disk), '-incoming', channel];
    await using target = scoped(guestOptions(words, { generation: 2, args }));
    await target.qmp('query-status');
    await source.qmp('migrate', { uri: channel });
    const first = Number(captured(await target.waitFor(/seq (\d+) 2\r/)));
    await target.waitFor(new RegExp(`seq ${first + 20} 2\r`));
    await Promise.all([source.end(), target.end()]);
    const report = await check(disk, source.serial, target.serial);
    assert.equal(report.good, true, JSON.stringify(report.counts));
    assert.ok(report.lastSequence >= first + 20);
  });

  test('the guest agent answers, whoever connects and how often', async () => {
    const path = join(dir, 'agent');
    const chardev = ['-chardev', `socket,path=${path},server=on,wait=off,id=a`];
    const port = ['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=a,name=org.qemu.guest_agent.0'];
    await using guest = scoped(guestOptions('', { args: [...chardev, ...port] }));
    await guest.waitFor(/tiny# /);
    for (const id of [41, 42]) {
      const socket = connect(path);
      socket.setTimeout(20_000, () => socket.destroy(new Error('the agent is silent')));
      socket.write(`\xff{"execute":"guest-sync","arguments":{"id":${id}}}\n{"execute":"guest-ping"}\n`, 'latin1');
      let text = '';
      for await (const chunk of socket.setEncoding('latin1')) {
        text += chunk;
        if (text.includes('{}')) break;
      }
      assert.equal(text, `{"return": ${id}}\n{"return": {}}\n`);
    }
  });

  test('a pause is seen from inside', async () => {
    await using guest = scoped(guestOptions('gp.pause=1'));
    await guest.waitFor(/pause-max \d+\r/);
    await guest.qmp('stop');
    await sleep(systemClock, 600);
    await guest.qmp('cont');
    const from = guest.serial.length;
    const reported = await guest.waitFor(/pause-max \d+\r[\s\S]*pause-max (\d+)\r/, { from });
    const ms = Number(captured(reported));
    assert.ok(ms >= 500 && ms < 5000, `${ms} ms`);
  });
});
