/** Reads `.vmx` files of VMs and the descriptors of their disks, as stored on datastores. They name no host. */
import { posix } from 'node:path';
import { plainDisk, plainVm } from '../../estate/defaults.ts';
import { type Disk, type Evidence, type Identity, keyOf, type Nic, type Tie } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document } from '../document.ts';
import { numberOf } from '../formats/values.ts';

const PLATFORM = 'vsphere';

/** Returns true for the configuration of a VM. */
export function isVmx(document: Document): document is Extract<Document, { kind: 'text' }> {
  return document.kind === 'text' && /^\s*(?:displayName|virtualHW\.version|config\.version)\s*=/im.test(document.text);
}

/** Returns true for the descriptor of a disk. */
export function isVmdk(document: Document): document is Extract<Document, { kind: 'text' }> {
  return document.kind === 'text' && document.text.startsWith('# Disk DescriptorFile');
}

/** Reads all files; descriptors add the identity of a disk to the VMs that name it. */
export function readVmxFiles(documents: readonly Document[], into: EstateBuilder): void {
  const uuids = new Map<string, string>();
  for (const document of documents) {
    if (!isVmdk(document)) continue;
    const uuid = /^ddb\.uuid\s*=\s*"([^"]+)"/m.exec(document.text)?.[1];
    if (uuid !== undefined) uuids.set(diskPath(document.file, ''), uuid.replaceAll(' ', ''));
  }
  for (const document of documents) if (isVmx(document)) into.vm(vmOf(document.file, document.text, uuids));
}

/** Resolves a disk's path: absolute paths lose their mount point, others are relative to the file that names them. */
function diskPath(named: string, from: string): string {
  const plain = named.replaceAll('\\', '/');
  if (/^\[[^\]]+\]/.test(plain)) return plain;
  if (plain.startsWith('/')) return plain.replace(/^\/vmfs\/volumes\//, '');
  return posix.normalize(posix.join(from === '' ? '.' : posix.dirname(from.replaceAll('\\', '/')), plain));
}

class Settings {
  readonly #values = new Map<string, string>();
  readonly file: string;

  constructor(file: string, text: string) {
    this.file = file;
    for (const line of text.split(/\r?\n/)) {
      const [, key, value] = /^\s*([\w.:-]+)\s*=\s*"(.*)"\s*$/.exec(line) ?? [];
      if (key !== undefined && value !== undefined) this.#values.set(key.toLowerCase(), value);
    }
  }

  get(key: string): string {
    return this.#values.get(key.toLowerCase()) ?? '';
  }

  isOn(key: string): boolean {
    return this.get(key).toLowerCase() === 'true';
  }

