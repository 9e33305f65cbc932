/** What the documents of an export of Proxmox VE are, by their names and fields. */
import type { Document } from '../document.ts';
import { type Fields, fieldsOf, objectsAt, textAtPath } from '../formats/values.ts';

/** Returns a test whether a document has a role. */
export const hasRole =
  (role: Role) =>
  (document: Document): boolean =>
    roleOf(document) === role;

/** What a document of an export holds. */
export type Role =
  | 'vm'
  | 'storage'
  | 'ha groups'
  | 'ha rules'
  | 'ha resources'
  | 'pci mapping'
  | 'usb mapping'
  | 'resources'
  | 'network'
  | 'status'
  | 'sdn zones'
  | 'sdn vnets'
  | 'other';

/** Returns the role; null: the document is none of Proxmox VE's. */
export function roleOf(document: Document): Role | null {
  const { file } = document;
  if (document.kind === 'data') {
    const first = fieldsOf(itemsOf(document.values)[0]);
    if (/^(?:node|qemu|storage|lxc|sdn)$/.test(textAtPath(first, 'type')) && 'id' in first) return 'resources';
    if (document.values.some((value) => 'cpuinfo' in fieldsOf(value) && 'pveversion' in fieldsOf(value)))
      return 'status';
    return 'iface' in first && 'type' in first ? 'network' : null;
  }
  if (document.kind !== 'text') return null;
  if (file.endsWith('.conf') && isVmFile(document.text)) return 'vm';
  if (file.endsWith('storage.cfg')) return 'storage';
  if (file.endsWith('ha/groups.cfg')) return 'ha groups';
  if (file.endsWith('ha/rules.cfg')) return 'ha rules';
  if (file.endsWith('ha/resources.cfg')) return 'ha resources';
  if (file.endsWith('mapping/pci.cfg')) return 'pci mapping';
  if (file.endsWith('mapping/usb.cfg')) return 'usb mapping';
  if (file.endsWith('sdn/zones.cfg')) return 'sdn zones';
  if (file.endsWith('sdn/vnets.cfg')) return 'sdn vnets';
  return /(?:^|\/)(?:corosync\.conf|datacenter\.cfg)$/.test(file) ? 'other' : null;
}

const VM_KEYS =
  /^(?:memory|cores|sockets|scsihw|ostype|bootdisk|boot|smbios1|net\d+|scsi\d+|virtio\d+|ide\d+|sata\d+|hostpci\d+):/gm;

/** The settings of a VM; those of a container have a root file system instead. */
function isVmFile(text: string): boolean {
  return (text.match(VM_KEYS)?.length ?? 0) >= 2 && !/^rootfs:/m.test(text);
}

/** Returns the objects of a list of `pvesh`, or of the API that wraps it in `data`. */
export function itemsOf(values: readonly unknown[]): readonly Fields[] {
  return values.flatMap((value) => (Array.isArray(value) ? objectsAt(value) : objectsAt(value, 'data')));
}
