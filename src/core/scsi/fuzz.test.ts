import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { COMMAND_LAYOUTS } from '../../wire/scsi/opcodes.ts';
import { isWrongWay } from './direction.ts';
import { dispatchOf } from './dispatch.ts';
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

const ways = fc.constantFrom(null, null, null, 'none', 'in', 'out', 'both');

/** Longer on demand: SCSI_FUZZ_RUNS=1000000. */
const numRuns = Number(process.env['SCSI_FUZZ_RUNS'] ?? 300);

describe('random commands', () => {
  test('are answered, whatever they are, with no more data than is expected', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...NEXUSES), cdbs, data, fc.constantFrom(0, 16, 1 << 20), ways), {
          maxLength: 60,
        }),
        async (commands) => {
          const target = await TestTarget.open(new MemoryStore(64));
          for (const [nexus, cdb, sent, expected, way] of commands) {
            const transfer = way ?? (sent !== null ? 'out' : expected === 0 ? 'none' : 'in');
            // In the form in which the transport delivers them.
            const dataOut = transfer === 'out' || transfer === 'both' ? (sent ?? new Uint8Array(0)) : null;
            const expectedInBytes = transfer === 'in' ? expected : 0;
            const writesBefore = target.store.log.length;
            const command = { nexus, lun: 0, cdb, transfer, dataOut, expectedInBytes } as const;
            const answer = await target.server.execute(command);
            const shown = Buffer.from(cdb).toString('hex');
            assert.ok(STATUSES.has(answer.status), shown);
            const dispatch = dispatchOf(cdb);
            if (typeof dispatch !== 'string' && isWrongWay(dispatch.direction(cdb), command)) {
              assert.notEqual(answer.status, 0x00, `${transfer}: ${shown}`);
              assert.equal(target.store.log.length, writesBefore, `${transfer}: ${shown}`);
            }
            // A command that reports success had the data that its CDB names, or as much as its initiator announced.
            if (
              typeof dispatch !== 'string' &&
              dispatch.direction(cdb) === 'out' &&
              transfer === 'none' &&
              answer.status === 0
            )
              assert.equal(answer.transferBytes, 0, shown);
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
