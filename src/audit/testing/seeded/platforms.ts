/** Writes a seeded estate as each platform exports it, completely: with everything that a reader needs for a proof. */
import type { Files } from '../run-audit.ts';
import { hypervFiles } from './hyperv.ts';
import { kubevirtFiles } from './kubevirt.ts';
import { libvirtFiles } from './libvirt.ts';
import { nutanixFiles } from './nutanix.ts';
import { openstackFiles } from './openstack.ts';
import { ovirtFiles } from './ovirt.ts';
import { proxmoxFiles } from './proxmox.ts';
import { csvFiles, rvtoolsTabs } from './rvtools.ts';
import type { Seed } from './seed.ts';
import { vsphereFiles } from './vsphere.ts';
import { xcpngFiles } from './xcpng.ts';

/** Writers by platform. */
export const WRITERS: Readonly<Record<string, (seed: Seed) => Files>> = {
  rvtools: (seed) => csvFiles(rvtoolsTabs(seed)),
  vsphere: vsphereFiles,
  hyperv: hypervFiles,
  kubevirt: kubevirtFiles,
  nutanix: nutanixFiles,
  ovirt: ovirtFiles,
  openstack: openstackFiles,
  libvirt: libvirtFiles,
  proxmox: proxmoxFiles,
  xcpng: xcpngFiles,
};
