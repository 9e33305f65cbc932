/** The devices of a vSphere VM: disks, drives, network adapters, and devices that depend on the host. */
import { plainDisk } from '../../estate/defaults.ts';
import {
  type Disk,
  type Evidence,
  type Identity,
  keyOf,
  type Reach,
  type Tie,
  type TieKind,
} from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import { numberOf } from '../formats/values.ts';
import { pick, pickText, refOf } from './managed-objects.ts';

export interface Devices {
  readonly disks: readonly Disk[];
  readonly ties: readonly Tie[];
  readonly nics: readonly { readonly device: unknown; readonly evidence: Evidence }[];
}

interface Place {
  readonly file: string;
  /** The group of exports to which paths belong. */
  readonly group: string;
  readonly vm: string;
  /** Records which hosts have a datastore's files. */
  storageOf(datastore: string, path: string): { readonly storage: string | null; readonly reach: Reach };
  readonly version: number;
}

const LIVE_BUS_VERSION = 11;

const HOST_DEVICES: readonly (readonly [RegExp, TieKind])[] = [
  [/PCIPassthrough|DynamicDirectPath/i, 'host device'],
  [/Sriov/i, 'sr-iov'],
  [/VirtualUSB(?!Controller|XHCI)/i, 'usb'],
  [/ScsiPassthrough/i, 'passthrough disk'],
];

/** Sorts devices into disks, ties and network adapters. */
export function devicesOf(devices: readonly unknown[], place: Place): Devices {
  const buses = new Map<string, string>();
  for (const device of devices) {
    const sharing = pick(device, 'sharedBus');
    if (sharing !== undefined) buses.set(pickText(device, 'key'), busWord(sharing));
  }
  const disks: Disk[] = [];
  const ties: Tie[] = [];
  const nics: { device: unknown; evidence: Evidence }[] = [];
  for (const device of devices) {
    const type = typeOf(device);
    const label = pickText(device, 'deviceInfo', 'label') || pickText(device, 'key');
    const at = (column: string, value: unknown): Evidence =>
      evidence(place.file, 'config.hardware.device', place.vm, `${label} ${column}`, value);
    if (type === 'VirtualDisk') {
      const disk = diskOf(device, label, buses, place, at);
      disks.push(disk);
      ties.push(...busTies(device, buses, place, at));
    } else if (type === 'VirtualCdrom' || type === 'VirtualFloppy') {
      const drive = driveOf(device, label, place, at);
      if (drive?.disk !== undefined) disks.push(drive.disk);
      if (drive?.tie !== undefined) ties.push(drive.tie);
    } else ties.push(...hostTies(device, type, label, at));
    if (pickText(device, 'macAddress') !== '' || /EthernetCard|Vmxnet|E1000|PCNet/i.test(type))
      nics.push({ device, evidence: at('backing', pick(device, 'backing', 'deviceName') ?? '') });
  }
  return { disks, ties, nics };
}

/** Recognises devices by their fields: PowerCLI's JSON has no type names. */
function typeOf(device: unknown): string {
  const named = pickText(device, '_typeName') || pickText(device, 'xsiType');
  if (named !== '') return named;
  if (pick(device, 'capacityInKB') !== undefined) return 'VirtualDisk';
  const label = pickText(device, 'deviceInfo', 'label');
  if (/^CD\/DVD/i.test(label)) return 'VirtualCdrom';
  if (/^Floppy/i.test(label)) return 'VirtualFloppy';
  if (/^PCI device/i.test(label)) return 'VirtualPCIPassthrough';
  if (/^SR-IOV/i.test(label)) return 'VirtualSriovEthernetCard';
  if (/^USB \d/i.test(label)) return 'VirtualUSB';
  if (/^(?:Serial|Parallel) port/i.test(label)) return 'VirtualSerialPort';
  return '';
}

function busWord(sharing: unknown): string {
  // PowerShell writes an enumeration as its index: noSharing, virtualSharing, physicalSharing, in the API's order.
  if (typeof sharing === 'number') return ['noSharing', 'virtualSharing', 'physicalSharing'][sharing] ?? '';
  return typeof sharing === 'string' ? sharing : '';
}

/** A device without a connection state counts as connected: the API always writes the state. */
function isConnected(device: unknown): boolean {
  return pick(device, 'connectable', 'connected') !== false;
}

