import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { hex, MemoryStore, outcomeOf, TestTarget } from './testing/memory-unit.ts';

const A = 'iqn.test:a';
const B = 'iqn.test:b';

async function ready(store = new MemoryStore()): Promise<TestTarget> {
  const target = await TestTarget.open(store);
  await target.meet(A, B);
  return target;
}

const block = (byte: number, count = 1, blockBytes = 512): Uint8Array => new Uint8Array(count * blockBytes).fill(byte);
const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

async function dataOf(target: TestTarget, cdb: string): Promise<Uint8Array> {
  const answer = await target.run(A, cdb);
  assert.equal(outcomeOf(answer), 'good', cdb);
  return answer.dataIn ?? new Uint8Array(0);
}

describe('reading and writing', () => {
  test('what is written by one size of command is read by every other', async () => {
    const target = await ready();
    const writes: [string, string, number][] = [
      ['0a 00 00 05 01', '08 00 00 05 01', 0x11],
      ['2a 00 00 00 00 05 00 00 01', '28 00 00 00 00 05 00 00 01', 0x22],
      ['aa 00 00 00 00 05 00 00 00 01', 'a8 00 00 00 00 05 00 00 00 01', 0x33],
      ['8a 00 00 00 00 00 00 00 00 05 00 00 00 01', '88 00 00 00 00 00 00 00 00 05 00 00 00 01', 0x44],
    ];
    for (const [write, , byte] of writes) {
      assert.equal(outcomeOf(await target.run(A, write, block(byte))), 'good');
      for (const [, read] of writes) assert.deepEqual(await dataOf(target, read), block(byte));
    }
  });

  test('READ(6) of length zero is 256 blocks', async () => {
    assert.equal((await dataOf(await ready(), '08 00 00 00 00')).length, 256 * 512);
  });

  test('is answered at once where the store answers at once', async () => {
    const target = await ready();
    assert.ok(!(target.server.execute(target.command(A, '28 00 00 00 00 00 00 00 01')) instanceof Promise));
  });

  test('beyond the last block is refused, no block at the end is not', async () => {
    const target = await ready();
    for (const cdb of [
      '28 00 00 00 04 00 00 00 01',
      '28 00 00 00 04 01 00 00 00',
      '28 00 00 00 03 ff 00 00 02',
      '88 00 ff ff ff ff ff ff ff ff 00 00 00 01',
      '9e 12 00 00 00 00 00 00 04 00 00 00 00 40',
      '35 00 00 00 04 01',
      '34 00 00 00 04 00 00 00 01',
    ])
      assert.equal(outcomeOf(await target.run(A, cdb)), '5/2100', cdb);
    assert.equal(outcomeOf(await target.run(A, '28 00 00 00 04 00 00 00 00')), 'good');
  });

  test('protection bits, NACA and transfers above the limit are refused', async () => {
    const target = await ready(new MemoryStore(40_000));
    for (const cdb of [
      '28 20 00 00 00 00 00 00 01',
      '28 00 00 00 00 00 00 00 01 04',
      '88 00 00 00 00 00 00 00 00 00 00 00 80 01',
    ])
      assert.equal(outcomeOf(await target.run(A, cdb)), '5/2400', cdb);
  });

  test('FUA reaches stable storage, and so does what FUA reads', async () => {
    const target = await ready();
    await target.run(A, '2a 08 00 00 00 01 00 00 01', block(1));
    await target.run(A, '2a 00 00 00 00 02 00 00 01', block(1));
    await target.run(A, '28 08 00 00 00 02 00 00 01');
    await target.run(A, '35');
    assert.deepEqual(target.store.log, ['write 1+1 fua', 'write 2+1', 'flush', 'flush']);
  });

  test('says how much it would transfer, whatever the initiator expects', async () => {
    const target = await ready();
    const read = target.command(A, '28 00 00 00 00 00 00 00 02');
    const answer = await target.server.execute({ ...read, expectedInBytes: 100 });
    assert.equal(answer.dataIn?.length, 100);
    assert.equal(answer.transferBytes, 1024);
    const write = await target.run(A, '2a 00 00 00 00 00 00 00 01', block(1, 2));
    assert.equal(write.transferBytes, 512);
    assert.deepEqual(await dataOf(target, '28 00 00 00 00 01 00 00 01'), block(0));
  });

  test('with less data than the CDB names, what came is written to the byte', async () => {
    const target = await ready();
    await target.run(A, '2a 00 00 00 00 00 00 00 03', block(1, 3));
    for (const length of [0, 512, 700]) {
      const answer = await target.run(A, '2a 00 00 00 00 00 00 00 03', new Uint8Array(length).fill(2));
      assert.equal(outcomeOf(answer), 'good');
      assert.equal(answer.transferBytes, 3 * 512);
      const found = await dataOf(target, '28 00 00 00 00 00 00 00 03');
      assert.equal(found.lastIndexOf(2), length - 1);
      assert.equal(found.indexOf(1), length);
    }
  });

  test('a failing disk becomes a medium error, a full one a space allocation failure', async () => {
    const target = await ready();
    target.store.failure = new Error('EIO');
    assert.equal(outcomeOf(await target.run(A, '28 00 00 00 00 00 00 00 01')), '3/1100');
    target.store.failure = new Error('EIO');
    assert.equal(outcomeOf(await target.run(A, '2a 00 00 00 00 00 00 00 01', block(1))), '3/0c00');
    // Linux does not repeat this command by itself: the kernel has reported the error, and the command would succeed
    // now.
    target.store.failure = new Error('EIO');
    assert.equal(outcomeOf(await target.run(A, '35')), '3/1400');
    target.store.failure = new CodedError('no-capacity', 'full');
    assert.equal(outcomeOf(await target.run(A, '2a 00 00 00 00 00 00 00 01', block(1))), '7/2707');
  });

  test('a unit that is read-only or write protected by SWP is not written', async () => {
    const target = await ready();
    target.store.isReadOnly = true;
    for (const cdb of [
      '2a 00 00 00 00 00 00 00 01',
      '41 00 00 00 00 00 00 00 01',
      '89 00 00 00 00 00 00 00 00 00 00 00 00 01',
    ])
      assert.equal(outcomeOf(await target.run(A, cdb, block(1))), '7/2700');
    target.store.isReadOnly = false;
    await target.run(A, '15 10 00 00 10', hex('00000000 0a0a 0010 0840 0000 ffff 0000'));
    assert.equal(outcomeOf(await target.run(A, '2a 00 00 00 00 00 00 00 01', block(1))), '7/2702');
    assert.deepEqual(target.store.log, []);
  });
});

