import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parseVmId } from '../../base/ids.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { makeSeedIso } from '../../wire/iso9660/seed-iso.ts';
import { seedFiles } from './cloud-init.ts';

const VM = { id: parseVmId('vm-0123456789ab'), name: 'web1' };
const base64 = (bytes: Uint8Array) => ({ base64: Buffer.from(bytes).toString('base64') });
const contentOf = (files: ReturnType<typeof seedFiles>, name: string): Buffer =>
  Buffer.from(files.find((file) => file.name === name)?.content ?? 'missing');

const KINDS: readonly (readonly [string, Buffer])[] = [
  ['gzip', gzipSync('#cloud-config\n{}\n')],
  ['latin-1', Buffer.from('#cloud-config\nhostname: größe\n', 'latin1')],
  ['UTF-16 with a byte order mark', Buffer.from('\ufeff#cloud-config\n', 'utf16le')],
  ['UTF-8 with a byte order mark', Buffer.from('\ufeff#cloud-config\n')],
  ['every byte', Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
  ['nothing', Buffer.alloc(0)],
];

for (const [kind, bytes] of KINDS) {
  test(`cloud-init as bytes arrives byte for byte: ${kind}`, () => {
    const given = { userData: base64(bytes), metaData: base64(bytes), networkConfig: base64(bytes) };
    const files = seedFiles(given, VM);
    for (const name of ['user-data', 'meta-data', 'network-config']) assert.deepEqual(contentOf(files, name), bytes);
    assert.ok(Buffer.from(makeSeedIso({ volumeLabel: 'CIDATA', files })).includes(bytes));
  });
}

test('cloud-init as text is UTF-8, and what has no form in UTF-8 is refused', () => {
  const userData = '#cloud-config\nhostname: größe-😀\n';
  assert.equal(contentOf(seedFiles({ userData }, VM), 'user-data').toString('utf8'), userData);
  assert.match(contentOf(seedFiles({}, VM), 'meta-data').toString(), /local-hostname: web1/);
  assert.throws(() => seedFiles({ userData: 'half \ud83d' }, VM), /half of a surrogate pair.*/);
});

test('what only looks like base64 is refused, and so are bytes above the limit', () => {
  for (const text of ['QQ', 'QR==', 'QQ=', 'Q!==', 'QQ==QQ=='])
    assert.throws(() => seedFiles({ userData: { base64: text } }, VM), /no base64/, text);
  const most = Buffer.alloc(LIMITS.userDataBytes.max, 0xff);
  assert.equal(contentOf(seedFiles({ userData: base64(most) }, VM), 'user-data').length, most.length);
  assert.throws(() => seedFiles({ userData: base64(Buffer.concat([most, Buffer.alloc(1)])) }, VM), /262144 bytes/);
});
