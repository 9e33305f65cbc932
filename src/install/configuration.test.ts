import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAgentConfig } from '../agent/config.ts';
import { readConfig } from '../control/config.ts';
import { parseStorageConfig } from '../storage/config.ts';
import { agentConfig, type ControlNode, controlConfig, type InstalledMachine, storageConfig } from './configuration.ts';

const NODES: readonly ControlNode[] = [
  { name: 'c1', address: '10.0.0.11' },
  { name: 'c2', address: '10.0.0.12' },
];
const machine = (name: string): InstalledMachine => ({
  name,
  addresses: { control: '10.0.0.21', storage: '10.1.0.21', overlay: '10.2.0.21' },
  overlayDevice: 'eth2',
  paths: {
    stateDir: '/var/lib/groundplane',
    runDir: '/run/groundplane',
    poolDir: '/var/lib/groundplane/pool',
    credentialsDir: '/var/lib/groundplane/credentials',
    authorityDir: '/var/lib/groundplane/authority',
    etcdDir: '/var/lib/groundplane/etcd',
    joinTokenFile: '/var/lib/groundplane/join-token',
  },
});
const TOKEN = 'a'.repeat(64);

test("each role's reader takes the configuration that is made for it, and reads what was meant", async () => {
  const directory = await mkdtemp(join(tmpdir(), 'install-'));
  const file = join(directory, 'role.json');
  try {
    await writeFile(file, JSON.stringify(controlConfig(machine('c1'), NODES, { adminTokenSha256: TOKEN })));
    const control = await readConfig(['--config', file]);
    assert.deepEqual(control.etcd.endpoints, ['https://10.0.0.11:2379', 'https://10.0.0.12:2379']);
    assert.deepEqual([control.peers.length, control.lab, control.apiSocket], [2, false, undefined]);

    const storage = parseStorageConfig(JSON.parse(JSON.stringify(storageConfig(machine('s1'), NODES))), file);
    assert.deepEqual(
      [storage.storageAddress, storage.join?.controlAddresses],
      ['10.1.0.21', ['10.0.0.11', '10.0.0.12']],
    );

    const host = { memoryBytes: 1024 ** 3, qemuUsers: 'per-slot' } as const;
    await writeFile(file, JSON.stringify(agentConfig(machine('h1'), NODES, host)));
    const agent = await readAgentConfig(file);
    assert.deepEqual([agent.overlayAddress, agent.overlayDevice, agent.memoryBytes], ['10.2.0.21', 'eth2', 1024 ** 3]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a crash point is configured for a one-machine cluster only', () => {
  const settings = { adminTokenSha256: TOKEN, failpointFile: '/x/failpoint' };
  assert.equal(controlConfig(machine('c1'), NODES, settings).lab, true);
  assert.equal(controlConfig(machine('c1'), NODES, { adminTokenSha256: TOKEN }).lab, false);
});
