import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { acknowledgedIn, checkSequence, type SequenceReport } from './sequence-check.ts';

const SECTOR = 512;
const BOOTS = ['0a-1', '0b-2', '0c-3'];

class Disk {
  readonly bytes: Buffer;
  constructor(sectors: number) {
    this.bytes = Buffer.alloc(sectors * SECTOR);
    this.text(0, 'groundplane-sequence 1\n');
  }
  text(sector: number, text: string): this {
    this.bytes.fill(0, sector * SECTOR, (sector + 1) * SECTOR);
    this.bytes.write(text, sector * SECTOR, 'latin1');
    return this;
  }
  line(sequence: number, generation: number, boot = BOOTS[generation - 1] ?? '0d'): this {
    return this.text(sequence, `${sequence} ${generation} ${boot}\n`);
  }
  check(...serialLogs: string[]): Promise<SequenceReport> {
    const readAt = async (offset: number, length: number) =>
      new Uint8Array(this.bytes.subarray(offset, offset + length));
    return checkSequence({ readAt, diskSizeBytes: this.bytes.length, serialLogs });
  }
}

/** Ten lines: 1 to 6 of generation 1, 7 to 10 of generation 2, with the consoles that go with them. */
function goodDisk(): { disk: Disk; logs: string[] } {
  const disk = new Disk(64);
  const logs = ['', ''];
  for (let n = 1; n <= 10; n += 1) {
    const generation = n <= 6 ? 1 : 2;
    disk.line(n, generation);
    logs[generation - 1] += `seq ${n} ${generation}\r\n`;
  }
  return { disk, logs };
}

describe('checkSequence', () => {
  test('a good disk is good', async () => {
    const { disk, logs } = goodDisk();
    const report = await disk.check(...logs);
    assert.equal(report.good, true);
    assert.equal(report.lastSequence, 10);
    assert.deepEqual(report.counts, {
      acknowledged: 10,
      gaps: 0,
      generationRegressions: 0,
      bootsInterleaved: 0,
      missingAcknowledged: 0,
    });
  });

  test('written and not acknowledged at the end is good: the guest died between the two', async () => {
    const { disk, logs } = goodDisk();
    assert.equal((await disk.line(11, 2).check(...logs)).good, true);
  });

  test('a live migration changes the generation within one boot', async () => {
    const disk = new Disk(64).line(1, 1, 'ab').line(2, 1, 'ab').line(3, 2, 'ab');
    assert.equal((await disk.check('seq 1 1\nseq 2 1\nseq 3 2\n')).good, true);
  });

  test('finds a hole, empty or torn', async () => {
    for (const text of ['', '4 1 0a', '5 1 0a-1\n', '4 1 0a-1\nrest']) {
      const { disk, logs } = goodDisk();
      const report = await disk.text(4, text).check(...logs);
      assert.equal(report.good, false);
      assert.deepEqual(
        report.gaps.map((gap) => gap.sequence),
        [4],
        text,
      );
      assert.deepEqual(
        report.missingAcknowledged.map((missing) => missing.sequence),
        [4],
      );
    }
  });

  test('finds an old generation after a newer one', async () => {
    const { disk } = goodDisk();
    const report = await disk.line(9, 1).check('seq 1 1\n');
    assert.deepEqual(report.generationRegressions, [{ sequence: 9, generation: 1n, after: 2n }]);
    assert.deepEqual(
      report.bootsInterleaved.map((entry) => entry.sequence),
      [9, 10],
    );
    assert.equal(report.good, false);
  });

  test('finds two boots of one generation that wrote at a time', async () => {
    const report = await new Disk(64).line(1, 1, 'aa').line(2, 1, 'bb').line(3, 1, 'aa').check('seq 1 1\n');
    assert.deepEqual(report.bootsInterleaved, [{ sequence: 3, bootId: 'aa' }]);
    assert.equal(report.good, false);
  });

  test('finds an acknowledged line that was overwritten by another generation', async () => {
    const { disk, logs } = goodDisk();
    const report = await disk.check(...logs, 'seq 7 1\n');
    assert.deepEqual(report.missingAcknowledged, [{ sequence: 7, generation: 1n, found: '7 2 0b-2\\n' }]);
    assert.equal(report.good, false);
  });

  test('finds acknowledged lines beyond the end of what is written, and of the disk', async () => {
    const { disk, logs } = goodDisk();
    const report = await disk.check(...logs, 'seq 11 2\nseq 40 2\nseq 9999 2\n');
    assert.deepEqual(
      report.missingAcknowledged.map((missing) => [missing.sequence, missing.found]),
      [
        [11, 'nothing'],
        [40, 'nothing'],
        [9999, 'no such sector'],
      ],
    );
    assert.equal(report.lastSequence, 10);
  });

  test('finds a line far after the end', async () => {
    const disk = new Disk(40_000).line(1, 1).line(30_000, 1);
    const report = await disk.check('seq 1 1\nseq 30000 1\n');
    assert.equal(report.lastSequence, 30_000);
    assert.equal(report.counts.gaps, 29_998);
    assert.equal(report.gaps.length, 100);
  });

  test('a disk that was emptied is not good, and a foreign one is refused', async () => {
    const { logs } = goodDisk();
    const report = await new Disk(64).text(0, '').check(...logs);
    assert.equal(report.counts.missingAcknowledged, 10);
    assert.equal(report.good, false);
    await assert.rejects(new Disk(64).text(0, 'something else').check(...logs), /does not name the sequence format/);
    assert.equal((await new Disk(64).check('')).good, false, 'nothing checked is not good');
  });

  test('every single damage to a random good disk is found', async () => {
    const model = fc.record({
      steps: fc.array(fc.nat(2), { minLength: 2, maxLength: 60 }),
      at: fc.nat(),
      byte: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(model, async ({ steps, at, byte }) => {
        const disk = new Disk(100);
        let generation = 1;
        let log = '';
        let firstLineBytes = 0;
        steps.forEach((step, index) => {
          generation += step;
          const line = `${index + 1} ${generation} ab\n`;
          firstLineBytes ||= line.length - 4;
          disk.text(index + 1, line);
          log += `seq ${index + 1} ${generation}\r\n`;
        });
        assert.equal((await disk.check(log)).good, true);
        // Changing any byte of number or generation is noticed; the boot id of a single line is not acknowledged.
        const sector = 1 + (at % steps.length);
        const offset = sector * SECTOR + (at % firstLineBytes);
        disk.bytes[offset] = (disk.bytes[offset] ?? 0) ^ byte;
        assert.equal((await disk.check(log)).good, false);
      }),
      { seed: 20261120, numRuns: 200 },
    );
  });
});

describe('acknowledgedIn', () => {
  test('takes whole lines only, prompts before them or not', () => {
    const log =
      'seq-start 1 disk=/dev/vda\r\ntiny# seq 1 7\r\nseq 2 7\r\r\nseq-error 3\nseq 3 18446744073709551615\nseq 4';
    assert.deepEqual(acknowledgedIn(log), [
      { sequence: 1, generation: 7n },
      { sequence: 2, generation: 7n },
      { sequence: 3, generation: 18446744073709551615n },
    ]);
    assert.deepEqual(acknowledgedIn('seq 5 7'), []);
    assert.deepEqual(acknowledgedIn('dirty-seq 5 7\n'), []);
  });
});
