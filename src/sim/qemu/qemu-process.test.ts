import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, parseGeneration, parseVmId } from '../../base/ids.ts';
import { accountName, initiatorName, targetName } from '../../core/model/shared-disk-identity.ts';
import type { LaunchSharedDisk } from '../../core/ports/host-link.ts';
import type { Execute } from '../../core/ports/qmp-dialer.ts';
import { openSharedDisks, plugSharedDisk } from '../../core/qmp/shared-disk-plug.ts';
import { SimMachine } from '../machines/sim-machine.ts';
import { SimNetwork } from '../network/network.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { QemuProcess } from './qemu-process.ts';
import { executeOver } from './qmp-server.ts';

const DISK = parseDiskId('disk-0000000000ff');
const WEB1 = { vm: parseVmId('vm-0123456789ab'), vmName: 'web1', generation: parseGeneration(1), slot: 0 };
const ORDER = { ...WEB1, incoming: false, disks: [], sharedDisks: [] };
const SHARED: LaunchSharedDisk = {
  disk: DISK,
  lun: 1,
  address: '10.1.0.9',
  port: 3260,
  target: targetName(WEB1.vm),
  initiator: initiatorName(WEB1.vm),
  account: accountName(WEB1.vm, WEB1.generation),
  secret: 'secret',
};

// Found with shared disks (seeds 400616, 406519, 407478, 408669): such a disk never was connected, and kept every
// migration waiting.
test('hot-plug of a shared disk whose log-in fails fails, and the guest has no disk of it', async () => {
  const clock = new SimClock();
  const random = new SimRandom(1);
  const qemu = new QemuProcess(ORDER, new SimMachine('h1', clock).spawn('qemu'), {
    network: new SimNetwork(clock, random),
    random,
    storageAt: () => undefined,
    address: '10.1.0.1',
    note: () => undefined,
    say: () => undefined,
    qemuAt: () => undefined,
  });
  qemu.cont();
  const execute: Execute = (command, args) => executeOver((line) => qemu.qmp.answer(line), command, args);
  const plugged = plugSharedDisk(execute, SHARED).then(
    () => 'plugged',
    (error: unknown) => (error instanceof CodedError ? error.code : 'another error'),
  );
  await clock.run(60_000);
  assert.equal(await plugged, 'failed');
  assert.deepEqual([...qemu.sharedDisks], []);
  assert.deepEqual(await openSharedDisks(execute), []);
});
