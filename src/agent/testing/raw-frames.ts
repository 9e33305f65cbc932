/**
 * Ethernet frames of a hostile guest, for network-scenario.ts; each carries its own name as text. Perl sends and
 * receives them, because Node has no packet sockets.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { present } from '../../base/assert.ts';

export interface Sender {
  readonly mac: string;
  readonly address: string;
}

const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const MARK = 'gpm:';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/[: ]/g, ''), 'hex');
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const ip4 = (address: string): Buffer => Buffer.from(address.split('.').map(Number));
const label = (name: string): Buffer => Buffer.from(`${MARK}${name};`);

/** An IPv6 address without a double colon in its short form: `fe80:0:0:0:0:0:0:1`. */
const ip6 = (address: string): Buffer =>
  Buffer.concat(address.split(':').map((group) => u16(Number.parseInt(group, 16))));

/** A frame to the broadcast address, or to `to`. */
export function frame(mac: string, type: number, payload: Uint8Array, to = BROADCAST): Buffer {
  return Buffer.concat([hex(to), hex(mac), u16(type), payload, Buffer.alloc(Math.max(0, 46 - payload.length))]);
}

/** The same frame with a tag (802.1Q: 0x8100, 802.1ad: 0x88a8) before its type. */
export function tagged(inner: Buffer, tpid: number, tci: number): Buffer {
  return Buffer.concat([inner.subarray(0, 12), u16(tpid), u16(tci), inner.subarray(12)]);
}

export interface Arp {
  readonly operation?: number;
  readonly senderMac?: string;
  readonly target?: string;
  readonly hardwareBytes?: number;
}

export function arp(name: string, { mac, address }: Sender, options: Arp = {}): Buffer {
  const { operation = 1, senderMac = mac, target = '10.0.0.12', hardwareBytes = 6 } = options;
  const head = Buffer.concat([u16(1), u16(0x800), Buffer.from([hardwareBytes, 4]), u16(operation)]);
  return frame(
    mac,
    0x806,
    Buffer.concat([head, hex(senderMac), ip4(address), Buffer.alloc(6), ip4(target), label(name)]),
  );
}

/** The frame that QEMU sends for a guest that arrived. */
export function announcement(name: string, { mac }: Sender, operation = 3): Buffer {
  const head = hex('0001 0800 0604');
  const ends = Buffer.concat([hex(mac), ip4('0.0.0.0'), hex(mac), ip4('0.0.0.0')]);
  return frame(mac, 0x8035, Buffer.concat([head, u16(operation), ends, label(name)]));
}

export function udp(name: string, source: number, destination: number): Buffer {
  const data = label(name);
  return Buffer.concat([u16(source), u16(destination), u16(8 + data.length), u16(0), data]);
}

export function icmp(name: string, type: number, more: Uint8Array = Buffer.alloc(4)): Buffer {
  return Buffer.concat([Buffer.from([type, 0, 0, 0]), more, label(name)]);
}

/** Neighbour discovery: the target's address follows four bytes. */
export const target6 = (address: string): Buffer => Buffer.concat([Buffer.alloc(4), ip6(address)]);

export interface Ip4 {
  readonly protocol: number;
  readonly destination?: string;
  readonly to?: string;
}

export function ipv4({ mac, address }: Sender, payload: Uint8Array, options: Ip4): Buffer {
  const { protocol, destination = '255.255.255.255', to } = options;
  const header = Buffer.concat([
    Buffer.from([0x45, 0]),
    u16(20 + payload.length),
    Buffer.from([0, 0, 0, 0, 64, protocol, 0, 0]),
    ip4(address),
    ip4(destination),
  ]);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  return frame(mac, 0x800, Buffer.concat([header, payload]), to);
}

/** Extension headers: each names the type of the following header. */
export const HOP = (next: number): Buffer => Buffer.from([next, 0, 5, 2, 0, 0, 1, 0]);
export const OPTIONS = (next: number): Buffer => Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]);
export const FRAGMENT = (next: number, offset: number, more: boolean): Buffer =>
  Buffer.concat([Buffer.from([next, 0]), u16(offset * 8 + (more ? 1 : 0)), Buffer.from([0, 0, 0, 7])]);

export function ipv6({ mac, address }: Sender, next: number, payload: Uint8Array): Buffer {
  const head = Buffer.concat([Buffer.from([0x60, 0, 0, 0]), u16(payload.length), Buffer.from([next, 255])]);
  return frame(
    mac,
    0x86dd,
    Buffer.concat([head, ip6(address), ip6('ff02:0:0:0:0:0:0:1'), payload]),
    '33:33:00:00:00:01',
  );
}

const PERL = 'use Socket; $|=1; socket(S,17,3,768) or die; bind(S,pack("S n i x12",17,3,$i=shift)) or die;';
const inside = (pid: number): readonly string[] => ['--target', String(pid), '--net', '--', 'perl', '-e'];

/**
 * Sends the frames, and then the last one, from the first interface of the namespace of `from`; returns the names of
 * those that arrived at the interface of `at`, in order. Ends when the last frame arrives, which must pass.
 */
export async function arrivals(
  {
    from,
    at,
  }: {
    readonly from: { readonly pid: number; readonly index: number };
    readonly at: { readonly pid: number; readonly index: number };
  },
  frames: readonly Buffer[],
  last: { readonly name: string; readonly frame: Buffer },
): Promise<readonly string[]> {
  const hear = `${PERL} print "ready\\n"; while (recv(S,$f,9000,0) ne undef) { print "$1\\n" if $f =~ /${MARK}([^;]+);/ }`;
  const ear = spawn('nsenter', [...inside(at.pid), hear, String(at.index)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => ear.kill('SIGKILL'), 20_000);
  const names: string[] = [];
  try {
    for await (const line of createInterface({ input: present(ear.stdout, 'stdout') })) {
      if (line === 'ready') {
        const say = `${PERL} while (<STDIN>) { chomp; send(S,pack("H*",$_),0) or die "send: $!" }`;
        const mouth = spawn('nsenter', [...inside(from.pid), say, String(from.index)], {
          stdio: ['pipe', 'inherit', 'inherit'],
        });
        mouth.stdin?.end([...frames, last.frame].map((one) => `${one.toString('hex')}\n`).join(''));
      } else if (line === last.name) return names;
      else names.push(line);
    }
    throw new Error(`${last.name} did not arrive; there were: ${names.join(', ')}`);
  } finally {
    clearTimeout(timer);
    ear.kill('SIGKILL');
  }
}
