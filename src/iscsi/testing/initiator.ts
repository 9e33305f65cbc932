/** An initiator without sockets: writes PDUs into a Connection and reads what it answers. */

import { createHash } from 'node:crypto';
import { Budget } from '../../core/iscsi/budget.ts';
import { Connection, type ConnectionPort } from '../../core/iscsi/connection.ts';
import type { InitiatorPolicy, LoginPolicy } from '../../core/iscsi/login.ts';
import type { ScsiTarget } from '../../core/scsi/target-port.ts';
import { crc32c } from '../../wire/iscsi/crc32c.ts';
import { BlockPool } from '../block-pool.ts';

/** A PDU as bytes: 48 of header and the data segment. */
export interface RawPdu {
  readonly header: Buffer;
  readonly data: Buffer;
}

/** A header with what most PDUs have. `fields`: big-endian words by offset. */
export function pduHeader(opcode: number, flags: number, fields: Readonly<Record<number, number>> = {}): Buffer {
  const header = Buffer.alloc(48);
  header[0] = opcode;
  header[1] = flags;
  for (const [at, value] of Object.entries(fields)) header.writeUInt32BE(value >>> 0, Number(at));
  return header;
}

/** Header and data with length and padding, and with digests where wanted. */
export function pduBytes(header: Buffer, data: Buffer = Buffer.alloc(0), { digests = false } = {}): Buffer {
  header.writeUIntBE(data.length, 5, 3);
  const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
  const parts = [header, ...(digests ? [digestOf(header)] : []), padded];
  if (digests && data.length > 0) parts.push(digestOf(padded));
  return Buffer.concat(parts);
}

function digestOf(bytes: Buffer): Buffer {
  const digest = Buffer.alloc(4);
  digest.writeUInt32LE(crc32c(bytes));
  return digest;
}

/** The PDUs in a stream of a target, digests checked. */
function readPdus(bytes: Buffer, { digests = false } = {}): RawPdu[] {
  const pdus: RawPdu[] = [];
  for (let at = 0; at < bytes.length; ) {
    const header = bytes.subarray(at, at + 48);
    const length = header.readUIntBE(5, 3);
    at += 48;
    if (digests && bytes.readUInt32LE(at) !== crc32c(header)) throw new Error('a header digest is wrong');
    if (digests) at += 4;
    const end = at + length + (-length & 3);
    if (digests && length > 0 && bytes.readUInt32LE(end) !== crc32c(bytes.subarray(at, end)))
      throw new Error('a data digest is wrong');
    pdus.push({ header, data: bytes.subarray(at, at + length) });
    at = end + (digests && length > 0 ? 4 : 0);
  }
  return pdus;
}

/** The digest of CHAP according to the standard, implemented independently. */
export function chapResponse(
  algorithm: 'md5' | 'sha256',
  { id, secret, challenge }: { id: number; secret: string; challenge: Buffer },
): Buffer {
  return createHash(algorithm)
    .update(Buffer.concat([Buffer.from([id]), Buffer.from(secret), challenge]))
    .digest();
}

/** Text of keys. */
export function text(...pairs: readonly string[]): Buffer {
  return Buffer.from(pairs.map((pair) => `${pair}\0`).join(''), 'latin1');
}

/** The name of the target in tests. */
export const TEST_TARGET = 'iqn.2026-11.test:target';

/** Chance without chance: the same bytes each time. */
function testPolicy(policyFor: (initiator: string) => InitiatorPolicy | null): LoginPolicy {
  return {
    targetsOf: () => [TEST_TARGET],
    policyFor,
    random: (bytes) => new Uint8Array(bytes).fill(7),
    chapDigest: (algorithm, { id, secret, challenge }) =>
      chapResponse(algorithm === 5 ? 'md5' : 'sha256', { id, secret, challenge: Buffer.from(challenge) }),
  };
}

/** One connection and its other end. */
export class TestInitiator {
  readonly connection: Connection;
  readonly ends: string[] = [];
  readonly abortsElsewhere: (number | null)[] = [];
  unsentBytes = 0;
  cmdSn = 1;
  digests = false;

  constructor(
    target: ScsiTarget,
    policyFor: (name: string) => InitiatorPolicy | null = () => ({ kind: 'open' }),
    pool = new BlockPool(),
  ) {
    const port: ConnectionPort = {
      targetNamed: () => target,
      policy: testPolicy(policyFor),
      budget: new Budget(64 * 1024 * 1024),
      blocks: pool,
      address: '192.0.2.1:3260,1',
      allocate: (bytes) => pool.allocate(bytes),
      release: (piece) => pool.release(piece),
      unsentBytes: () => this.unsentBytes,
      wantsSend: () => undefined,
      ended: (reason) => void this.ends.push(reason),
      loggedIn: () => 1,
      abortElsewhere: (lun) => void this.abortsElsewhere.push(lun),
      isStandby: () => false,
    };
    this.connection = new Connection(port);
  }

  /** Sends a PDU and answers what came back at once. */
  send(header: Buffer, data?: Buffer): RawPdu[] {
    this.connection.receive(pduBytes(header, data, { digests: this.digests }));
    return this.answers();
  }

  /** The answers since the last call. */
  answers(): RawPdu[] {
    const output = this.connection.writer.take();
    return output === null ? [] : readPdus(Buffer.concat(output.segments), { digests: this.digests });
  }

  /** One login request from `stage` to `next` (null: no transit). */
  login(stage: number, next: number | null, ...pairs: readonly string[]): RawPdu[] {
    const flags = (stage << 2) | (next === null ? 0 : 0x80 | next);
    return this.send(pduHeader(0x43, flags, { 8: 0x400001, 16: 1, 24: this.cmdSn }), text(...pairs));
  }

  /** A normal session with the given operational keys. */
  open(...keys: readonly string[]): RawPdu[] {
    const names = ['InitiatorName=iqn.2026-11.test:vm1', `TargetName=${TEST_TARGET}`];
    return this.login(1, 3, ...names, ...keys);
  }

  /** A SCSI command; its number is counted. `flags`: final, read, write and attribute. */
  command(
    cdb: Buffer,
    about: { readonly tag: number; readonly flags: number; readonly expected: number; readonly data?: Buffer },
  ): RawPdu[] {
    const header = pduHeader(0x01, about.flags, { 16: about.tag, 20: about.expected, 24: this.cmdSn });
    this.cmdSn += 1;
    cdb.copy(header, 32);
    return this.send(header, about.data);
  }
}

/** READ(10) and WRITE(10). */
export function cdb10(opcode: 0x28 | 0x2a, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb.writeUInt32BE(lba, 2);
  cdb.writeUInt16BE(blocks, 7);
  return cdb;
}
