/** Holds the disk of a VM, as its storage node keeps it, against what the VM acknowledged on its serial consoles. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Vm } from '../../src/api/views.ts';
import { checkSequence, type SequenceReport } from '../../src/images/sequence-check.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { run } from '../../src/os/child-process.ts';

const CONVERT_DEADLINE_MS = 60_000;

/** Reads the VM's first disk on its storage node's own file system; the VM must be stopped. */
export async function checkDisk(dir: string, vm: Vm, serialLogs: readonly string[]): Promise<SequenceReport> {
  const disk = vm.disks.find(({ role }) => role === 'data');
  if (disk?.node === undefined || disk.node === null) throw new Error(`${vm.name} has no disk with a home.`);
  const image = join(labLayout(dir).machine(disk.node).poolDir, 'disks', disk.id, 'disk.qcow2');
  const raw = join(dir, `${disk.id}.raw`);
  try {
    // --force-share: the storage service may hold the image open, idle.
    await run(['qemu-img', 'convert', '--force-share', '-f', 'qcow2', '-O', 'raw', image, raw], {
      deadlineMs: CONVERT_DEADLINE_MS,
    });
    const file = await open(raw, 'r');
    try {
      const { size } = await file.stat();
      return await checkSequence({
        diskSizeBytes: size,
        serialLogs,
        readAt: async (offset, length) => {
          const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, offset);
          return buffer.subarray(0, bytesRead);
        },
      });
    } finally {
      await file.close();
    }
  } finally {
    await rm(raw, { force: true });
  }
}
