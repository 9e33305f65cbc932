import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decodeMove, decodeReserveOut, encodeTransportId, NO_KEY } from './persistent-reserve.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const ascii = (text: string): string => Buffer.from(text).toString('hex');
const K1 = '0000000000000001';
const NAME = 'iqn.2026-11.test:vm';

/** Parameter data of a registration with SPEC_I_PT and these TransportIDs. */
function specified(...ids: readonly Uint8Array[]) {
  const list = Buffer.concat(ids);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(list.length);
  return decodeReserveOut(Uint8Array.from(Buffer.concat([hex(`${NO_KEY}${K1}00000000 08000000`), length, list])));
}

const transport = (first: string, text: string): Uint8Array => {
  const body = Buffer.from(text, 'latin1');
  return Uint8Array.from(
    Buffer.concat([hex(`${first}0000`), hex(body.length.toString(16).padStart(4, '0')).slice(0, 2), body]),
  );
};
const id = (first: string, text: string): Uint8Array => {
  const whole = transport(first, text);
  return Uint8Array.from([...whole.slice(0, 1), 0, ...whole.slice(3)]);
};

describe('parameter data of PERSISTENT RESERVE OUT', () => {
  test('24 bytes: keys and flags', () => {
    assert.deepEqual(decodeReserveOut(hex(`${K1}00112233445566ff00000000 05000000`)), {
      key: K1,
      serviceActionKey: '00112233445566ff',
      isAllTargetPorts: true,
      isPersistent: true,
      initiators: null,
    });
  });

  test('any other length is refused', () => {
    for (const length of [0, 8, 23, 25, 28])
      assert.equal(decodeReserveOut(new Uint8Array(length)), 'parameter-list-length');
  });

  test('SPEC_I_PT: names in both formats, the ISID dropped, lower case', () => {
    const ids = [encodeTransportId(NAME), id('45', 'IQN.2026-11.test:B,i,0x00023d000001\0')];
    const parameters = specified(...ids);
    assert.ok(typeof parameters === 'object');
    assert.deepEqual(parameters.initiators, [NAME, 'iqn.2026-11.test:b']);
  });

  test('a TransportID that is none', () => {
    for (const wrong of [
      id('06', `${NAME}\0`),
      id('85', `${NAME}\0`),
      id('05', 'abcd'),
      id('05', '\0\0\0\0'),
      id('05', 'a b\0'),
      id('05', 'iqn.test:x,i,0x1\0\0\0\0'),
      id('45', 'iqn.test:abc\0\0\0\0'),
      id('05', `${'a'.repeat(227)}\0`),
      hex('05000010 6100'),
    ])
      assert.equal(specified(wrong), 'invalid-parameter', Buffer.from(wrong).toString('hex'));
  });

  test('REGISTER AND MOVE', () => {
    const list = encodeTransportId(NAME);
    const data = hex(`${K1}${K1}00020001 000000${list.length.toString(16)}${Buffer.from(list).toString('hex')}`);
    assert.deepEqual(decodeMove(data), {
      key: K1,
      serviceActionKey: K1,
      isUnregistering: true,
      isPersistent: false,
      relativeTargetPort: 1,
      initiator: NAME,
    });
    assert.equal(decodeMove(data.slice(0, -1)), 'parameter-list-length');
    assert.equal(decodeMove(hex(`${K1}${K1}00000001 00000000`)), 'invalid-parameter');
  });

  test('a TransportID is at least 24 bytes and ends with zeroes', () => {
    assert.equal(
      Buffer.from(encodeTransportId('iqn.a')).toString('hex'),
      `05000014${ascii('iqn.a')}${'00'.repeat(15)}`,
    );
    assert.equal(encodeTransportId('x'.repeat(20)).length, 28);
  });

  test('random bytes are read or refused, never more', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, isSpecified) => {
        if (isSpecified && bytes.length > 28) {
          bytes[20] = 0x08;
          bytes.set([0, 0, 0, bytes.length - 28], 24);
        }
        for (const value of [decodeReserveOut(bytes), decodeMove(bytes)])
          assert.ok(typeof value === 'object' || value === 'parameter-list-length' || value === 'invalid-parameter');
      }),
      { seed: 7, numRuns: 5_000 },
    );
  });
});
