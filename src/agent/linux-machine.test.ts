import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { Cancellation } from '../core/agent/cancellation.ts';
import type { LaunchOrder } from '../core/ports/host-link.ts';
import type { ArtifactCache } from './artifacts.ts';
import type { AgentConfig } from './config.ts';
import { LinuxMachine } from './linux-machine.ts';
import type { NetworkDriver } from './network/driver.ts';
import { HostPorts } from './network/port-filter.ts';

const NETWORK = { revision: 1, networks: [], drop: [], members: null };
const ORDER = {
  vm: 'vm-0123456789ab',
  generation: 1,
  slot: 3,
  machine: { kernel: { sha256: 'a'.repeat(64) }, initrd: null },
  disks: [{ export: { address: '10.78.1.1', port: 30_007 } }],
  network: NETWORK,
} as unknown as LaunchOrder;

test('what a start needs is let out while it is prepared, and not after it came to nothing', async (t) => {
  const runDir = await mkdtemp(join(tmpdir(), 'gp-machine-'));
  t.after(() => rm(runDir, { recursive: true }));
  const scripts: string[] = [];
  const ports = new HostPorts({
    slotUsers: { first: 600_000, last: 600_999 },
    running: () => [],
    log: { info: () => undefined, warn: () => undefined },
    load: async (script) => scripts.push(script),
  });
  const machine = new LinuxMachine({
    config: { runDir, qemuUsers: 'per-slot' } as AgentConfig,
    probe: Promise.resolve({ accelerator: 'tcg', cpuModels: [], reason: null }),
    artifacts: {
      get: () => Promise.reject(new CodedError('unavailable', 'No storage node has it.')),
    } as unknown as ArtifactCache,
    network: {} as NetworkDriver,
    ports,
  });
  await assert.rejects(machine.prepare(ORDER, new Cancellation()), { code: 'unavailable' });
  await machine.removeRemains(ORDER);
  await ports.put(NETWORK);
  assert.equal(scripts.length, 2);
  assert.match(scripts[0] ?? '', /600003 \. 10\.78\.1\.1 \. 30007/);
  assert.doesNotMatch(scripts[1] ?? '', /600003/);
});
