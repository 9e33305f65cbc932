import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { COMMAND_LAYOUTS } from '../../wire/scsi/opcodes.ts';
import { MemoryStore, TestTarget } from './testing/memory-unit.ts';

const NEXUSES = ['iqn.test:a', 'iqn.test:b'];
const STATUSES = new Set([0x00, 0x02, 0x08, 0x18, 0x40]);
const layouts = fc.constantFrom(...COMMAND_LAYOUTS);

/** Random bytes; or a known command whose fields are random and mostly small, so that it gets past the checks. */
const cdbs = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .tuple(
      layouts,
      fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(255)), { minLength: 16, maxLength: 16 }),
    )
    .map(([layout, random]) => {
      const cdb = new Uint8Array(16);
      layout.usage.forEach((mask, index) => {
        cdb[index] = index === 0 ? layout.opcode : (random[index] ?? 0) & mask;
      });
      if (layout.serviceAction !== null) cdb[1] = layout.serviceAction;
      cdb[layout.usage.length - 1] = 0;
      return cdb;
    }),
);
const data = fc.oneof(
  fc.constant(null),
  fc.uint8Array({ maxLength: 64 }),
  fc.constantFrom(0, 512, 1024, 4096).map((length) => new Uint8Array(length).fill(3)),
);

/** Longer on demand: SCSI_FUZZ_RUNS=1000000. */
const numRuns = Number(process.env['SCSI_FUZZ_RUNS'] ?? 300);

describe('random commands', () => {
  test('are answered, whatever they are, with no more data than is expected', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...NEXUSES), cdbs, data, fc.constantFrom(0, 16, 1 << 20)), { maxLength: 60 }),
        async (commands) => {
          const target = await TestTarget.open(new MemoryStore(64));
          for (const [nexus, cdb, dataOut, expectedInBytes] of commands) {
            const answer = await target.server.execute({ nexus, lun: 0, cdb, dataOut, expectedInBytes });
            const shown = Buffer.from(cdb).toString('hex');
            assert.ok(STATUSES.has(answer.status), shown);
            assert.equal(answer.status === 0x02, answer.sense !== null, shown);
            assert.ok((answer.dataIn?.length ?? 0) <= expectedInBytes, shown);
            assert.ok(answer.transferBytes >= 0 && answer.transferBytes <= 1 << 24, shown);
            const key = answer.sense === null ? 0 : answer.sense[0] === 0x72 ? answer.sense[1] : answer.sense[2];
            assert.notEqual(key, 4, `a hardware error means that a handler threw: ${shown}`);
          }
        },
      ),
      { seed: 20_261_121, numRuns },
    );
  });
});
