import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Execute } from '../ports/qmp-dialer.ts';
import { readMachineFacts } from './machine-facts.ts';

const MIB = 1024 ** 2;
const KERNEL = 'a'.repeat(64);
const DISK = 'disk-000000000001';
const SEED = 'disk-000000000002';

/** Answers as QEMU 7.2 gave them, shortened. */
const ANSWERS: Readonly<Record<string, unknown>> = {
  'qom-list /machine/peripheral': ['nic1', 'drive1', 'drive0', 'port0', 'nic0', 'ports'].map((name) => ({ name })),
  'qom-list /objects': [],
  'qom-get /machine/peripheral/drive0 serial': DISK,
  'qom-get /machine/peripheral/drive1 serial': SEED,
  'qom-get /machine/peripheral/nic0 mac': '52:54:00:AA:BB:CC',
  'qom-get /machine/peripheral/nic1 mac': '52:54:00:aa:bb:cd',
  'qom-get /machine kernel': `/var/lib/groundplane/agent/files/${KERNEL}`,
  'qom-get /machine initrd': '',
  'qom-get /machine append': 'console=ttyS0',
  'query-named-block-nodes': [
    { 'node-name': 'disk0', ro: false },
    { 'node-name': 'disk1', ro: true },
    { 'node-name': 'disk2', ro: false },
  ],
  'query-memory-size-summary': { 'base-memory': 256 * MIB + 8192, 'plugged-memory': 0 },
  'query-cpus-fast': [{ 'cpu-index': 0, 'qom-type': 'max-x86_64-cpu' }, { 'cpu-index': 1 }],
  'query-name': { name: 'web1' },
  'query-vnc': { enabled: true },
};

const asking =
  (answers: Readonly<Record<string, unknown>>): Execute =>
  async <T>(command: string, args: object = {}) => {
    const { path = '', property = '' } = args as { path?: string; property?: string };
    const asked = [command, path, property].filter((word) => word !== '').join(' ');
    return answers[asked] as T;
  };

test('a machine is what its QEMU tells, in the order of its devices', async () => {
  assert.deepEqual(await readMachineFacts(asking(ANSWERS)), {
    ...{ name: 'web1', vcpus: 2, memoryBytes: 256 * MIB, cpuModel: null },
    disks: [
      { disk: DISK, isReadOnly: false },
      { disk: SEED, isReadOnly: true },
    ],
    ...{ diskNodes: 3, sharedDisks: [], macs: ['52:54:00:aa:bb:cc', '52:54:00:aa:bb:cd'] },
    direct: { kernel: KERNEL, initrd: null, append: 'console=ttyS0' },
    ...{ hasDisplay: true, hasGuestAgent: true },
  });
});

test('what has not the form that it should have is not believed', async () => {
  const facts = await readMachineFacts(
    asking({
      ...ANSWERS,
      'qom-get /machine/peripheral/drive0 serial': '../../etc/passwd',
      'qom-get /machine/peripheral/nic0 mac': 'nonsense',
      'qom-get /machine kernel': '/etc/shadow',
      'query-memory-size-summary': { 'base-memory': 'much' },
      'query-name': {},
      'query-cpus-fast': [{ 'qom-type': 'EPYC-x86_64-cpu' }],
    }),
  );
  assert.deepEqual(
    [facts.disks.map(({ disk }) => disk), facts.macs, facts.direct, facts.memoryBytes, facts.name, facts.cpuModel],
    [[SEED], ['52:54:00:aa:bb:cd'], null, 0, null, 'EPYC'],
  );
});
