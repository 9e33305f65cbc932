/** Writes a seeded estate as libvirt exports it. */
import type { Files } from '../run-audit.ts';
import { type Seed, uuidOf } from './seed.ts';
import { hasSigns, isShared } from './write.ts';

/** The files. */
export function libvirtFiles(seed: Seed): Files {
  const files: Record<string, string> = {};
  for (const host of seed.hosts) {
    files[`${host}/capabilities.xml`] =
      `<capabilities><host><uuid>u</uuid><cpu><arch>x86_64</arch><model>Icelake-Server</model></cpu><topology><cells num='1'><cell id='0'><memory unit='KiB'>${seed.hostMemoryMib * 1024}</memory></cell></cells></topology></host></capabilities>`;
    files[`${host}/networks/lan.xml`] =
      `<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>`;
    files[`${host}/pools/nfs.xml`] =
      `<pool type='netfs'><name>nfs</name><source><host name='filer'/><dir path='/vm'/></source><target><path>/srv/nfs</path></target></pool>`;
    files[`${host}/pools/iso.xml`] = `<pool type='dir'><name>iso</name><target><path>/srv/iso</path></target></pool>`;
  }
  for (const [number, host] of seed.hosts.entries()) {
    const lines = seed.vms.filter((vm) => vm.host === number).map((vm) => ` ${vm.number + 1}   ${vm.name}   running`);
    files[`${host}/virsh-list.txt`] = [' Id   Name   State', '-----------------', ...lines, ''].join('\n');
  }
  for (const vm of seed.vms) {
    const host = seed.hosts[vm.host] ?? '';
    const shared = isShared(seed, vm)
      ? `<disk type='file' device='lun'><source file='/srv/nfs/shared${vm.cluster}.raw'><reservations managed='yes'/></source><target dev='sdb'/><shareable/></disk>`
      : '';
    const media =
      vm.tie === 'media'
        ? `<disk type='file' device='cdrom'><source file='/srv/iso/a.iso'/><target dev='sdc'/><readonly/></disk>`
        : '';
    const device =
      vm.tie === 'device'
        ? `<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1'/></source></hostdev>`
        : '';
    if (hasSigns(seed, vm))
      files[`${host}/networks/beat${vm.cluster}.xml`] =
        `<network><name>beat${vm.cluster}</name><bridge name='virbr9'/></network>`;
    const beat = hasSigns(seed, vm)
      ? `<interface type='network'><source network='beat${vm.cluster}'/></interface>`
      : '';
    files[`${host}/qemu/${vm.name}.xml`] =
      `<domain type='kvm' id='${vm.number + 1}'><name>${vm.name}</name><uuid>${uuidOf(1, vm.number)}</uuid><memory unit='KiB'>${vm.memoryMib * 1024}</memory><vcpu>${vm.cpus}</vcpu><devices><disk type='file' device='disk'><source file='/srv/nfs/${vm.name}.qcow2'/><target dev='sda'/></disk>${shared}${media}${device}<interface type='network'><source network='lan'/></interface>${beat}</devices></domain>`;
  }
  return files;
}
