import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { makeSeedIso } from './seed-iso.ts';

const SECTOR = 2048;

/** A reader written from ECMA-119 and the Joliet specification, sharing nothing with the writer. */
function readIso(image: Uint8Array, joliet: boolean): { label: string; sectors: number; files: Map<string, Buffer> } {
  const bytes = Buffer.from(image);
  for (let sector = 16; ; sector += 1) {
    const descriptor = bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR);
    assert.equal(descriptor.toString('latin1', 1, 6), 'CD001');
    assert.notEqual(descriptor[0], 255, 'the descriptor comes before the terminator');
    if (descriptor[0] !== (joliet ? 2 : 1)) continue;
    const text = (part: Buffer) => (joliet ? Buffer.from(part).swap16().toString('utf16le') : part.toString('latin1'));
    const rootRecord = descriptor.subarray(156, 190);
    assert.equal(rootRecord.readUInt32LE(2), rootRecord.readUInt32BE(6));
    const rootAt = rootRecord.readUInt32LE(2) * SECTOR;
    assert.equal(bytes.readUInt32LE(descriptor.readUInt32LE(140) * SECTOR + 2) * SECTOR, rootAt, 'path table, little');
    assert.equal(bytes.readUInt32BE(descriptor.readUInt32BE(148) * SECTOR + 2) * SECTOR, rootAt, 'path table, big');
    const files = new Map<string, Buffer>();
    for (let at = rootAt; (bytes[at] ?? 0) > 0; at += bytes[at] ?? 0) {
      if (((bytes[at + 25] ?? 0) & 2) !== 0) continue;
      const start = bytes.readUInt32LE(at + 2) * SECTOR;
      const sizeBytes = bytes.readUInt32LE(at + 10);
      assert.equal(bytes.readUInt32BE(at + 14), sizeBytes);
      files.set(
        text(bytes.subarray(at + 33, at + 33 + (bytes[at + 32] ?? 0))),
        bytes.subarray(start, start + sizeBytes),
      );
    }
    return { label: text(descriptor.subarray(40, 72)).trim(), sectors: descriptor.readUInt32LE(80), files };
  }
}

describe('makeSeedIso', () => {
  test('holds the files under their own names in the Joliet tree', () => {
    const image = makeSeedIso({
      volumeLabel: 'CIDATA',
      files: [
        { name: 'user-data', content: '#cloud-config\nhostname: größe-😀\n' },
        { name: 'meta-data', content: 'instance-id: a\n' },
        { name: 'network-config', content: new Uint8Array(5000).fill(65) },
      ],
    });
    const { label, sectors, files } = readIso(image, true);
    assert.equal(label, 'CIDATA');
    assert.equal(sectors * SECTOR, image.length);
    assert.deepEqual([...files.keys()], ['meta-data', 'network-config', 'user-data']);
    assert.equal(files.get('user-data')?.toString('utf8'), '#cloud-config\nhostname: größe-😀\n');
    assert.equal(files.get('network-config')?.length, 5000);
  });

  test('the primary tree has the same contents under short names', () => {
    const image = makeSeedIso({
      volumeLabel: 'CIDATA',
      files: [
        { name: 'user-data', content: 'x' },
        { name: 'user-data2', content: 'y' },
      ],
    });
    const { label, files } = readIso(image, false);
    assert.equal(label, 'CIDATA');
    assert.deepEqual(
      [...files].map(([name, content]) => `${name}=${content}`),
      ['USER_D00.;1=x', 'USER_D01.;1=y'],
    );
  });

  test('any contents come back, empty ones and sector edges included', () => {
    const contents = fc.array(
      fc.oneof(fc.uint8Array({ maxLength: 5000 }), fc.constantFrom(new Uint8Array(0), new Uint8Array(2048).fill(7))),
      { maxLength: 16 },
    );
    fc.assert(
      fc.property(contents, (list) => {
        const files = list.map((content, index) => ({ name: `File-${index}.x`, content }));
        const read = readIso(makeSeedIso({ volumeLabel: 'L', files }), true).files;
        assert.equal(read.size, files.length);
        for (const { name, content } of files) assert.deepEqual(read.get(name), Buffer.from(content));
      }),
      { seed: 20261120, numRuns: 100 },
    );
  });

  test('limits are asserted', () => {
    const one = { name: 'a', content: '' };
    assert.throws(() => makeSeedIso({ volumeLabel: 'lower', files: [] }), /volume label/);
    assert.throws(() => makeSeedIso({ volumeLabel: 'X', files: [{ name: '../etc', content: '' }] }), /file name/);
    assert.throws(() => makeSeedIso({ volumeLabel: 'X', files: [one, { name: 'A', content: '' }] }), /file name/);
    assert.throws(
      () =>
        makeSeedIso({ volumeLabel: 'X', files: Array.from({ length: 17 }, (_, n) => ({ name: `${n}`, content: '' })) }),
      /16/,
    );
  });
});
