/**
 * A shared disk as QEMU has it: the same block node and device whether it is there from the start (src/agent/qemu) or
 * plugged in later (src/core/qmp), so that a migration finds them equal on both sides. Pure; holds no secret.
 */
import { type DiskId, parseDiskId } from '../../base/ids.ts';
import type { LaunchSharedDisk } from '../ports/host-link.ts';

/**
 * The virtio-scsi controller that has a VM's shared disks, and no other device; it exists in machines whose order has a
 * list of shared disks, even an empty one.
 */
export const SHARED_CONTROLLER = 'shared0';

const PREFIX = 'shared-';

/** The id of a shared disk's device, and the name of its block node. */
export function sharedDeviceId(disk: DiskId): string {
  return PREFIX + disk;
}

/** The shared disk of a device or block node; null for any other. */
export function sharedDiskOf(name: string): DiskId | null {
  return /^shared-disk-[0-9a-f]{12}$/.test(name) ? parseDiskId(name.slice(PREFIX.length)) : null;
}

/** The QEMU object that holds the secret of a shared disk's account. */
export function sharedSecretId(disk: DiskId): string {
  return `secret-${disk}`;
}

/** Block node options (blockdev-add): the iSCSI driver, by the incarnation's own account. */
export function sharedBlockNode(disk: LaunchSharedDisk): Readonly<Record<string, unknown>> {
  return {
    driver: 'iscsi',
    'node-name': sharedDeviceId(disk.disk),
    transport: 'tcp',
    portal: `${disk.address}:${disk.port}`,
    target: disk.target,
    lun: disk.lun,
    'initiator-name': disk.initiator,
    user: disk.account,
    'password-secret': sharedSecretId(disk.disk),
    cache: { direct: true, 'no-flush': false },
  };
}

/**
 * Device options (device_add): commands go to the target as the guest sent them. `report`: a reservation conflict is
 * the guest cluster's business, and stopping the guest at it would take the other members' decisions away.
 */
export function sharedDevice({
  disk,
  lun,
}: LaunchSharedDisk): Readonly<Record<string, unknown>> & { readonly id: string } {
  return {
    driver: 'scsi-block',
    id: sharedDeviceId(disk),
    bus: `${SHARED_CONTROLLER}.0`,
    channel: 0,
    'scsi-id': 0,
    lun,
    drive: sharedDeviceId(disk),
    'share-rw': true,
    rerror: 'report',
    werror: 'report',
  };
}
