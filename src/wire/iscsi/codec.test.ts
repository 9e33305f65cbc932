import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chooseAlgorithm, readBinary, sameBytes, writeBinary } from './chap.ts';
import { crc32c } from './crc32c.ts';
import { defaultParameters, negotiate } from './negotiation.ts';
import {
  cmdSn,
  IscsiProtocolError,
  type PduHeader,
  readDataOut,
  readLogin,
  readLogout,
  readScsiCommand,
  readTaskManagement,
  readText as readTextPdu,
} from './pdu.ts';
import { PduDecoder } from './pdu-decoder.ts';
import { PduWriter } from './pdu-writer.ts';
import { normalName, readText, writeText } from './text-keys.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));

interface Seen {
  readonly bytes: string;
  readonly data: string;
}

function collector(max = 8192): {
  decoder: PduDecoder;
  seen: Seen[];
  each: (use: (header: PduHeader) => void) => void;
} {
  const seen: Seen[] = [];
  let use: (header: PduHeader) => void = () => undefined;
  const decoder = new PduDecoder(
    {
      place: (header) => new Uint8Array(header.dataBytes),
      receive: (header, data) => {
        use(header);
        seen.push({ bytes: Buffer.from(header.bytes).toString('hex'), data: Buffer.from(data).toString('hex') });
      },
    },
    max,
  );
  const each = (given: (header: PduHeader) => void): void => {
    use = given;
  };
  return { decoder, seen, each };
}

/** Decodes one header. */
function header<T>(text: string, read: (header: PduHeader) => T): T {
  const { decoder, each } = collector();
  const values: T[] = [];
  each((one) => void values.push(read(one)));
  decoder.push(hex(text));
  const [value] = values;
  assert.ok(value !== undefined, 'a complete PDU');
  return value;
}

const WRITE_10 =
  '01a10000 00000004 0001000000000000 00000005 00000200 00000007 00000003 2a000000000a0000 0100000000000000';
const LOGIN = `43870000 00000000 400001370000 0000 00000001 0001 0000 00000005 00000000${'00'.repeat(16)}`;
const DATA_OUT =
  '05800000 00000000 0000000000000000 00000005 00000009 00000000 00000003 00000000 00000002 00000400 00000000';

test('CRC32C: the vectors of RFC 7143, A.4, and any cut gives the same', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(Uint8Array.from(ascending).reverse()), 0x113fdb5c);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      assert.equal(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at))), crc32c(bytes));
    }),
    { seed: 1 },
  );
});

test('headers of an initiator, hex to values', () => {
  const command = header(`${WRITE_10} 01020304`, readScsiCommand);
  assert.deepEqual(
    { ...command, cdb: Buffer.from(command.cdb).toString('hex') },
    {
      tag: 5,
      isFinal: true,
      isRead: false,
      isWrite: true,
      attribute: 1,
      expectedBytes: 512,
      expectedReadBytes: 0,
      cdb: '2a000000000a00000100000000000000',
    },
  );
  assert.equal(header(`${WRITE_10} 01020304`, cmdSn), 7);
  const login = header(LOGIN, readLogin);
  assert.deepEqual([login.isid, login.currentStage, login.nextStage, login.transit], ['400001370000', 1, 3, true]);
  assert.deepEqual([login.tag, login.cid, login.cmdSn, login.tsih, login.versionMin], [1, 1, 5, 0, 0]);
  assert.deepEqual(header(DATA_OUT, readDataOut), { tag: 5, isFinal: true, transferTag: 9, dataSn: 2, offset: 1024 });
  const words = (text: string): string => `${text}${'00'.repeat(48 - text.length / 2)}`;
  const tmf = words('42810000000000000000000000000000000000080000000500000000');
  assert.deepEqual(header(tmf, readTaskManagement), { tag: 8, function: 1, referencedTag: 5, refCmdSn: 0 });
  assert.deepEqual(header(words('04400000000000000000000000000000000000080000000a'), readTextPdu), {
    tag: 8,
    isFinal: false,
    continues: true,
    transferTag: 10,
  });
  assert.deepEqual(header(words('06810000000000000000000000000000000000080002'), readLogout), {
    tag: 8,
    reason: 1,
    cid: 2,
  });
});

test('an extended CDB in an additional header', () => {
  const ahs = '0005 01 00 a1a2a3a4';
  const long = WRITE_10.replace('01a10000 00000004', '01a10000 02000000');
  const { cdb } = header(`${long}${ahs}`, readScsiCommand);
  assert.equal(Buffer.from(cdb).toString('hex'), '2a000000000a00000100000000000000a1a2a3a4');
});

test('any chunking gives the same PDUs, with digests too', () => {
  const stream = hex(`${LOGIN}${WRITE_10}0102030499${'00'.repeat(0)}`.slice(0, -2) + DATA_OUT);
  const whole = collector();
  whole.decoder.push(stream);
  assert.equal(whole.seen.length, 3);
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length), { maxLength: 30 }), (cuts) => {
      const parts = collector();
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), stream.length]) {
        parts.decoder.push(stream.subarray(from, to));
        from = to;
      }
      assert.deepEqual(parts.seen, whole.seen);
    }),
    { seed: 2 },
  );
});