describe('comparing', () => {
  test('VERIFY tells where the first difference is', async () => {
    const target = await ready();
    const data = block(0, 2);
    data[700] = 1;
    assert.equal(outcomeOf(await target.run(A, '2f 02 00 00 00 00 00 00 02', block(0, 2))), 'good');
    const answer = await target.run(A, '2f 02 00 00 00 00 00 00 02', data);
    assert.equal(outcomeOf(answer), 'e/1d00');
    assert.deepEqual([...(answer.sense ?? []).slice(3, 7)], [0, 0, 2, 0xbc]);
  });

  test('VERIFY with BYTCHK 3 compares each block with one', async () => {
    const target = await ready();
    await target.run(A, '2a 00 00 00 00 00 00 00 04', block(7, 4));
    assert.equal(outcomeOf(await target.run(A, '2f 06 00 00 00 00 00 00 04', block(7))), 'good');
    assert.equal(outcomeOf(await target.run(A, '2f 06 00 00 00 00 00 00 05', block(7))), 'e/1d00');
    assert.equal(outcomeOf(await target.run(A, '2f 04 00 00 00 00 00 00 04', block(7))), '5/2400');
  });

  test('WRITE AND VERIFY writes through and compares', async () => {
    const target = await ready();
    assert.equal(outcomeOf(await target.run(A, '2e 02 00 00 00 03 00 00 01', block(9))), 'good');
    assert.deepEqual(target.store.log, ['write 3+1 fua']);
  });

  test('COMPARE AND WRITE writes only what matched', async () => {
    const target = await ready();
    const both = (expected: number, next: number): Uint8Array => Uint8Array.from([...block(expected), ...block(next)]);
    const cdb = '89 00 00 00 00 00 00 00 00 02 00 00 00 01';
    assert.equal(outcomeOf(await target.run(A, cdb, both(0, 5))), 'good');
    assert.equal(outcomeOf(await target.run(A, cdb, both(0, 6))), 'e/1d00');
    assert.equal(outcomeOf(await target.run(A, cdb, block(5))), '5/2400');
    const none = '89 00 00 00 00 00 00 00 00 02';
    assert.equal(outcomeOf(await target.run(A, none, both(5, 6))), '5/2400');
    assert.equal(outcomeOf(await target.run(A, none)), 'good');
    assert.deepEqual(await dataOf(target, '28 00 00 00 00 02 00 00 01'), block(5));
  });

  test('two COMPARE AND WRITEs of the same block at the same time: one wins', async () => {
    const target = await ready();
    target.store.hold();
    const cdb = '89 00 00 00 00 00 00 00 00 02 00 00 00 01';
    const answers = [1, 2, 3].map((byte) => target.run(A, cdb, Uint8Array.from([...block(0), ...block(byte)])));
    const between = target.run(A, '2a 00 00 00 00 02 00 00 01', block(9));
    assert.equal(target.store.heldCount, 1, 'the others wait');
    target.store.release();
    assert.deepEqual((await Promise.all(answers)).map(outcomeOf), ['good', 'e/1d00', 'e/1d00']);
    await between;
    assert.deepEqual(await dataOf(target, '28 00 00 00 00 02 00 00 01'), block(9));
  });

  test('ORWRITE sets bits', async () => {
    const target = await ready();
    await target.run(A, '2a 00 00 00 00 00 00 00 01', block(0x11));
    assert.equal(outcomeOf(await target.run(A, '8b 00 00 00 00 00 00 00 00 00 00 00 00 01', block(0x82))), 'good');
    assert.deepEqual(await dataOf(target, '28 00 00 00 00 00 00 00 01'), block(0x93));
  });
});

