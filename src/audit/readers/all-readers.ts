/** All readers, in the order in which they may claim a document. */
import type { Reader } from './document.ts';
import { hypervReader } from './hyperv/hyperv-reader.ts';
import { kubevirtReader } from './kubevirt/kubevirt-reader.ts';
import { libvirtReader } from './libvirt/libvirt-reader.ts';
import { nutanixReader } from './nutanix/nutanix-reader.ts';
import { openstackReader } from './openstack/openstack-reader.ts';
import { ovirtReader } from './ovirt/ovirt-reader.ts';
import { proxmoxReader } from './proxmox/proxmox-reader.ts';
import { rvtoolsReader } from './rvtools/rvtools-reader.ts';
import { vsphereReader } from './vsphere/vsphere-reader.ts';
import { xcpngReader } from './xcpng/xcpng-reader.ts';

export const READERS: readonly Reader[] = [
  rvtoolsReader,
  vsphereReader,
  hypervReader,
  kubevirtReader,
  nutanixReader,
  ovirtReader,
  openstackReader,
  libvirtReader,
  proxmoxReader,
  xcpngReader,
];
