/** Writes a seeded estate as XCP-ng exports it. */
import type { Files } from '../run-audit.ts';
import { membersOf, type Seed, uuidOf } from './seed.ts';
import { groups, hasSigns, isShared, MIB } from './write.ts';

/** The files. */
export function xcpngFiles(seed: Seed): Files {
  return {
    'vm.txt': vmFile(seed),
    'host.txt': hostFile(seed),
    'sr.txt': srFile(seed),
    'pbd.txt': pbdFile(seed),
    'vdi.txt': vdiFile(seed),
    'vbd.txt': vbdFile(seed),
    'network.txt': networkFile(seed),
    'pif.txt': pifFile(seed),
    'vif.txt': vifFile(seed),
  };
}

function vmFile(seed: Seed): string {
  return records(
    seed.vms.map((vm) => ({
      uuid: uuidOf(1, vm.number),
      'name-label': vm.name,
      'is-a-template': 'false',
      'is-control-domain': 'false',
      'power-state': 'running',
      'resident-on': uuidOf(2, vm.host),
      'memory-static-max': vm.memoryMib * MIB,
      'VCPUs-number': vm.cpus,
      'attached-PCIs': vm.tie === 'device' ? '0/0000:01:00.0' : '',
    })),
  );
}

function hostFile(seed: Seed): string {
  return records(
    seed.hosts.map((name, number) => ({
      uuid: uuidOf(2, number),
      'name-label': name,
      hostname: name,
      enabled: 'true',
      'memory-total': seed.hostMemoryMib * MIB,
    })),
  );
}

function srFile(seed: Seed): string {
  return records([
    { uuid: uuidOf(3, 999), 'name-label': 'nfs', shared: 'true', 'content-type': 'user' },
    ...seed.hosts.map((name, number) => ({
      uuid: uuidOf(3, number),
      'name-label': `${name}-iso`,
      shared: 'false',
      'content-type': 'iso',
    })),
  ]);
}

function pbdFile(seed: Seed): string {
  return records(
    seed.hosts.flatMap((_name, number) =>
      [uuidOf(3, 999), uuidOf(3, number)].map((sr, at) => ({
        uuid: uuidOf(7, number * 2 + at),
        'host-uuid': uuidOf(2, number),
        'sr-uuid': sr,
        'currently-attached': 'true',
      })),
    ),
  );
}

function vdiFile(seed: Seed): string {
  return records([
    ...seed.vms.map((vm) => ({
      uuid: uuidOf(4, vm.number),
      'name-label': vm.name,
      'sr-uuid': uuidOf(3, 999),
      'virtual-size': vm.diskGib * 2 ** 30,
      sharable: 'false',
    })),
    ...sharedDisks(seed).map((number) => ({
      uuid: uuidOf(5, number),
      'name-label': `shared${number}`,
      'sr-uuid': uuidOf(3, 999),
      'virtual-size': 2 ** 30,
      sharable: 'true',
    })),
    ...seed.hosts.map((_name, number) => ({
      uuid: uuidOf(6, number),
      'name-label': 'a.iso',
      'sr-uuid': uuidOf(3, number),
      'virtual-size': 2 ** 20,
      sharable: 'false',
    })),
  ]);
}

function vbdFile(seed: Seed): string {
  return records(
    seed.vms.flatMap((vm) =>
      [uuidOf(4, vm.number), ...(isShared(seed, vm) ? [uuidOf(5, vm.cluster ?? 0)] : [])]
        .map((vdi, at) => ({
          uuid: uuidOf(8, vm.number * 4 + at),
          'vm-uuid': uuidOf(1, vm.number),
          'vdi-uuid': vdi,
          type: 'Disk',
          mode: 'RW',
        }))
        .concat(
          vm.tie === 'media'
            ? [
                {
                  uuid: uuidOf(8, vm.number * 4 + 3),
                  'vm-uuid': uuidOf(1, vm.number),
                  'vdi-uuid': uuidOf(6, vm.host),
                  type: 'CD',
                  mode: 'RO',
                },
              ]
            : [],
        ),
    ),
  );
}

function networkFile(seed: Seed): string {
  return records([
    { uuid: uuidOf(10, 0), 'name-label': 'lan', bridge: 'xenbr0' },
    ...groups(seed).map(([number]) => ({
      uuid: uuidOf(11, number),
      'name-label': `beat${number}`,
      bridge: `xapi${number}`,
    })),
  ]);
}

function pifFile(seed: Seed): string {
  return records(
    seed.hosts.map((_name, number) => ({
      uuid: uuidOf(12, number),
      'host-uuid': uuidOf(2, number),
      'network-uuid': uuidOf(10, 0),
      device: 'eth0',
    })),
  );
}

function vifFile(seed: Seed): string {
  return records(
    seed.vms.flatMap((vm) =>
      [uuidOf(10, 0), ...(hasSigns(seed, vm) ? [uuidOf(11, vm.cluster ?? 0)] : [])].map((network, at) => ({
        uuid: uuidOf(13, vm.number * 2 + at),
        'vm-uuid': uuidOf(1, vm.number),
        'network-uuid': network,
      })),
    ),
  );
}

type Values = Readonly<Record<string, string | number>>;

function records(all: readonly Values[]): string {
  return all
    .map((fields) =>
      Object.entries(fields)
        .map(([name, value]) => `${name.padStart(20)} ( RO): ${value}`)
        .join('\n'),
    )
    .join('\n\n\n');
}

/** Numbers of the disks that several VMs share. */
function sharedDisks(seed: Seed): readonly number[] {
  return seed.clusters === 'identity' ? [...membersOf(seed).keys()] : [];
}
