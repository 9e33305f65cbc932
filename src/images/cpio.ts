/**
 * Writes cpio archives in the "newc" format, which Linux unpacks as an initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst).
 * Guarantees: same entries, same bytes (no times, no owners but root); device nodes need no privilege; every parent
 * directory must come before its children, because the kernel creates none by itself.
 */
import { assert } from '../base/assert.ts';

/** One entry. `path` without a leading slash; `mode` holds permission bits only (0o755). */
export type CpioEntry =
  | { kind: 'file'; path: string; mode: number; content: Uint8Array }
  | { kind: 'directory'; path: string; mode: number }
  | { kind: 'symlink'; path: string; target: string }
  | { kind: 'character-device'; path: string; mode: number; major: number; minor: number };

const TYPE_BITS = { file: 0o100000, directory: 0o040000, symlink: 0o120000, 'character-device': 0o020000 } as const;
const TRAILER = 'TRAILER!!!';

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'file') return entry.content;
  return entry.kind === 'symlink' ? Buffer.from(entry.target) : new Uint8Array(0);
}

function record(
  options: { inode: number; path: string; mode: number; links: number; device: [number, number] },
  content: Uint8Array,
): Buffer {
  const name = Buffer.from(`${options.path}\0`);
  const [major, minor] = options.device;
  const fields = [
    options.inode,
    options.mode,
    0,
    0,
    options.links,
    0,
    content.length,
    0,
    0,
    major,
    minor,
    name.length,
    0,
  ];
  const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  const pad = (lengthBytes: number) => Buffer.alloc((4 - (lengthBytes % 4)) % 4);
  return Buffer.concat([head, name, pad(head.length + name.length), content, pad(content.length)]);
}

/** The archive as bytes. Entries are written in the order given. */
export function makeCpio(entries: readonly CpioEntry[]): Buffer {
  const seen = new Set<string>();
  const records = entries.map((entry, index) => {
    assert(
      entry.path !== '' && !entry.path.startsWith('/') && !seen.has(entry.path),
      `cpio entry ${entry.path} once, relative`,
    );
    seen.add(entry.path);
    const permissions = entry.kind === 'symlink' ? 0o777 : entry.mode;
    const device: [number, number] = entry.kind === 'character-device' ? [entry.major, entry.minor] : [0, 0];
    const links = entry.kind === 'directory' ? 2 : 1;
    return record(
      { inode: index + 1, path: entry.path, mode: TYPE_BITS[entry.kind] | permissions, links, device },
      contentOf(entry),
    );
  });
  records.push(record({ inode: 0, path: TRAILER, mode: 0, links: 1, device: [0, 0] }, new Uint8Array(0)));
  const archive = Buffer.concat(records);
  return Buffer.concat([archive, Buffer.alloc((512 - (archive.length % 512)) % 512)]);
}
