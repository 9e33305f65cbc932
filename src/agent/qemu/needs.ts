/** What a QEMU connects to while it runs, taken from its launch order or from its arguments. Pure. */
import { SHARED_CONTROLLER } from '../../core/model/shared-disk-devices.ts';
import type { SlotNeeds } from '../../core/plan/hosts/port-filter.ts';
import type { LaunchOrder } from '../../core/ports/host-link.ts';

const NBD_SERVER = /^\{"driver":"nbd",.*"server":\{"type":"inet","host":"([\d.]+)","port":"(\d+)"/;
/** The beginning of the QEMU argument that creates the controller for shared disks. */
export const SHARED_CONTROLLER_DEVICE = `virtio-scsi-pci,id=${SHARED_CONTROLLER},`;

/** Returns the ports that the QEMU of a launch order connects to. */
export function needsOf({ disks, sharedDisks }: LaunchOrder): Omit<SlotNeeds, 'uid'> {
  return {
    disks: disks.map(({ export: { address, port } }) => ({ address, port })),
    sharesDisks: sharedDisks !== undefined,
  };
}

/** Returns the same from the arguments of a running QEMU. */
export function parseNeeds(argv: readonly string[]): Omit<SlotNeeds, 'uid'> {
  const disks = argv.flatMap((argument) => {
    const [, address, port] = NBD_SERVER.exec(argument) ?? [];
    return address === undefined ? [] : [{ address, port: Number(port) }];
  });
  return { disks, sharesDisks: argv.some((argument) => argument.startsWith(SHARED_CONTROLLER_DEVICE)) };
}