test('what is put into the room of a long data segment is as good as pushed, wherever the stream is cut', () => {
  const data = Uint8Array.from({ length: 20_003 }, (_, at) => at % 251);
  const padded = new Uint8Array([...data, 0]);
  const long = hex(DATA_OUT);
  long.set([0, data.length >> 8, data.length & 0xff], 5);
  const digests = [crc32c(long), crc32c(padded)].map((crc) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(crc);
    return bytes;
  });
  const pdu = Buffer.concat([long, digests[0] ?? long, padded, digests[1] ?? long]);
  const stream = new Uint8Array(Buffer.concat([pdu, pdu, pdu]));
  let direct = 0;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 30 }), (reads) => {
      const { decoder, seen } = collector(32_768);
      Object.assign(decoder, { headerDigest: true, dataDigest: true });
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const room = decoder.room();
        const input = stream.subarray(at, at + Math.min(reads[turn % reads.length] ?? 1, room?.length ?? Infinity));
        if (room === null) decoder.push(input);
        else {
          room.set(input);
          decoder.filled(input.length);
          direct += 1;
        }
        at += input.length;
      }
      assert.equal(seen.length, 3);
      for (const one of seen) assert.equal(one.data, Buffer.from(data).toString('hex'));
    }),
    { seed: 3, numRuns: 50 },
  );
  assert.ok(direct > 50, `${direct} were put there`);
});

test('what is too long, or has a wrong digest, is refused at once and nothing is decoded afterwards', () => {
  const refused = (bytes: Uint8Array, about: { max?: number; digests?: boolean } = {}): void => {
    const { decoder, seen } = collector(about.max);
    decoder.headerDigest = about.digests === true;
    decoder.dataDigest = about.digests === true;
    assert.throws(() => decoder.push(bytes), IscsiProtocolError);
    decoder.push(hex(LOGIN));
    assert.deepEqual(seen, []);
  };
  refused(hex(WRITE_10.replace('00000004', '00ffffff')));
  refused(hex(WRITE_10.replace('00000004', '00000201')), { max: 512 });
  refused(hex(WRITE_10.replace('01a10000 00000004', '01a10000 ff000000')));
  refused(hex(`${WRITE_10} 00000000`), { digests: true });
});

test('PDUs of a target, values to hex', () => {
  const writer = new PduWriter({ take: () => new Uint8Array(65536) });
  const sequence = { statSn: 1, expCmdSn: 2, maxCmdSn: 3 };
  const numbers = '000000010000000200000003';
  const written = (): string => Buffer.concat(writer.take()?.segments ?? []).toString('hex');
  const is = (text: string): void => assert.equal(written(), text.replaceAll(/\s/g, ''));
  writer.scsiResponse({ tag: 5, status: 2, residual: -512, expDataSn: 1, sense: hex('700005'), sequence });
  is(`21820002 00000005 ${'00'.repeat(8)} 00000005 00000000 ${numbers} 00000001 00000000 00000200 0003700005 000000`);
  const both = { tag: 5, status: 0, residual: 8, missingReadBytes: 0x1000, expDataSn: 0, sense: null, sequence };
  writer.scsiResponse(both);
  is(`218c0000 00000000 ${'00'.repeat(8)} 00000005 00000000 ${numbers} 00000000 00001000 00000008`);
  const data = { tag: 5, dataSn: 4, offset: 512, isFinal: true, residual: 8, sequence };
  writer.dataIn({ ...data, status: 0 }, hex('aabb'));
  is(`25850000 00000002 ${'00'.repeat(8)} 00000005 ffffffff ${numbers} 00000004 00000200 00000008 aabb0000`);
  writer.dataIn({ ...data, status: null }, hex('aabbccdd'));
  is(
    `25800000 00000004 ${'00'.repeat(8)} 00000005 ffffffff 00000000 0000000200000003 00000004 00000200 00000000 aabbccdd`,
  );
  writer.r2t({ tag: 5, lun: hex('0001000000000000'), transferTag: 9, r2tSn: 1, offset: 512, length: 1024, sequence });
  is(`31800000 00000000 0001000000000000 00000005 00000009 ${numbers} 00000001 00000200 00000400`);
  writer.reject({ reason: 4, header: hex(LOGIN), sequence });
  is(`3f800400 00000030 ${'00'.repeat(8)} ffffffff 00000000 ${numbers} ${'00'.repeat(12)} ${LOGIN}`);
  writer.loginResponse({ flags: 0x87, isid: '400001370000', tsih: 6, tag: 1, status: 0x0201, sequence }, hex(''));
  is(`23870000 00000000 400001370000 0006 00000001 00000000 ${numbers} 02010000 ${'00'.repeat(8)}`);
});

