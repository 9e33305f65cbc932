import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { beforeEach, test } from 'node:test';
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { Call } from '../api/call.ts';
import { MIB, sha, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { type RunningStore, storageRecord } from '../testing/records.ts';
import { Artifacts } from './artifacts.ts';
import { ImagesBackend } from './images.ts';
import { StorageNodesBackend } from './storage-nodes.ts';
import { VmsBackend } from './vms.ts';

const CALL: Call = { principal: { name: 'test' }, signal: new AbortController().signal };
const etcd = etcdOfFile();
let running: RunningStore;
let backend: TestBackend;
let artifacts: Artifacts;
let images: ImagesBackend;
/** The files that each node was sent. */
let received: Map<string, Buffer>;

beforeEach(async () => {
  running = await etcd.follow();
  backend = await startBackend(running);
  await running.store.transact([{ key: '/gp/storage/s2', value: storageRecord('s2'), expect: null }], null);
  backend.world.storage.set('s2', { freeBytes: 2 ** 30, artifacts: new Set() });
  received = new Map();
  backend.world.takeUpload = async (node, body) => {
    const chunks: Buffer[] = [];
    for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
    received.set(node, Buffer.concat(chunks));
  };
  artifacts = new Artifacts(backend.context);
  images = new ImagesBackend(backend.context, artifacts);
});

/** Uploads `content` in pieces of `piece` bytes. */
async function upload(content: Buffer, kind: 'disk' | 'kernel' | 'initrd' = 'disk', piece = 64 * 1024) {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const pieces = Array.from({ length: Math.ceil(content.length / piece) }, (_, index) =>
    content.subarray(index * piece, (index + 1) * piece),
  );
  const body = Readable.from(pieces, { objectMode: false });
  return artifacts.put({ sha256, kind, sizeBytes: content.length, dataBytes: content.length, body }, CALL);
}

test('a file reaches every node whole, however it is cut', async () => {
  for (const [sizeBytes, piece] of [
    [3, 1],
    [4, 4],
    [1_000_000, 1_000],
    [5_000_000, 65_536],
    [100, 3],
  ] as const) {
    const content = randomBytes(sizeBytes);
    const { nodes } = await upload(content, 'disk', piece);
    assert.deepEqual(nodes, ['s1', 's2']);
    for (const node of nodes) assert.ok(received.get(node)?.equals(content), `${sizeBytes} in pieces of ${piece}`);
  }
});

test('one node that fails does not keep the other from it, and is not said to have it', {
  timeout: 20_000,
}, async () => {
  const { takeUpload } = backend.world;
  backend.world.takeUpload = async (node, body, sizeBytes) => {
    if (node !== 's1') return takeUpload(node, body, sizeBytes);
    for await (const _ of body) throw new CodedError('unavailable', 's1 went away.');
  };
  const content = randomBytes(3_000_000);
  const { nodes, sha256 } = await upload(content);
  assert.deepEqual(nodes, ['s2']);
  assert.ok(received.get('s2')?.equals(content));
  const { nodes: named } = await images.put('web', { disk: { sha256, format: 'raw' } });
  assert.deepEqual(named, ['s2']);
  assert.deepEqual(artifacts.get(sha256).nodes, ['s2']);
});

test('when every node refuses, the refusal about the file is the one that is told', { timeout: 20_000 }, async () => {
  backend.world.takeUpload = async (node) => {
    throw node === 's1' ? new CodedError('unavailable', 'gone') : new CodedError('bad-image', 'This is no disk image.');
  };
  await assert.rejects(upload(randomBytes(500_000)), { code: 'bad-image' });
  backend.world.storage.clear();
  await assert.rejects(upload(randomBytes(10)), /No storage node in service answers/);
});

test('qcow2 is known by its first bytes, and an image whose format is said otherwise is refused', async () => {
  const qcow2 = Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), randomBytes(1_000)]);
  const { sha256 } = await upload(qcow2, 'disk', 1);
  await assert.rejects(images.put('a', { disk: { sha256, format: 'raw' } }), /is raw, and its file is qcow2/);
  assert.equal((await images.put('a', { disk: { sha256, format: 'qcow2' } })).disk?.format, 'qcow2');
  const raw = await upload(randomBytes(1_000));
  const other = { disk: { sha256: raw.sha256, format: 'qcow2' } } as const;
  await assert.rejects(images.put('b', other), { code: 'bad-image' });
  assert.throws(() => images.get('b'), { code: 'not-found' });
});

