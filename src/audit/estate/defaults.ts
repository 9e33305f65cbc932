/** Objects of an estate with default values, for readers to fill in. */
import type { Disk, Evidence, Host, Vm } from './estate.ts';

/** Returns a VM of which only the name is known. */
export function plainVm(known: Pick<Vm, 'key' | 'name' | 'platform' | 'group' | 'evidence'> & Partial<Vm>): Vm {
  return {
    uuid: '',
    host: null,
    hostSaid: '',
    cluster: null,
    power: 'unknown',
    isTemplate: false,
    memoryMib: null,
    reservedMib: null,
    cpus: null,
    disks: [],
    nics: [],
    ties: [],
    unknowns: [],
    owner: '',
    notes: '',
    guest: '',
    ...known,
  };
}

/** Returns a host of which only the name is known. */
export function plainHost(known: Pick<Host, 'key' | 'name' | 'platform' | 'group' | 'evidence'> & Partial<Host>): Host {
  return {
    cluster: null,
    memoryMib: null,
    state: 'unknown',
    cpu: null,
    cpuModel: null,
    saysRunning: null,
    labels: {},
    ...known,
  };
}

/** Returns a private disk that every host can reach. */
export function plainDisk(known: { readonly label: string; readonly evidence: Evidence } & Partial<Disk>): Disk {
  return {
    identities: [],
    permit: null,
    storage: null,
    reach: { kind: 'every' },
    sizeGib: null,
    isReadOnly: false,
    isRaw: false,
    isMedia: false,
    ...known,
  };
}
