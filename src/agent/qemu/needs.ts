/** What a QEMU connects to while it runs: from the order that starts it, and from its arguments. Pure. */
import { SHARED_CONTROLLER } from '../../core/model/shared-disk-devices.ts';
import type { SlotNeeds } from '../../core/plan/port-filter.ts';
import type { LaunchOrder } from '../../core/ports/host-link.ts';

const NBD_SERVER = /^\{"driver":"nbd",.*"server":\{"type":"inet","host":"([\d.]+)","port":"(\d+)"/;
/** The beginning of the argument that gives a machine its place for shared disks. */
export const SHARED_CONTROLLER_DEVICE = `virtio-scsi-pci,id=${SHARED_CONTROLLER},`;

/** What the QEMU of an order connects to. */
export function needsOf({ disks, sharedDisks }: LaunchOrder): Omit<SlotNeeds, 'uid'> {
  return {
    disks: disks.map(({ export: { address, port } }) => ({ address, port })),
    sharesDisks: sharedDisks !== undefined,
  };
}

/** The same from the arguments of a QEMU that runs. */
export function parseNeeds(argv: readonly string[]): Omit<SlotNeeds, 'uid'> {
  const disks = argv.flatMap((argument) => {
    const [, address, port] = NBD_SERVER.exec(argument) ?? [];
    return address === undefined ? [] : [{ address, port: Number(port) }];
  });
  return { disks, sharesDisks: argv.some((argument) => argument.startsWith(SHARED_CONTROLLER_DEVICE)) };
}