test('large data is passed on as it is, and digests are of header and of data with padding', () => {
  const writer = new PduWriter({ take: () => new Uint8Array(65536) });
  const sequence = { statSn: 1, expCmdSn: 2, maxCmdSn: 3 };
  writer.headerDigest = true;
  writer.dataDigest = true;
  const data = new Uint8Array(40_001).fill(3);
  writer.dataIn({ tag: 1, dataSn: 0, offset: 0, isFinal: true, status: 0, residual: 0, sequence }, data);
  const output = writer.take();
  assert.ok(output?.segments.includes(data));
  const bytes = Buffer.concat(output?.segments ?? []);
  assert.equal(bytes.length, output?.bytes);
  const { decoder, seen } = collector(65536);
  decoder.headerDigest = true;
  decoder.dataDigest = true;
  decoder.push(bytes);
  assert.equal(seen.length, 1);
});

test('text keys, both ways; what is no text is refused', () => {
  const pairs = readText(
    writeText([
      ['InitiatorName', 'iqn.2026-11.test:a'],
      ['X-empty', ''],
    ]),
  );
  assert.deepEqual(
    [...pairs],
    [
      ['InitiatorName', 'iqn.2026-11.test:a'],
      ['X-empty', ''],
    ],
  );
  for (const bad of ['a', '=b\0', 'A=1\0A=2\0', 'ä=1\0', `${'k'.repeat(64)}=1\0`]) {
    assert.throws(() => readText(Buffer.from(bad)), IscsiProtocolError, bad);
  }
  assert.equal(normalName('IQN.2026-11.Test:VM'), 'iqn.2026-11.test:vm');
  for (const bad of [undefined, '', 'iqn.', 'vm', 'iqn.a b', `iqn.${'a'.repeat(223)}`, 'eui.12']) {
    assert.equal(normalName(bad), undefined, bad);
  }
});

test('negotiation: each key by its rule', () => {
  const cases: readonly (readonly [string, string, string | undefined])[] = [
    ['HeaderDigest', 'CRC32C,None', 'CRC32C'],
    ['DataDigest', 'X-own,None', 'None'],
    ['DataDigest', 'X-own', 'Reject'],
    ['MaxConnections', '8', '1'],
    ['InitialR2T', 'Yes', 'Yes'],
    ['InitialR2T', 'perhaps', 'Reject'],
    ['ImmediateData', 'No', 'No'],
    ['MaxBurstLength', '16776192', '1048576'],
    ['FirstBurstLength', '0x400', '1024'],
    ['FirstBurstLength', '100', 'Reject'],
    ['MaxOutstandingR2T', '0', 'Reject'],
    ['MaxOutstandingR2T', '16', '4'],
    ['MaxRecvDataSegmentLength', '262144', undefined],
    ['ErrorRecoveryLevel', '2', '0'],
    ['DataPDUInOrder', 'No', 'Yes'],
    ['OFMarker', 'Yes', 'No'],
    ['DefaultTime2Wait', '5', '5'],
    ['iSCSIProtocolLevel', '2', '1'],
    ['toString', '1', 'NotUnderstood'],
  ];
  for (const [key, value, answer] of cases) {
    const answers = negotiate(defaultParameters(), new Map([[key, value]]), { isLogin: true });
    assert.deepEqual(answers, answer === undefined ? [] : [[key, answer]], key);
  }
  const later = negotiate(defaultParameters(), new Map([['InitialR2T', 'No']]), { isLogin: false });
  assert.deepEqual(later, [['InitialR2T', 'Reject']]);
});

test('values of CHAP', () => {
  assert.deepEqual(readBinary('0x00fF'), Uint8Array.of(0, 255));
  assert.deepEqual(readBinary('0bAAEC/w=='), Uint8Array.of(0, 1, 2, 255));
  for (const bad of ['', '0x', '0x0', '0xzz', '0b!', '12']) assert.equal(readBinary(bad), undefined, bad);
  assert.equal(writeBinary(Uint8Array.of(0, 171)), '0x00ab');
  assert.deepEqual([chooseAlgorithm('5,7'), chooseAlgorithm('5'), chooseAlgorithm('6')], [7, 5, undefined]);
  assert.ok(sameBytes(hex('01'), hex('01')) && !sameBytes(hex('01'), hex('02')) && !sameBytes(hex('01'), hex('')));
});

test('fuzz: whatever comes, the decoder decodes or refuses, and keeps within its bounds', () => {
  const numRuns = Number(process.env['GP_FUZZ_RUNS'] ?? 2_000);
  const seed = Number(process.env['GP_FUZZ_SEED'] ?? 11);
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom(hex(LOGIN), hex(`${WRITE_10}01020304`), hex(DATA_OUT)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, digests) => {
      let placed = 0;
      const decoder = new PduDecoder(
        {
          place: ({ dataBytes }) => {
            assert.ok(dataBytes > 0 && dataBytes <= 4096);
            placed += 1;
            return new Uint8Array(dataBytes);
          },
          receive: (one) => {
            for (const read of [readScsiCommand, readDataOut, readLogin, readTextPdu, readTaskManagement]) read(one);
          },
        },
        4096,
      );
      decoder.headerDigest = digests;
      try {
        for (const bytes of pieces) decoder.push(bytes);
      } catch (error) {
        assert.ok(error instanceof IscsiProtocolError, String(error));
      }
      assert.ok(placed <= 60);
    }),
    { seed, numRuns },
  );
});