describe('thin provisioning', () => {
  const list = (...ranges: [number, number][]): Uint8Array => {
    const body = ranges.map(
      ([lba, count]) => `${lba.toString(16).padStart(16, '0')}${count.toString(16).padStart(8, '0')}00000000`,
    );
    const bytes = ranges.length * 16;
    return hex(
      `${(bytes + 6).toString(16).padStart(4, '0')}${bytes.toString(16).padStart(4, '0')}00000000${body.join('')}`,
    );
  };

  test('UNMAP checks every range first', async () => {
    const target = await ready();
    const cdb = '42 00 00 00 00 00 00 00 28';
    assert.equal(outcomeOf(await target.run(A, cdb, list([8, 8], [1020, 8]))), '5/2100');
    assert.deepEqual(target.store.log, []);
    assert.equal(outcomeOf(await target.run(A, cdb, list([8, 8], [64, 0]))), 'good');
    assert.deepEqual(target.store.log, ['unmap 8+8']);
    assert.equal(outcomeOf(await target.run(A, '42 00 00 00 00 00 00 00 07', new Uint8Array(7))), '5/1a00');
    assert.equal(outcomeOf(await target.run(A, '42 01')), '5/2400');
  });

  test('GET LBA STATUS tells extents', async () => {
    const target = await ready();
    await target.run(A, '2a 00 00 00 00 08 00 00 08', block(1, 8));
    const data = await dataOf(target, '9e 12 00 00 00 00 00 00 00 04 00 00 00 28');
    assert.equal(
      Buffer.from(data).toString('hex'),
      '00000024000000000000000000000004000000040100000000000000000000080000000800000000',
    );
  });

  test('WRITE SAME repeats a block, zeroes and unmaps, to the end without a length', async () => {
    const target = await ready();
    assert.equal(outcomeOf(await target.run(A, '41 00 00 00 00 00 00 00 03', block(6))), 'good');
    assert.deepEqual(await dataOf(target, '28 00 00 00 00 00 00 00 03'), block(6, 3));
    await target.run(A, '93 00 00 00 00 00 00 00 03 f0 00 00 00 00', block(0));
    await target.run(A, '93 09 00 00 00 00 00 00 00 08 00 00 00 08');
    await target.run(A, '93 08 00 00 00 00 00 00 00 10 00 00 00 08', block(0));
    assert.deepEqual(target.store.log.slice(1), ['zero 1008+16', 'unmap 8+8', 'unmap 16+8']);
    assert.equal(outcomeOf(await target.run(A, '41 00 00 00 00 00 00 00 03', block(6, 2))), '5/2400');
    assert.equal(outcomeOf(await target.run(A, '41 08 00 00 00 00 00 00 03', block(0))), '5/2400');
    assert.equal(outcomeOf(await target.run(A, '41 10 00 00 00 00 00 00 03', block(6))), '5/2400');
  });
});

