import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { formatMachineConfig, networksOf, parseMachineConfig, sizeBytesOf } from './machine-config.ts';
import { hostMemoryBytes, roleConfigFile } from './role-config.ts';

const GIB = 1024 ** 3;
const WHOLE = `
name: m1
networks: { control: eth0, storage: 10.1.0.11, overlay: eth2 }
control:
  etcdQuota: 4GiB
  backup:
    keep: 72
    space: 4GiB
    directory: /mnt/nas/groundplane
    s3: { endpoint: 'https://s3.example.com', bucket: backups, region: eu-central-1, prefix: gp/, credentials: /etc/s3, ca: /etc/ca }
storage: { pool: /srv/disks, reserve: 20GiB }
host: { memory: 60GiB, vcpus: 12, accelerator: auto }
`;
const INTERFACES = { lo: ['127.0.0.1'], eth0: ['10.0.0.11'], eth1: ['10.1.0.11', '10.1.0.12'], eth2: ['10.2.0.11'] };

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['name: m1\nnetworks: { control: eth0 }', /has no role/],
  ['networks: { control: eth0 }\nhost: {}', /name/],
  ['name: M_1\nnetworks: { control: eth0 }\nhost: {}', /"M_1" is not a name/],
  ['name: m1\nnetworks: {}\nhost: {}', /networks.*control/],
  ['name: m1\nnetworks: { control: eth0, contol: eth1 }\nhost: {}', /networks\.contol is not a field/],
  ['name: m1\nnetworks: { control: eth0 }\nhost: { memory: 60 }', /host\.memory/],
  ['name: m1\nnetworks: { control: eth0 }\nhost: { memory: 60GB }', /host\.memory/],
  ['name: m1\nnetworks: { control: eth0 }\nhost: { vcpus: 0 }', /host\.vcpus/],
  ['name: m1\nnetworks: { control: eth0 }\ncontrol: { backup: { keep: 0 } }', /control\.backup\.keep/],
  ['name: m1\nnetworks: { control: eth0 }\ncontrol: { backup: { s3: { bucket: b1 } } }', /control\.backup\.s3/],
  [
    "name: m1\nnetworks: { control: eth0 }\ncontrol: { backup: { s3: { endpoint: 'http://s3', bucket: b1, credentials: /k } } }",
    /control\.backup\.s3\.endpoint/,
  ],
  [
    "name: m1\nnetworks: { control: eth0 }\ncontrol: { backup: { s3: { endpoint: 'https://s3', bucket: b1, credentials: /k, prefix: a/../ } } }",
    /control\.backup\.s3\.prefix/,
  ],
  ['name: m1\nnetworks: { control: eth0 }\nstorage: { pool: relative }', /storage\.pool/],
  ['name: m1\nnetworks: { control: eth0 }\nhost: {}\nroles: [host]', /roles is not a field/],
  ['name: [', /m\.yaml/],
  ['a: &a [x]\nb: *a', /m\.yaml/],
  ['', /m\.yaml/],
];

test('what is not the file is refused with the name of the field', () => {
  for (const [text, reason] of REFUSED)
    assert.throws(
      () => parseMachineConfig(text, 'm.yaml'),
      (error) => error instanceof CodedError && error.code === 'bad-input' && reason.test(error.message),
      text,
    );
});

test('the file is written as it is read', () => {
  const config = parseMachineConfig(WHOLE, 'm.yaml');
  assert.deepEqual(parseMachineConfig(formatMachineConfig(config), 'm.yaml'), config);
});

test('networks are found by address and by interface', () => {
  const config = parseMachineConfig(WHOLE, 'm.yaml');
  assert.deepEqual(networksOf(config, INTERFACES), {
    control: '10.0.0.11',
    storage: '10.1.0.11',
    overlay: '10.2.0.11',
    overlayDevice: 'eth2',
  });
  const one = { networks: { control: '10.0.0.11' } };
  assert.deepEqual(networksOf(one, INTERFACES), {
    control: '10.0.0.11',
    storage: '10.0.0.11',
    overlay: '10.0.0.11',
    overlayDevice: 'eth0',
  });
  for (const [control, reason] of [
    ['10.9.9.9', /No interface of this machine has the control address 10\.9\.9\.9/],
    ['eth1', /several addresses \(10\.1\.0\.11, 10\.1\.0\.12\)/],
    ['eth9', /eth9 of the control network has no IPv4 address/],
  ] as const)
    assert.throws(() => networksOf({ networks: { control } }, INTERFACES), reason);
});

test('each role gets its configuration from it', () => {
  const facts = {
    machine: parseMachineConfig(WHOLE, 'm.yaml'),
    cluster: { controls: [{ name: 'm1', address: '10.0.0.11' }], adminTokenSha256: 'a'.repeat(64), etcd: undefined },
    interfaces: INTERFACES,
    stateDir: '/var/lib/groundplane',
    runDir: '/run/groundplane',
    memoryBytes: 64 * GIB,
  };
  const of = (role: 'control' | 'storage' | 'agent') => JSON.parse(roleConfigFile(role, facts).content);
  assert.deepEqual([of('control').address, of('control').etcd.quotaBytes], ['10.0.0.11', 4 * GIB]);
  assert.deepEqual([of('storage').poolDir, of('storage').poolReserveBytes], ['/srv/disks', 20 * GIB]);
  assert.deepEqual([of('agent').memoryBytes, of('agent').vcpus, of('agent').overlayDevice], [60 * GIB, 12, 'eth2']);
  const lines = roleConfigFile('etcd', facts).content.split('\n');
  assert.ok(lines.includes('ETCD_INITIAL_CLUSTER=m1=https://10.0.0.11:2380'), lines.join('\n'));
  assert.ok(lines.includes(`ETCD_QUOTA_BACKEND_BYTES=${4 * GIB}`));
  assert.ok(lines.includes('ETCD_DATA_DIR=/var/lib/groundplane/etcd'));
  assert.ok(
    lines.every((line) => line === '' || /^ETCD_[A-Z_]+=\S*$/.test(line)),
    lines.join('\n'),
  );
});

test('a host without a word about memory leaves some to its system, and more to other roles', () => {
  const host = { name: 'm1', networks: { control: 'eth0' }, host: {} };
  assert.equal(hostMemoryBytes({ machine: host, memoryBytes: 16 * GIB }), 14 * GIB);
  assert.equal(hostMemoryBytes({ machine: { ...host, storage: {} }, memoryBytes: 16 * GIB }), 13 * GIB);
  assert.equal(hostMemoryBytes({ machine: host, memoryBytes: GIB }), 0);
  assert.deepEqual(['512MiB', '2GiB', '1TiB'].map(sizeBytesOf), [512 * 1024 ** 2, 2 * GIB, 1024 * GIB]);
});
