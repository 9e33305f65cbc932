import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { parseImageName, parseSha256, parseStorageName, type Sha256 } from '../../base/ids.ts';
import { vmRecord } from '../plan/testing/sample-records.ts';
import { vmChange } from './basis.ts';
import { createImage, deleteImage, demandNewImage, imageOf, recordImageNodes, type StoredFiles } from './images.ts';
import { RecordWorld } from './testing/record-world.ts';

const MIB = 1024 ** 2;
const ANY = { ifMatch: null };
const sha = (digit: string): Sha256 => parseSha256(digit.repeat(64));
const [S1, S2] = [parseStorageName('s1'), parseStorageName('s2')];

/** Uploaded: a qcow2 disk `a`, a kernel `b`, an initial RAM disk `c`; s1 has all, s2 the disk only. */
const FILES: StoredFiles = {
  demand: (sha256, what) => {
    const kind = ({ a: 'disk-qcow2', b: 'kernel', c: 'initrd' } as const)[sha256[0] as 'a'];
    if (kind === undefined) throw new CodedError('not-found', `The ${what} file was not uploaded.`);
    const virtualSizeBytes = kind === 'disk-qcow2' ? 64 * MIB : null;
    return { info: { sha256: parseSha256(sha256), sizeBytes: MIB, virtualSizeBytes }, kind };
  },
  nodesWith: (files) => (files.every((file) => file === sha('a')) ? [S1, S2] : files.includes(sha('d')) ? [] : [S1]),
};
const DISK = { disk: { sha256: sha('a'), format: 'qcow2' } } as const;

test('an image records its files as they were found, and defaults that its guest can boot with', () => {
  const basis = new RecordWorld().basis();
  const direct = { kernel: sha('b'), initrd: sha('c'), append: 'quiet' };
  assert.deepEqual(imageOf(basis, 'linux', { ...DISK, direct, minMemoryBytes: 1024 * MIB }, FILES), {
    name: 'linux',
    disk: { sha256: sha('a'), sizeBytes: MIB, format: 'qcow2', virtualSizeBytes: 64 * MIB },
    direct: {
      kernel: { sha256: sha('b'), sizeBytes: MIB },
      initrd: { sha256: sha('c'), sizeBytes: MIB },
      append: 'quiet',
    },
    defaults: { memoryBytes: 1024 * MIB, vcpus: 1, blankDiskBytes: null },
    minMemoryBytes: 1024 * MIB,
    nodes: [S1],
    createdAt: basis.now,
  });
  assert.deepEqual(imageOf(basis, 'disk', DISK, FILES).nodes, [S1, S2]);
});

test('an image without files, with a wrong format, or with less memory than its guest needs is refused', () => {
  const basis = new RecordWorld().basis();
  const rows = [
    [{}, 'bad-input', /neither a disk nor a kernel/],
    [{ disk: { sha256: sha('a'), format: 'raw' } }, 'bad-image', /is raw, and its file is qcow2/],
    [{ direct: { kernel: sha('f') } }, 'not-found', /not uploaded/],
    [{ ...DISK, minMemoryBytes: 2 * MIB, defaults: { memoryBytes: MIB } }, 'bad-input', /less memory than it says/],
    [{ direct: { kernel: sha('b'), append: 'é'.repeat(2_000) } }, 'bad-input', /command line/],
  ] as const;
  for (const [request, code, message] of rows)
    assert.throws(() => imageOf(basis, 'linux', request, FILES), { code, message });
  const nowhere = { ...FILES, nodesWith: () => [] };
  assert.throws(() => imageOf(basis, 'linux', DISK, nowhere), { code: 'unavailable', advice: /Upload them again/ });
});

test('a name is taken once; an image that a VM was made from stays', () => {
  const world = new RecordWorld();
  const image = imageOf(world.basis(), 'linux', DISK, FILES);
  world.take(createImage(world.basis(), image));
  assert.throws(() => createImage(world.basis(), image), { code: 'exists' });
  assert.throws(() => demandNewImage(world.basis().records, 'linux'), { code: 'exists' });
  const vm = vmRecord({ kind: 'stopped' });
  world.apply([vmChange({ ...vm, spec: { ...vm.spec, image: image.name } })]);
  assert.throws(() => deleteImage(world.basis(), 'linux', ANY), { code: 'conflict', message: /is used by web/ });
  world.apply([vmChange(vm)]);
  assert.throws(() => deleteImage(world.basis(), 'linux', { ifMatch: '"9"' }), { code: 'stale-revision' });
  world.unreadable.set('/gp/vm/vm-00000000000f', 'is not JSON');
  assert.throws(() => deleteImage(world.basis(), 'linux', ANY), { code: 'conflict', message: /is not known/ });
  world.unreadable.clear();
  assert.deepEqual(world.take(deleteImage(world.basis(), 'linux', ANY)), image);
  assert.throws(() => deleteImage(world.basis(), 'linux', ANY), { code: 'not-found' });
});

test('the nodes of an image: those that got its files join, those that were lost leave, and mostly nothing changes', () => {
  const world = new RecordWorld();
  world.apply(world.storageNodes(['s1', 's2']));
  const name = parseImageName('linux');
  world.take(createImage(world.basis(), { ...imageOf(world.basis(), name, DISK, FILES), nodes: [S1] }));
  const record = (...nodes: readonly (typeof S1)[]) => recordImageNodes(world.basis(), name, () => nodes);
  assert.deepEqual(record(S1).changes, []);
  world.take(record(S2));
  assert.deepEqual(world.basis().records.images.get(name)?.value.nodes, [S1, S2]);
  const lost = world.basis().records.storage.get(S1)?.value;
  assert.ok(lost !== undefined);
  world.apply([{ kind: 'storage', id: S1, value: { ...lost, lost: { at: 1, by: 'anna' } } }]);
  world.take(record());
  assert.deepEqual(world.basis().records.images.get(name)?.value.nodes, [S2]);
  assert.deepEqual(recordImageNodes(world.basis(), parseImageName('gone'), () => [S1]).changes, []);
});