describe('what the unit says of itself', () => {
  test('INQUIRY: a disk of SPC-4', async () => {
    const data = await dataOf(await ready(), '12 00 00 00 ff');
    assert.deepEqual([...data.slice(0, 5)], [0, 0, 6, 0x12, 91]);
    assert.equal(ascii(data.slice(8, 36)), 'GRNDPLNESHARED DISK     0001');
  });

  test('VPD pages, with designators made of the UUID', async () => {
    const target = await ready();
    assert.equal(Buffer.from(await dataOf(target, '12 01 00 00 ff')).toString('hex'), '000000060080' + '83b0b1b2');
    assert.equal(ascii((await dataOf(target, '12 01 80 00 ff')).slice(4)), '00112233445546778899aabbccddeeff');
    const names = Buffer.from(await dataOf(target, '12 01 83 00 ff')).toString('hex');
    assert.ok(names.includes('010300083899aabbccddeeff'), 'NAA');
    assert.ok(names.includes('010a0012100000112233445546778899aabbccddeeff'), 'UUID');
    assert.ok(names.includes('5194000400000001'), 'relative target port');
    assert.equal(outcomeOf(await target.run(A, '12 01 84 00 ff')), '5/2400');
    assert.equal(outcomeOf(await target.run(A, '12 00 80 00 ff')), '5/2400');
  });

  test('capacity of 64 TiB, in both sectors', async () => {
    for (const [blockBytes, last] of [
      [512, '0000001fffffffff'],
      [4096, '00000003ffffffff'],
    ] as const) {
      const target = await ready(new MemoryStore(8, blockBytes));
      target.store.blockCount = 2 ** 46 / blockBytes;
      const data = Buffer.from(await dataOf(target, '9e 10 00 00 00 00 00 00 00 00 00 00 00 20')).toString('hex');
      assert.ok(data.startsWith(last + blockBytes.toString(16).padStart(8, '0')));
      assert.equal(
        Buffer.from(await dataOf(target, '25'))
          .toString('hex')
          .slice(0, 8),
        'ffffffff',
      );
    }
  });

  test('MODE SENSE: pages, changeable values, no saved ones', async () => {
    const target = await ready();
    assert.equal(
      Buffer.from(await dataOf(target, '1a 08 08 00 ff'))
        .toString('hex')
        .slice(0, 14),
      '17001000081204',
    );
    assert.equal(
      Buffer.from(await dataOf(target, '1a 08 4a 00 ff'))
        .toString('hex')
        .slice(8),
      '0a0a04000800000000000000',
    );
    assert.equal((await dataOf(target, '5a 08 3f ff 00 00 00 00 ff')).length, 8 + 20 + 12 + 32);
    assert.equal(outcomeOf(await target.run(A, '1a 08 c8 00 ff')), '5/3900');
    assert.equal(outcomeOf(await target.run(A, '1a 08 1c 00 ff')), '5/2400');
  });

  test('MODE SELECT changes D_SENSE for all and tells the others; nothing else can be changed', async () => {
    const target = await ready();
    const select = (page: string): Uint8Array => hex(`00000000${page}`);
    assert.equal(outcomeOf(await target.run(A, '15 10 00 00 10', select('0a0a0410004000 00ffff0000'))), 'good');
    assert.equal((await target.run(A, 'ff')).sense?.[0], 0x72);
    assert.deepEqual(await target.attentions(B), ['6/2a01']);
    assert.deepEqual(await target.attentions(A), []);
    assert.equal(outcomeOf(await target.run(A, '15 10 00 00 10', select('0a0a0410004000 00fffe0000'))), '5/2600');
    assert.equal(outcomeOf(await target.run(A, '15 11 00 00 10', select('0a0a0410004000 00ffff0000'))), '5/2400');
    assert.equal(outcomeOf(await target.run(A, '15 10 00 00 0f', select('0a0a0410004000 00ffff0000'))), '5/1a00');
  });

  test('REPORT SUPPORTED OPERATION CODES: all, one, none', async () => {
    const target = await ready();
    const all = await dataOf(target, 'a3 0c 00 00 00 00 00 00 ff ff');
    assert.equal(all.length, 4 + ((all[2] ?? 0) << 8) + (all[3] ?? 0));
    const one = (cdb: string): Promise<string> => dataOf(target, cdb).then((data) => Buffer.from(data).toString('hex'));
    assert.equal(await one('a3 0c 01 28 00 00 00 00 ff ff'), '0003000a28f8ffffffff00ffff04');
    assert.equal(await one('a3 0c 02 5f 00 04 00 00 ff ff'), '0003000a5f04ff0000ffffffff04');
    assert.equal(await one('a3 0c 01 c1 00 00 00 00 ff ff'), '00010000');
    assert.equal(await one('a3 0c 02 5f 00 1f 00 00 ff ff'), '00010000');
    assert.equal(outcomeOf(await target.run(A, 'a3 0c 01 5f 00 00 00 00 ff ff')), '5/2400');
    assert.equal(outcomeOf(await target.run(A, 'a3 0c 02 28 00 00 00 00 ff ff')), '5/2400');
  });

  test('an unknown command, and an unknown service action', async () => {
    const target = await ready();
    assert.equal(outcomeOf(await target.run(A, 'c1')), '5/2000');
    assert.equal(outcomeOf(await target.run(A, '5e 1f')), '5/2400');
  });

  test('an address without a unit', async () => {
    const { server, ...target } = await ready();
    const at = (cdb: Uint8Array) =>
      server.execute({ nexus: A, lun: 7, cdb, transfer: 'in', dataOut: null, expectedInBytes: 255 });
    assert.equal((await at(hex('1200000060 00'))).dataIn?.[0], 0x7f);
    assert.equal((await at(hex('a00000000000 000000ff 0000'))).dataIn?.[3], 8);
    assert.equal(outcomeOf(await at(hex('000000000000'))), '5/2500');
    assert.ok(target.store);
  });
});
