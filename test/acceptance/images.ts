/**
 * Images: what is imported boots, by BIOS and by UEFI, as a thin clone; what cannot be used is refused and leaves
 * nothing.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import type { Image } from '../../src/api/views.ts';
import { clientTls } from '../../src/client/client.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { run } from '../../src/os/child-process.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { ask } from './api.ts';
import { type Case, deleteVms, gp, gpJson, until, untilSaid, vmOf } from './case.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 8 * MIB;
const TOOL_MS = 30_000;

/**
 * A disk whose boot sector prints `text` on the first serial port and halts; the rest is noise, which no format makes
 * smaller.
 */
function bootDisk(text: string): Buffer {
  const program = Buffer.from(
    // xor ax,ax; mov ds,ax; mov si,0x7c22; cld; next: lodsb; test al,al; jz halt; mov ah,al; mov dx,0x3fd; busy: in
    // al,dx; test al,0x20; jz busy; mov al,ah; mov dx,0x3f8; out dx,al; jmp next; halt: hlt; jmp halt
    '31c08ed8be227cfcac84c0741288c4bafd03eca82074fb88e0baf803eeebe9f4ebfd',
    'hex',
  );
  const disk = randomBytes(DISK_BYTES);
  disk.fill(0, 0, 512);
  program.copy(disk, 0);
  disk.write(`${text}\r\n\0`, program.length, 'latin1');
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

/** Every path in the storage node's pool. */
export async function poolOf(cluster: StoryCluster): Promise<readonly string[]> {
  return (await readdir(labLayout(cluster.dir).machine('s1').poolDir, { recursive: true })).sort();
}

const imported: Case = {
  name: 'a raw and a qcow2 disk boot by BIOS, as thin clones',
  async run(cluster) {
    const raw = join(cluster.dir, 'boot.raw');
    const qcow2 = join(cluster.dir, 'boot.qcow2');
    const before = await poolOf(cluster);
    await writeFile(raw, bootDisk('booted from the disk'));
    await run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2], { deadlineMs: TOOL_MS });
    for (const [name, file] of [
      ['boot-raw', raw],
      ['boot-qcow2', qcow2],
    ] as const) {
      await gp(cluster, ['image', 'import', name, file]);
      const { disk } = await gpJson<Image>(cluster, ['image', 'show', name]);
      assert.deepEqual([disk?.format, disk?.virtualSizeBytes], [name.slice(5), DISK_BYTES]);
      await gp(cluster, ['vm', 'create', name, '--image', name, '--memory', '32M']);
      await untilSaid(cluster, name, /booted from the disk/);
      const id = (await vmOf(cluster, name)).disks[0]?.id ?? '';
      const clone = await stat(join(labLayout(cluster.dir).machine('s1').poolDir, 'disks', id, 'disk.qcow2'));
      assert.ok(clone.blocks * 512 < MIB, `the clone of 8 MiB takes ${clone.blocks * 512} bytes`);
      const { stderr } = await gp(cluster, ['image', 'delete', name], 5);
      assert.match(stderr, /is used by .*Nothing was deleted/s);
      await deleteVms(cluster, [name]);
      await gp(cluster, ['image', 'delete', name]);
    }
    assert.deepEqual(await poolOf(cluster), before);
    await Promise.all([raw, qcow2].map((file) => rm(file)));
  },
};

const uefi: Case = {
  name: 'firmware uefi runs OVMF with variables of its own',
  async run(cluster) {
    await gp(cluster, ['vm', 'create', 'efi', '--disk', '8M', '--firmware', 'uefi', '--memory', '128M']);
    await untilSaid(cluster, 'efi', /BdsDxe|UEFI Interactive Shell/);
    const { disks } = await vmOf(cluster, 'efi');
    assert.deepEqual(disks.map(({ role }) => role).sort(), ['data', 'nvram']);
    await deleteVms(cluster, ['efi']);
  },
};