  /** Returns devices such as `scsi0:1`, in order. */
  devices(pattern: RegExp): readonly string[] {
    const found = [...this.#values.keys()].flatMap((key) => pattern.exec(key)?.[1] ?? []);
    return [...new Set(found)].filter((device) => this.get(`${device}.present`).toLowerCase() !== 'false').toSorted();
  }

  at(key: string): Evidence {
    return evidence(this.file, '', '', key, this.get(key));
  }
}

function vmOf(file: string, text: string, uuids: ReadonlyMap<string, string>) {
  const settings = new Settings(file, text);
  const name = settings.get('displayName') || posix.basename(file.replaceAll('\\', '/'), '.vmx');
  const ties: Tie[] = [];
  const disks: Disk[] = [];
  for (const device of settings.devices(/^((?:scsi|sata|ide|nvme)\d+:\d+)\./)) {
    const found = storageDevice(device, settings, uuids);
    if ('kind' in found) ties.push(found);
    else if (found.disk !== null) disks.push(found.disk);
    const bus = settings.get(`${device.split(':')[0]}.sharedBus`);
    if (!('kind' in found) && found.disk?.isMedia === false && /physical|virtual/i.test(bus))
      ties.push({
        kind: 'shared bus',
        effect: 'blocks',
        subject: bus,
        evidence: settings.at(`${device.split(':')[0]}.sharedBus`),
      });
  }
  return plainVm({
    key: keyOf(PLATFORM, file),
    uuid: settings.get('vc.uuid').replaceAll(/[\s-]/g, ''),
    name,
    platform: PLATFORM,
    group: 'vmx',
    power: 'unknown',
    isTemplate: /\.vmtx$/i.test(file),
    memoryMib: numberOf(settings.get('memSize') || settings.get('memsize')),
    cpus: numberOf(settings.get('numvcpus') || '1'),
    disks,
    nics: nicsOf(settings),
    ties: [...ties, ...tiesOf(settings)],
    notes: settings.get('annotation'),
    guest: settings.get('guestOS'),
    evidence: settings.at('displayName'),
  });
}

function storageDevice(
  device: string,
  settings: Settings,
  uuids: ReadonlyMap<string, string>,
): Tie | { readonly disk: Disk | null } {
  const type = settings.get(`${device}.deviceType`).toLowerCase();
  const name = settings.get(`${device}.fileName`);
  const place = settings.at(`${device}.fileName`);
  // A missing field means connected.
  const isConnected = settings.get(`${device}.startConnected`).toLowerCase() !== 'false';
  if (type === 'scsi-passthru')
    return { kind: 'passthrough disk', effect: 'blocks', subject: name, evidence: settings.at(`${device}.deviceType`) };
  if (type === 'cdrom-image') {
    const isTools = /\/isoimages\//.test(name) || name === '';
    const disk = plainDisk({
      label: name,
      reach: { kind: 'unknown' },
      isReadOnly: true,
      isMedia: true,
      evidence: place,
    });
    return { disk: isConnected && !isTools ? disk : null };
  }
  if (/cdrom|floppy/.test(type))
    return isConnected
      ? { kind: 'host drive', effect: 'blocks', subject: name, evidence: settings.at(`${device}.deviceType`) }
      : { disk: null };
  if (name === '') return { disk: null };
  const path = diskPath(name, settings.file);
  const identities: Identity[] = [{ key: keyOf('path', 'vmx', path), kind: 'path', name: path }];
  const uuid = uuids.get(path);
  if (uuid !== undefined) identities.push({ key: keyOf('vmdk', uuid), kind: 'disk', name: uuid });
  return { disk: plainDisk({ label: device, identities, permit: permitOf(device, settings), evidence: place }) };
}

function permitOf(device: string, settings: Settings): Disk['permit'] {
  const controller = `${device.split(':')[0]}.sharedBus`;
  if (/physical|virtual/i.test(settings.get(controller)))
    return { kind: 'shared bus', evidence: settings.at(controller) };
  const sharing = `${device}.sharing`;
  return /multi-writer/i.test(settings.get(sharing)) ? { kind: 'multi-writer', evidence: settings.at(sharing) } : null;
}

function nicsOf(settings: Settings): readonly Nic[] {
  return settings.devices(/^(ethernet\d+)\./).map((device) => {
    return { network: null, address: '', evidence: settings.at(`${device}.networkName`) };
  });
}

function tiesOf(settings: Settings): readonly Tie[] {
  const ties: Tie[] = [];
  const pinned = settings.get('sched.cpu.affinity');
  if (pinned !== '' && pinned !== 'all')
    ties.push({ kind: 'cpu pin', effect: 'blocks', subject: pinned, evidence: settings.at('sched.cpu.affinity') });
  for (const device of settings.devices(/^(pcipassthru\d+)\./))
    ties.push({ kind: 'host device', effect: 'blocks', subject: device, evidence: settings.at(`${device}.present`) });
  for (const device of settings.devices(/^(usb\.autoconnect\.device\d+)$/))
    ties.push({ kind: 'usb', effect: 'blocks', subject: settings.get(device), evidence: settings.at(device) });
  for (const device of settings.devices(/^((?:serial|parallel)\d+)\./))
    if (settings.isOn(`${device}.present`) && /^(?:device|)$/.test(settings.get(`${device}.fileType`)))
      ties.push({ kind: 'serial port', effect: 'blocks', subject: device, evidence: settings.at(`${device}.present`) });
  if (settings.isOn('sched.mem.pin'))
    ties.push({ kind: 'locked memory', effect: 'warns', subject: '', evidence: settings.at('sched.mem.pin') });
  return ties;
}