test('an image names files that are there; its files go with the last image that names them', async () => {
  const disk = await upload(randomBytes(1_000));
  const kernel = await upload(randomBytes(1_000), 'kernel');
  const request = { disk: { sha256: disk.sha256, format: 'raw' as const } };
  await assert.rejects(images.put('none', {}), { code: 'bad-input' });
  await assert.rejects(images.put('none', { disk: { sha256: 'f'.repeat(64), format: 'raw' } }), { code: 'not-found' });
  await images.put('one', { ...request, direct: { kernel: kernel.sha256 } });
  await assert.rejects(images.put('one', request), { code: 'exists' });
  await images.put('two', request);
  await assert.rejects(images.delete('one', { ifMatch: '1' }), { code: 'stale-revision' });
  await images.delete('one', { ifMatch: null });
  assert.equal(backend.world.deletedFiles.length, 2, 'the kernel, on both nodes');
  await images.delete('two', { ifMatch: null });
  assert.equal(backend.world.deletedFiles.length, 4);
});

test('the least memory is kept, shown, and never more than VMs get by default', async () => {
  const { sha256 } = await upload(randomBytes(1_000), 'kernel');
  const request = { direct: { kernel: sha256 } };
  assert.equal((await images.put('plain', request)).minMemoryBytes, null);
  const least = 1024 * MIB;
  assert.deepEqual((await images.put('large', { ...request, minMemoryBytes: least })).defaults.memoryBytes, least);
  assert.equal(images.get('large').minMemoryBytes, least);
  const defaults = { memoryBytes: 64 * MIB };
  await assert.rejects(images.put('odd', { ...request, defaults, minMemoryBytes: 96 * MIB }), { code: 'bad-input' });
});

test('a name that is taken is refused before anything is looked at', async () => {
  const { sha256 } = await upload(randomBytes(1_000));
  await images.put('web', { disk: { sha256, format: 'raw' } });
  await assert.rejects(images.put('web', { disk: { sha256: 'f'.repeat(64), format: 'raw' } }), { code: 'exists' });
});

const MINUTE_MS = 60_000;
const keep = () => backend.files().round();

test('what nothing names for ten minutes goes; what is named, asked for or sent meanwhile stays', async () => {
  const { world } = backend;
  world.nowMs = 0;
  const stray = sha('9');
  backend.world.storage.get('s2')?.artifacts.add(stray);
  const named = await upload(randomBytes(1_000), 'kernel');
  await images.put('web', { direct: { kernel: named.sha256 } });
  const asked = await upload(randomBytes(1_000));
  const sent = await upload(Buffer.from('sent twice'));
  assert.deepEqual((await keep()).deleted, [], 'seen for the first time');
  world.nowMs = 9 * MINUTE_MS;
  artifacts.get(asked.sha256);
  await upload(Buffer.from('sent twice'));
  assert.deepEqual((await keep()).deleted, []);
  world.nowMs = 10 * MINUTE_MS;
  assert.deepEqual((await keep()).deleted, [stray]);
  assert.equal(backend.world.storage.get('s2')?.artifacts.has(stray), false);
  world.nowMs = 19 * MINUTE_MS;
  assert.deepEqual([...(await keep()).deleted].sort(), [asked.sha256, sent.sha256].sort());
  await assert.rejects(images.put('late', { disk: { sha256: sent.sha256, format: 'raw' } }), { code: 'not-found' });
  world.nowMs = 1_000 * MINUTE_MS;
  assert.deepEqual((await keep()).deleted, [], 'what an image names');
  await images.delete('web', { ifMatch: null });
  assert.deepEqual(backend.world.storage.get('s1')?.artifacts.size, 0);
});

test('another reign begins to count anew', async () => {
  const { world } = backend;
  world.nowMs = 0;
  backend.world.storage.get('s1')?.artifacts.add(sha('9'));
  await keep();
  world.nowMs = 20 * MINUTE_MS;
  world.leads = false;
  assert.throws(() => artifacts.get(sha('9')), { code: 'unavailable', message: /does not lead/ });
  world.leads = true;
  backend.elect();
  assert.deepEqual((await keep()).deleted, []);
  world.nowMs = 30 * MINUTE_MS;
  assert.deepEqual((await keep()).deleted, [sha('9')]);
});

