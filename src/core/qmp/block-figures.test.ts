import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Execute } from '../ports/qmp-dialer.ts';
import { readBlockFigures } from './block-figures.ts';

const answering =
  (answer: unknown): Execute =>
  async <T>() =>
    answer as T;

test('counters are told by the node of the device; what is no count is nothing', async () => {
  const stats = { rd_bytes: 4_096, wr_bytes: 512, rd_operations: 2, wr_operations: 1 };
  const answer = [
    { device: '', qdev: '/machine/peripheral/drive0', 'node-name': 'disk0', stats },
    { device: '', qdev: '/machine/peripheral/drive1', 'node-name': 'disk1', stats: { rd_bytes: -1, wr_bytes: 'x' } },
    { device: '', qdev: '/machine/peripheral/cdrom', stats },
  ];
  assert.deepEqual(await readBlockFigures(answering(answer)), [
    { node: 'disk0', readBytes: 4_096, writtenBytes: 512, reads: 2, writes: 1 },
    { node: 'disk1', readBytes: 0, writtenBytes: 0, reads: 0, writes: 0 },
  ]);
});
