/**
 * Shared disks of a QEMU that runs, over QMP. Guarantees: each step is taken only where it is missing, so that what was
 * begun by a leader that is gone is finished; what `unplug` answered is closed: QEMU has logged out.
 */
import { CodedError } from '../../base/errors.ts';
import type { DiskId } from '../../base/ids.ts';
import {
  SHARED_CONTROLLER,
  sharedBlockNode,
  sharedDevice,
  sharedDeviceId,
  sharedDiskOf,
  sharedSecretId,
} from '../model/shared-disk-devices.ts';
import type { LaunchSharedDisk } from '../ports/host-link.ts';
import type { Execute } from '../ports/qmp-dialer.ts';
import type { OpenSharedDisk } from '../ports/qmp-link.ts';

/** How to wait for the guest to release a device. */
export interface UnplugWait {
  /** Calls back for QEMU's events until the answer is called. */
  onEvent(
    listener: (event: { readonly name: string; readonly data: Readonly<Record<string, unknown>> }) => void,
  ): () => void;
  /** Resolves after the time that a guest gets. */
  readonly late: Promise<void>;
}

interface QomProperty {
  readonly name: string;
}

/** The used fields of QMP's query-named-block-nodes. */
interface BlockNode {
  readonly 'node-name'?: string;
}

/**
 * Gives the guest the disk. CodedError 'conflict' for a machine that was started without a controller for shared disks.
 */
export async function plugSharedDisk(execute: Execute, disk: LaunchSharedDisk): Promise<void> {
  const id = sharedDeviceId(disk.disk);
  const devices = await namesAt(execute, '/machine/peripheral');
  if (devices.has(id)) return;
  if (!devices.has(SHARED_CONTROLLER)) {
    throw new CodedError('conflict', 'The VM runs in a machine without a controller for shared disks.', {
      advice: 'Nothing was changed. Stop and start the VM: its next machine has one.',
    });
  }
  const secret = { 'qom-type': 'secret', id: sharedSecretId(disk.disk), data: disk.secret };
  if (!(await blockNodes(execute)).includes(id)) {
    const objects = await namesAt(execute, '/objects');
    if (objects.has(secret.id)) await execute('object-del', { id: secret.id });
    await execute('object-add', secret);
    await execute('blockdev-add', sharedBlockNode(disk));
  }
  await execute('device_add', sharedDevice(disk));
}

/**
 * Takes the disk from the guest. CodedError 'deadline' while the guest has not released it: the call may be repeated.
 */
export async function unplugSharedDisk(execute: Execute, disk: DiskId, wait: UnplugWait): Promise<void> {
  const id = sharedDeviceId(disk);
  if ((await namesAt(execute, '/machine/peripheral')).has(id)) await removeDevice(execute, id, wait);
  if ((await blockNodes(execute)).includes(id)) await execute('blockdev-del', { 'node-name': id });
  const secret = sharedSecretId(disk);
  if ((await namesAt(execute, '/objects')).has(secret)) await execute('object-del', { id: secret });
}

/** The shared disks that a QEMU has open, whether the guest has a device of them or not. */
export async function openSharedDisks(execute: Execute): Promise<readonly OpenSharedDisk[]> {
  const [nodes, devices] = await Promise.all([blockNodes(execute), namesAt(execute, '/machine/peripheral')]);
  return nodes.flatMap((name) => {
    const disk = sharedDiskOf(name);
    return disk === null ? [] : [{ disk, isPlugged: devices.has(name) }];
  });
}

async function blockNodes(execute: Execute): Promise<readonly string[]> {
  const nodes = await execute<readonly BlockNode[]>('query-named-block-nodes', { flat: true });
  return nodes.flatMap((node) => node['node-name'] ?? []);
}

async function removeDevice(execute: Execute, id: string, wait: UnplugWait): Promise<void> {
  let stop = (): void => undefined;
  const gone = new Promise<void>((resolve) => {
    stop = wait.onEvent(({ name, data }) => {
      if (name === 'DEVICE_DELETED' && data['device'] === id) resolve();
    });
  });
  try {
    await execute('device_del', { id });
    await Promise.race([gone, wait.late]);
  } finally {
    stop();
  }
  // Asked nevertheless: the event may have come before we listened, and a session may have been lost.
  if ((await namesAt(execute, '/machine/peripheral')).has(id))
    throw new CodedError('deadline', `The guest has not given ${id} back.`, { advice: 'It is tried again.' });
}

async function namesAt(execute: Execute, path: string): Promise<ReadonlySet<string>> {
  return new Set((await execute<readonly QomProperty[]>('qom-list', { path })).map(({ name }) => name));
}