test('a file is deleted by itself only where nothing names it and nobody sends it', async () => {
  const content = randomBytes(1_000);
  const { sha256 } = await upload(content, 'kernel');
  await images.put('web', { direct: { kernel: sha256 } });
  await assert.rejects(artifacts.delete(sha256), /names it/);
  const gate = Promise.withResolvers<void>();
  const { takeUpload } = backend.world;
  backend.world.takeUpload = async (node, body, sizeBytes) => {
    await gate.promise;
    return takeUpload(node, body, sizeBytes);
  };
  const again = upload(content, 'kernel');
  await images.delete('web', { ifMatch: null });
  assert.deepEqual(backend.world.deletedFiles, [], 'it is being sent');
  await assert.rejects(artifacts.delete(sha256), { code: 'conflict', message: /being sent/ });
  gate.resolve();
  await again;
  await artifacts.delete(sha256);
  await assert.rejects(artifacts.delete(sha256), { code: 'not-found' });
  await assert.rejects(images.put('web', { direct: { kernel: sha256 } }), { code: 'not-found' });
});

/** Downloads from the nodes of `contents`, as the storage services would answer them. */
function serve(contents: ReadonlyMap<string, Buffer>): void {
  backend.context.storage.openArtifact = async (node, sha256) => {
    const content = contents.get(sha256);
    if (content === undefined || !backend.world.storage.has(node))
      throw new CodedError('unavailable', `${node} is away.`);
    return Readable.from([content], { objectMode: false });
  };
}

test('a node that was away gets the files of every image, and is then one of its nodes', async () => {
  const { world } = backend;
  world.nowMs = 0;
  const away = backend.world.storage.get('s2');
  backend.world.storage.delete('s2');
  const [disk, kernel] = [randomBytes(5_000), randomBytes(3_000)];
  const request = {
    disk: { sha256: (await upload(disk)).sha256, format: 'raw' as const },
    direct: { kernel: (await upload(kernel, 'kernel')).sha256 },
  };
  assert.deepEqual((await images.put('web', request)).nodes, ['s1']);
  const { copied } = await keep();
  assert.deepEqual(copied, []);
  if (away !== undefined) backend.world.storage.set('s2', away);
  serve(new Map([[request.direct.kernel, kernel]]));
  const first = await keep();
  assert.deepEqual([first.copied.length, first.failed.length], [1, 1]);
  assert.match(first.failed[0] ?? '', /web [0-9a-f]{12} to s2: .*away/);
  assert.deepEqual(images.get('web').nodes, ['s1'], 'not before it has all');
  serve(new Map([[request.disk.sha256, disk]]));
  assert.deepEqual(await keep(), { deleted: [], copied: [], failed: [] }, 'not again at once');
  world.nowMs = 10 * MINUTE_MS;
  assert.equal((await keep()).copied.length, 1);
  assert.ok(received.get('s2')?.equals(disk));
  assert.deepEqual(images.get('web').nodes, ['s1', 's2']);
  assert.deepEqual(await keep(), { deleted: [], copied: [], failed: [] });
});

test('a node that was declared lost is none of the nodes of an image any more, and another node gets a copy', async () => {
  const away = present(backend.world.storage.get('s1'), 's1');
  const content = randomBytes(4_096);
  backend.world.storage.delete('s2');
  const { sha256 } = await upload(content);
  await images.put('web', { disk: { sha256, format: 'raw' } });
  backend.world.storage.delete('s1');
  backend.world.storage.set('s2', { freeBytes: away.freeBytes, artifacts: new Set() });
  await new StorageNodesBackend(backend.context).delete(
    's1',
    { ifMatch: null, lost: true, confirmed: true },
    { principal: { name: 'anna' } },
  );
  await keep();
  assert.deepEqual(images.get('web').nodes, [], 'the only copy is lost');
  await upload(content);
  await keep();
  assert.deepEqual(images.get('web').nodes, ['s2']);
});

test('an image in use stays, and so do files that a disk is still to be cloned from', async () => {
  const { sha256 } = await upload(randomBytes(4_096));
  await images.put('base', { disk: { sha256, format: 'raw' } });
  await images.put('extra', { disk: { sha256, format: 'raw' } });
  const vms = new VmsBackend(backend.context);
  await vms.create({ name: 'vm1', image: 'base', start: false, disks: [{ image: 'extra' }] });
  await assert.rejects(images.delete('base', { ifMatch: null }), /used by vm1/);
  await images.delete('extra', { ifMatch: null });
  assert.deepEqual(backend.world.deletedFiles, []);
});
