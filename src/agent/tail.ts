/** The ends of files that others write: logs are read at their end, and kept short. */

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { openForeign } from '../os/foreign-files.ts';

/**
 * The last `bytesMax` bytes of a file as text; empty if there is no such file, or if it is no regular file: QEMU, which
 * a guest may have taken over, owns the directory.
 */
export async function readTail(path: string, bytesMax: number): Promise<string> {
  try {
    const file = await openForeign(path);
    try {
      const { size } = await file.stat();
      const buffer = Buffer.alloc(Math.min(size, bytesMax));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, Math.max(0, size - bytesMax));
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof CodedError || (error instanceof Error && 'code' in error && error.code === 'ENOENT'))
      return '';
    throw error;
  }
}

/**
 * Cuts a file that is longer than `limitBytes` down to its last `keepBytes`. The writer must append (O_APPEND); what it
 * writes in the microseconds in between may be lost, nothing else. Returns whether it was cut.
 */
export function cutToTail(path: string, { limitBytes, keepBytes }: { limitBytes: number; keepBytes: number }): boolean {
  let file: number;
  try {
    // The process of the guest owns the directory: it must not point us at another file.
    file = openSync(path, constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile() || stat.size <= limitBytes) return false;
    const buffer = Buffer.alloc(keepBytes);
    const bytesRead = readSync(file, buffer, 0, keepBytes, stat.size - keepBytes);
    ftruncateSync(file, 0);
    writeSync(file, buffer, 0, bytesRead);
    return true;
  } finally {
    closeSync(file);
  }
}
