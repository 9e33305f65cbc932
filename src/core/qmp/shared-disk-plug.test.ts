import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDiskId } from '../../base/ids.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { LaunchSharedDisk } from '../ports/host-link.ts';
import type { Execute } from '../ports/qmp-dialer.ts';
import { openSharedDisks, plugSharedDisk, type UnplugWait, unplugSharedDisk } from './shared-disk-plug.ts';

const ID = 'shared-disk-0000000000ff';
const DISK: LaunchSharedDisk = {
  disk: parseDiskId('disk-0000000000ff'),
  ...{ lun: 1, address: '10.1.0.9', port: 3260, target: 't', initiator: 'i', account: 'a', secret: 's' },
};
const PLUG = ['object-add', 'blockdev-add', 'device_add'];
const UNPLUG = ['device_del', 'blockdev-del', 'object-del'];
const soon: UnplugWait = { onEvent: () => () => undefined, late: Promise.resolve() };

interface Machine {
  readonly objects: Set<string>;
  readonly nodes: Set<string>;
  readonly devices: Set<string>;
}

/** A QEMU whose connection is lost after `orders` of what changes something. */
function machine(orders = Infinity): Machine & { readonly execute: Execute; readonly done: string[] } {
  const [objects, nodes, devices] = [new Set<string>(), new Set<string>(['disk0']), new Set<string>(['shared0'])];
  const done: string[] = [];
  const answers: Readonly<Record<string, (args: Readonly<Record<string, unknown>>) => unknown>> = {
    'qom-list': ({ path }) => [...(path === '/objects' ? objects : devices)].map((name) => ({ name })),
    'query-named-block-nodes': () => [...nodes].map((name) => ({ 'node-name': name })),
    'object-add': ({ id }) => objects.add(String(id)),
    'object-del': ({ id }) => objects.delete(String(id)),
    'blockdev-add': (args) => nodes.add(String(args['node-name'])),
    'blockdev-del': (args) => nodes.delete(String(args['node-name'])),
    device_add: ({ id }) => devices.add(String(id)),
    device_del: ({ id }) => devices.delete(String(id)),
  };
  const execute = async (command: string, args?: object): Promise<never> => {
    const changes = PLUG.includes(command) || UNPLUG.includes(command);
    if (changes && done.length >= orders) throw new Error('the connection is lost');
    if (changes) done.push(command);
    return (answers[command]?.({ ...args }) ?? {}) as never;
  };
  return { execute, done, objects, nodes, devices };
}

test('plugging: secret, block node, device; once is enough', async () => {
  const { execute, done } = machine();
  await plugSharedDisk(execute, DISK);
  assert.deepEqual(done, PLUG);
  await plugSharedDisk(execute, DISK);
  assert.deepEqual(done, PLUG);
  assert.deepEqual(await openSharedDisks(execute), [{ disk: DISK.disk, isPlugged: true }]);
});

test('unplugging: device, block node, secret; once is enough', async () => {
  const { execute, done } = machine();
  await plugSharedDisk(execute, DISK);
  done.length = 0;
  await unplugSharedDisk(execute, DISK.disk, soon);
  await unplugSharedDisk(execute, DISK.disk, soon);
  assert.deepEqual(done, UNPLUG);
  assert.deepEqual(await openSharedDisks(execute), []);
});

test('what stopped after any step is said to be half-way, finished by the next attempt, and can be taken back', async () => {
  for (let orders = 0; orders < PLUG.length; orders++) {
    for (const isTakenBack of [false, true]) {
      const first = machine(orders);
      await assert.rejects(plugSharedDisk(first.execute, DISK));
      const open = await openSharedDisks(first.execute);
      assert.deepEqual(open, orders < 2 ? [] : [{ disk: DISK.disk, isPlugged: false }]);
      const next = machine();
      for (const name of first.objects) next.objects.add(name);
      for (const name of first.nodes) next.nodes.add(name);
      if (isTakenBack) await unplugSharedDisk(next.execute, DISK.disk, soon);
      else await plugSharedDisk(next.execute, DISK);
      assert.equal(next.devices.has(ID), !isTakenBack);
      assert.equal(next.nodes.has(ID), !isTakenBack);
      assert.equal(next.objects.size, isTakenBack ? 0 : 1);
    }
  }
});

test('a machine that was started without a place for shared disks is told so; nothing is changed', async () => {
  const { execute, done, devices } = machine();
  devices.clear();
  await assert.rejects(plugSharedDisk(execute, DISK), { code: 'conflict' });
  assert.deepEqual(done, []);
});

test('what QEMU refuses is passed on, and the guest has no device', async () => {
  const { execute, devices } = machine();
  const refusing: Execute = (command, args) =>
    command === 'blockdev-add'
      ? Promise.reject(new QmpError(command, { errorClass: 'GenericError', description: 'Failed to connect' }))
      : execute(command, args);
  await assert.rejects(plugSharedDisk(refusing, DISK), { code: 'failed' });
  assert.equal(devices.has(ID), false);
});
