import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { DataCount, SparseWriter } from './sparse-file.ts';

const KIB = 1024;

async function written(
  chunks: readonly Buffer[],
): Promise<{ content: Buffer; allocatedBytes: number; count: DataCount }> {
  const dir = await mkdtemp(join(tmpdir(), 'sparse-'));
  const path = join(dir, 'file');
  const file = await open(path, 'wx');
  try {
    const writer = new SparseWriter(file);
    for (const chunk of chunks) await writer.write(chunk);
    await writer.finish();
    return { content: await readFile(path), allocatedBytes: (await stat(path)).blocks * 512, count: writer.count };
  } finally {
    await file.close();
    await rm(dir, { recursive: true });
  }
}

test('whatever the chunks, the content is the same', async () => {
  const piece = fc.record({ zero: fc.boolean(), bytes: fc.integer({ min: 1, max: 150 * KIB }) });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      const chunks = pieces.map(({ zero, bytes }, i) => Buffer.alloc(bytes, zero ? 0 : i + 1));
      const { content, count } = await written(chunks);
      assert.ok(content.equals(Buffer.concat(chunks)));
      assert.equal(count.sizeBytes, content.length);
      const whole = new DataCount();
      whole.add(Buffer.concat(chunks));
      assert.equal(count.dataBytes, whole.dataBytes, 'the count does not depend on the chunks');
    }),
    { seed: 20_261_130, numRuns: 60 },
  );
});

test('zeroes take no room, at the end neither, and what is counted is enough', async () => {
  const hole = Buffer.alloc(8 * 1024 * KIB);
  const data = Buffer.alloc(100 * KIB, 7);
  const { content, allocatedBytes, count } = await written([hole, data, hole, data, hole]);
  assert.equal(content.length, 3 * hole.length + 2 * data.length);
  assert.ok(allocatedBytes <= count.dataBytes, `${allocatedBytes} of ${count.dataBytes}`);
  assert.equal(count.dataBytes, (2 + 3) * 64 * KIB);
  assert.equal((await written([hole])).allocatedBytes, 0);
});
