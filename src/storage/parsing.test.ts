import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseDiskId, parseGeneration, parseVmId } from '../base/ids.ts';
import { connectionsAmong, parseProcNetTcp, parseProcNetUnix, parseSs } from './connections.ts';
import { parseDiskOrder, parseFenceOrder, parseGrantOrder, parseSharedDiskOrder } from './orders.ts';
import { parseExportId, qsdArgv } from './qsd.ts';

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const g = parseGeneration;

test("the kernel's tables are read", () => {
  const line = (local: string, remote: string, state: string) =>
    `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000`;
  const text = [
    '  sl  local_address',
    line('0100007F:7531', '0201000A:C350', '01'),
    line('0100007F:7531', '00000000:0000', '0A'),
    line('0100007F:7532', '0201000A:C351', '01'),
  ].join('\n');
  assert.deepEqual(parseProcNetTcp(text, 0x7531), [
    { address: '10.0.1.2', key: '10.0.1.2:50000', inode: '4711', state: '01' },
    { address: '0.0.0.0', key: '0.0.0.0:0', inode: '4711', state: '0A' },
  ]);
  const unix =
    'Num       RefCount Protocol Flags    Type St Inode Path\n' +
    '000000004812a2b5: 00000002 00000000 00010000 0001 01 1881111 /run/disk/qmp.sock\n' +
    '00000000e69d0a23: 00000003 00000000 00000000 0001 03 1881112\n';
  assert.deepEqual([...parseProcNetUnix(unix)], ['1881111', '1881112']);
  const ss =
    '0      0      10.0.0.1:30001 10.0.0.2:40000 cubic rto:204 lastsnd:900 lastrcv:800 lastack:350 pacing_rate 1Mbps\n0 0 10.0.0.1:22 10.0.0.3:1 cubic\n';
  assert.deepEqual(parseSs(ss), [
    { localPort: 30_001, address: '10.0.0.2', idleMs: 350 },
    { localPort: 22, address: '10.0.0.3', idleMs: null },
  ]);
});

test('who is connected is said of sockets that all have names, or not at all', () => {
  const connection = { address: '10.0.1.2', key: '10.0.1.2:50000' };
  const names = new Map([
    ['1', null],
    ['2', connection],
    ['3', { address: '10.0.1.3', key: '10.0.1.3:50000' }],
  ]);
  assert.deepEqual(connectionsAmong(['1', '2'], names), [connection]);
  assert.deepEqual(connectionsAmong(['1'], names), []);
  assert.equal(connectionsAmong(['1', '2', '4'], names), undefined);
});

test('a daemon is started with its whole state, no secret on its command line, and no header followed', () => {
  const spec = {
    disk: DISK,
    image: { path: '/p/disk.qcow2', format: 'qcow2', backing: { path: '/p/base', format: 'raw' } },
    address: '10.0.0.1',
    port: 30_001,
    runDir: '/run/a,b',
    credentials: { caPem: 'CA', certPem: 'CERT', keyPem: 'PRIVATE' },
    uid: 700_001,
    direct: true,
  } as const;
  const argv = qsdArgv(spec, [{ vm: VM, generation: g(7), readOnly: false }]);
  const text = argv.join(' ');
  assert.match(text, /^setpriv --reuid=700001 --regid=700001 --clear-groups --no-new-privs qemu-storage-daemon /);
  assert.match(
    text,
    / qemu-storage-daemon --chardev socket,id=qmp,\S+ --monitor chardev=qmp /,
    'before all that takes time',
  );
  assert.ok(!text.includes('PRIVATE'));
  assert.ok(text.includes('"id":"g7.rw"') && text.includes('path=/run/a,,b/'));
  assert.ok(text.includes('"rules":[{"match":"CN=incarnation:vm-0123456789ab:7","policy":"allow"}]'));
  assert.ok(text.includes('"backing":"base"'));
  assert.ok(
    qsdArgv({ ...spec, image: { ...spec.image, backing: null } }, [])
      .join(' ')
      .includes('"backing":null'),
  );
  assert.deepEqual(parseExportId('g7.ro', VM), { vm: VM, generation: 7, readOnly: true });
  for (const id of ['g07.ro', 'g7', 'g7.rw.x', 'x']) assert.equal(parseExportId(id, VM), undefined);
});

test('what a newer controller added is ignored, and what it needs and this version lacks is refused', () => {
  const fence = { term: 1, vm: VM, below: 3, disks: [DISK] };
  assert.deepEqual(parseFenceOrder({ ...fence, future: 1, needs: [] }, ''), fence);
  const grant = { term: 1, vm: VM, generation: 3, disks: [{ disk: DISK, port: 30_001, readOnly: false }] };
  const more = { ...grant, disks: grant.disks.map((disk) => ({ ...disk, future: 1 })) };
  assert.deepEqual(parseGrantOrder(more, ''), { ...grant, sharedDisks: [] });
  const sharing = { ...grant, sharedDisks: [{ disk: DISK, lun: 255 }] };
  assert.deepEqual(parseGrantOrder({ ...sharing, needs: ['shared-disks'] }, ''), sharing);
  assert.throws(() => parseFenceOrder({ ...fence, needs: ['x'] }, ''), { code: 'unsupported' });
});

test('shared disks have whole numbers, blocks of 512 or 4096 bytes, and room for 64 TiB', () => {
  const order = { term: 1, sizeBytes: 64 * 1024 ** 4, blockBytes: 4096 };
  assert.deepEqual(parseSharedDiskOrder(order, ''), order);
  const bad = [{ blockBytes: 1024 }, { blockBytes: '512' }, { sizeBytes: 64 * 1024 ** 4 + 1 }, { sizeBytes: 0 }];
  for (const change of bad)
    assert.throws(() => parseSharedDiskOrder({ ...order, ...change }, ''), { code: 'bad-input' });
  const grant = { term: 1, vm: VM, generation: 3, disks: [] };
  for (const lun of [-1, 256, 0.5, '1'])
    assert.throws(() => parseGrantOrder({ ...grant, sharedDisks: [{ disk: DISK, lun }] }, ''), { code: 'bad-input' });
});

test('disk orders are taken apart strictly', () => {
  const order = { term: 1, vm: VM, sizeBytes: 1, source: { kind: 'content', artifact: 'a'.repeat(64) } };
  assert.deepEqual(parseDiskOrder(order, ''), order);
  for (const source of [
    { kind: 'content', artifact: 'A' },
    { kind: 'content', artifact: '../x' },
    { kind: 'content', base64: 'QUJD' },
    { kind: 'image', artifact: '../../etc/passwd', format: 'raw' },
    { kind: 'tape' },
  ])
    assert.throws(
      () => parseDiskOrder({ ...order, source }, ''),
      (error) => error instanceof CodedError && error.code === 'bad-input',
    );
});