function diskOf(
  device: unknown,
  label: string,
  buses: ReadonlyMap<string, string>,
  place: Place,
  at: (column: string, value: unknown) => Evidence,
): Disk {
  const path = pickText(device, 'backing', 'fileName');
  const lun = pickText(device, 'backing', 'lunUuid');
  const identities: Identity[] = [];
  if (lun !== '') identities.push({ key: keyOf('lun', lun.toLowerCase()), kind: 'LUN', name: lun });
  if (path !== '') identities.push({ key: keyOf('path', place.group, path), kind: 'path', name: path });
  const bus = buses.get(pickText(device, 'controllerKey')) ?? '';
  const sharing = pickText(device, 'backing', 'sharing');
  const permit: Disk['permit'] = /physical|virtual/i.test(bus)
    ? { kind: 'shared bus', evidence: at('sharedBus of its controller', bus) }
    : /multi-?writer/i.test(sharing)
      ? { kind: 'multi-writer', evidence: at('backing.sharing', sharing) }
      : null;
  const kib = numberOf(pick(device, 'capacityInKB'));
  return plainDisk({
    label,
    identities,
    permit,
    ...place.storageOf(refOf(pick(device, 'backing', 'datastore')), path),
    sizeGib: kib === null ? null : kib / 2 ** 20,
    isRaw: lun !== '',
    evidence: path === '' ? at('backing.lunUuid', lun) : at('backing.fileName', path),
  });
}

function busTies(
  device: unknown,
  buses: ReadonlyMap<string, string>,
  place: Place,
  at: (column: string, value: unknown) => Evidence,
): readonly Tie[] {
  const bus = buses.get(pickText(device, 'controllerKey')) ?? '';
  if (!/physical|virtual/i.test(bus)) return [];
  const isRaw = pickText(device, 'backing', 'lunUuid') !== '';
  // From hardware version 11 on, a physical bus with raw disks can be migrated live.
  const isLive = /physical/i.test(bus) && isRaw && place.version >= LIVE_BUS_VERSION;
  const effect = isLive ? 'warns' : 'blocks';
  return [{ kind: 'shared bus', effect, subject: bus, evidence: at('sharedBus of its controller', bus) }];
}

function driveOf(
  device: unknown,
  label: string,
  place: Place,
  at: (column: string, value: unknown) => Evidence,
): { readonly disk?: Disk; readonly tie?: Tie } | null {
  if (!isConnected(device)) return null;
  const path = pickText(device, 'backing', 'fileName');
  const where = at('backing', path === '' ? pick(device, 'backing', 'deviceName') : path);
  if (path === '') {
    const subject = pickText(device, 'backing', 'deviceName') || label;
    return { tie: { kind: 'host drive', effect: 'blocks', subject, evidence: where } };
  }
  // Every host has the image of the guest tools.
  if (/^\[\s*\]/.test(path)) return { tie: { kind: 'local media', effect: 'informs', subject: path, evidence: where } };
  const storage = place.storageOf(refOf(pick(device, 'backing', 'datastore')), path);
  return { disk: plainDisk({ label: path, ...storage, isReadOnly: true, isMedia: true, evidence: where }) };
}

function hostTies(
  device: unknown,
  type: string,
  label: string,
  at: (column: string, value: unknown) => Evidence,
): readonly Tie[] {
  const ties: Tie[] = [];
  const found = HOST_DEVICES.find(([pattern]) => pattern.test(type));
  if (found !== undefined && (found[1] !== 'usb' || isConnected(device))) {
    const isVgpu = pickText(device, 'backing', 'vgpu') !== '';
    ties.push({
      kind: isVgpu ? 'gpu' : found[1],
      effect: isVgpu ? 'warns' : 'blocks',
      subject: pickText(device, 'backing', 'vgpu') || label,
      evidence: at('type', type),
    });
  }
  const backing = pickText(device, 'backing', '_typeName');
  const isPort = /VirtualSerialPort|VirtualParallelPort/i.test(type);
  if (isPort && isConnected(device) && !/URI|File|Pipe|ThinPrint/i.test(backing))
    ties.push({ kind: 'serial port', effect: 'blocks', subject: label, evidence: at('backing', backing) });
  return ties;
}