async function makeRefused(dir: string): Promise<readonly (readonly [file: string, message: RegExp])[]> {
  const at = (name: string): string => join(dir, name);
  const create = (...words: readonly string[]): Promise<unknown> =>
    run(['qemu-img', 'create', '-q', '-f', 'qcow2', ...words], { deadlineMs: TOOL_MS });
  await create(at('broken.qcow2'), '1M');
  await run(['dd', 'if=/dev/urandom', `of=${at('broken.qcow2')}`, 'bs=64k', 'seek=3', 'count=1', 'conv=notrunc'], {
    deadlineMs: TOOL_MS,
  });
  await create('-b', '/etc/passwd', '-F', 'raw', at('backing.qcow2'), '1M');
  await create('-o', `data_file=${at('outside.raw')}`, at('outside.qcow2'), '1M');
  await writeFile(at('text.img'), 'This is a letter, not a disk.\n'.repeat(200));
  await writeFile(at('cut.raw'), Buffer.alloc(1_000));
  await writeFile(at('empty.raw'), '');
  await writeFile(at('short.qcow2'), Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'));
  return [
    ['broken.qcow2', /is a damaged qcow2 image/],
    ['backing.qcow2', /refers to a backing file/],
    ['outside.qcow2', /keeps its data in another file/],
    ['text.img', /is a text, not a disk/],
    ['cut.raw', /no whole number of 512-byte sectors/],
    ['empty.raw', /empty/],
    ['short.qcow2', /cut short/],
    ['no-such-file', /no-such-file/],
  ];
}

/** The same files sent by hand, without the checks of the command. */
async function refusedByStorage(cluster: StoryCluster, file: string, content: Buffer): Promise<void> {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const answer = await ask(cluster.target, { method: 'PUT', path: `/v1/artifacts/${sha256}?kind=disk`, body: content });
  assert.equal(answer.status, 422, `${file}: ${answer.text}`);
  assert.equal(answer.problem?.code, 'bad-image');
  const named = { disk: { sha256, format: 'qcow2' } };
  const put = await ask(cluster.target, { method: 'PUT', path: '/v1/images/bad', json: named });
  assert.equal(put.status, 404, `${file}: ${put.text}`);
}

/** A file that was sent as a kernel was not inspected as a disk, so it may not become one. */
async function refusedAsDisk(cluster: StoryCluster, content: Buffer): Promise<void> {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const path = `/v1/artifacts/${sha256}?kind=kernel`;
  assert.equal((await ask(cluster.target, { method: 'PUT', path, body: content })).status, 201);
  const named = { disk: { sha256, format: 'raw' } };
  const put = await ask(cluster.target, { method: 'PUT', path: '/v1/images/bad', json: named });
  assert.equal(put.status, 400, put.text);
  // A separate image, so that the file can be deleted with it.
  const kernel = { direct: { kernel: sha256 } };
  assert.equal((await ask(cluster.target, { method: 'PUT', path: '/v1/images/odd', json: kernel })).status, 201);
  await gp(cluster, ['image', 'delete', 'odd']);
}

const refused: Case = {
  name: 'what is no usable disk is refused with the reason, by the command and by storage, and leaves nothing',
  async run(cluster) {
    const dir = join(cluster.dir, 'refused');
    await mkdir(dir);
    const before = await poolOf(cluster);
    for (const [file, message] of await makeRefused(dir)) {
      const { stderr } = await gp(cluster, ['image', 'import', 'bad', join(dir, file)], 2);
      assert.match(stderr, message);
      assert.match(stderr, /Nothing was (imported|changed)/);
    }
    for (const file of ['broken.qcow2', 'backing.qcow2', 'outside.qcow2', 'cut.raw', 'short.qcow2'])
      await refusedByStorage(cluster, file, await readFile(join(dir, file)));
    await refusedAsDisk(cluster, await readFile(join(dir, 'backing.qcow2')));
    const images = await gpJson<readonly Image[]>(cluster, ['image', 'list']);
    assert.deepEqual(
      images.map(({ name }) => name),
      ['tiny'],
    );
    assert.deepEqual(await poolOf(cluster), before);
    await rm(dir, { recursive: true });
  },
};

const interrupted: Case = {
  name: 'an import that is cut off leaves nothing in the pool',
  async run(cluster) {
    const before = await poolOf(cluster);
    const content = randomBytes(4 * MIB);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const { apiUrl, caPem, token } = cluster.target;
    const outgoing = request(new URL(`/v1/artifacts/${sha256}?kind=disk`, apiUrl), {
      ...clientTls(caPem),
      agent: false,
      method: 'PUT',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/octet-stream',
        'content-length': String(content.length),
      },
    });
    outgoing.on('error', () => undefined);
    outgoing.write(content.subarray(0, content.length / 2));
    let seen: readonly string[] = [];
    const grown = async (): Promise<true | undefined> => {
      seen = await poolOf(cluster);
      return seen.length > before.length ? true : undefined;
    };
    await until('the upload has begun', grown, { seen: () => seen });
    outgoing.destroy();
    const gone = async (): Promise<true | undefined> => {
      seen = await poolOf(cluster);
      return seen.join() === before.join() ? true : undefined;
    };
    await until('the pool is as before', gone, { deadlineMs: 15_000, seen: () => seen });
    const answer = await ask(cluster.target, { method: 'GET', path: `/v1/artifacts/${sha256}` });
    assert.equal(answer.status, 404);
  },
};

const inVain: Case = {
  name: 'an import that cannot become an image leaves nothing in the pool; an upload of an unknown kind is told how to be sent',
  async run(cluster) {
    const before = await poolOf(cluster);
    const kernel = join(cluster.dir, 'kernel-in-vain');
    const content = randomBytes(MIB);
    await writeFile(kernel, content);
    const taken = await gp(cluster, ['image', 'import', 'tiny', '--kernel', kernel], 5);
    assert.match(taken.stderr, /An image named tiny exists/);
    await gp(cluster, ['image', 'import', 'vain', '--kernel', kernel, '--initrd', `${kernel}-none`], 2);
    assert.deepEqual(await poolOf(cluster), before);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const path = `/v1/artifacts/${sha256}`;
    const untyped = { method: 'PUT', path: `${path}?kind=kernel`, body: content, headers: { 'content-type': '' } };
    const refusal = await ask(cluster.target, untyped);
    assert.equal(refusal.status, 400);
    assert.match(refusal.problem?.advice ?? '', /Content-Type: application\/octet-stream/);
    assert.deepEqual(await poolOf(cluster), before);
    const sent = { method: 'PUT', path: `${path}?kind=kernel`, body: content };
    assert.equal((await ask(cluster.target, sent)).status, 201);
    assert.equal((await ask(cluster.target, { method: 'DELETE', path })).status, 204);
    assert.deepEqual(await poolOf(cluster), before);
    const small = ['vm', 'create', 'small', '--image', 'tiny', '--memory', '64M'];
    assert.match((await gp(cluster, small, 2)).stderr, /does not boot with less than 96 MiB.*Nothing was created/s);
    await rm(kernel);
  },
};

export const images: readonly Case[] = [imported, uefi, refused, interrupted, inVain];
