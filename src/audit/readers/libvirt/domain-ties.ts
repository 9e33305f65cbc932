/** Finds the parts of a domain's XML that depend on its host. */
import type { Evidence, Tie } from '../../estate/estate.ts';
import type { Xml } from '../document.ts';
import { child, children, descendants, at as elementAt } from '../formats/xml.ts';

type At = (column: string, value: unknown) => Evidence;

/** Returns the ties of a domain, except storage and networks. */
export function domainTies(xml: Xml, place: At): readonly Tie[] {
  const devices = child(xml, 'devices');
  return [
    ...hostDevices(devices, place),
    ...ports(devices, place),
    ...folders(devices, place),
    ...tpm(devices, place),
    ...cpu(xml, place),
    ...encryption(xml, place),
  ];
}

function hostDevices(devices: Xml | undefined, place: At): readonly Tie[] {
  const ties: Tie[] = [];
  for (const device of children(devices, 'hostdev')) {
    const type = device.attributes['type'] ?? device.attributes['mode'] ?? '';
    const kind =
      type === 'usb' ? 'usb' : type === 'mdev' ? 'gpu' : type.startsWith('scsi') ? 'passthrough disk' : 'host device';
    const address = JSON.stringify(child(device, 'source')?.children[0]?.attributes ?? {});
    ties.push({ kind, effect: 'blocks', subject: type, evidence: place('hostdev', address) });
  }
  for (const nic of children(devices, 'interface'))
    if (nic.attributes['type'] === 'hostdev')
      ties.push({ kind: 'sr-iov', effect: 'blocks', subject: '', evidence: place('interface type', 'hostdev') });
  for (const disk of children(devices, 'disk')) {
    const isLun = disk.attributes['device'] === 'lun';
    const dev = child(disk, 'source')?.attributes['dev'] ?? '';
    if (isLun && /^\/dev\/(?:sd|nvme|vd|hd)/.test(dev))
      ties.push({ kind: 'passthrough disk', effect: 'blocks', subject: dev, evidence: place('disk device lun', dev) });
    const isDrive = disk.attributes['device'] === 'cdrom' && disk.attributes['type'] === 'block' && dev !== '';
    if (isDrive)
      ties.push({ kind: 'host drive', effect: 'blocks', subject: dev, evidence: place('disk device cdrom', dev) });
  }
  return ties;
}

function ports(devices: Xml | undefined, place: At): readonly Tie[] {
  return ['serial', 'parallel', 'console', 'channel'].flatMap((name) =>
    children(devices, name).flatMap((port): readonly Tie[] => {
      if (port.attributes['type'] !== 'dev') return [];
      const path = child(port, 'source')?.attributes['path'] ?? '';
      return [{ kind: 'serial port', effect: 'blocks', subject: path, evidence: place(name, path) }];
    }),
  );
}

function folders(devices: Xml | undefined, place: At): readonly Tie[] {
  const shared = children(devices, 'filesystem').map((one): Tie => {
    const subject = child(one, 'source')?.attributes['dir'] ?? '';
    return { kind: 'host folder', effect: 'blocks', subject, evidence: place('filesystem', subject) };
  });
  const memory = children(devices, 'shmem').map((one): Tie => {
    const subject = one.attributes['name'] ?? '';
    return { kind: 'shared memory', effect: 'blocks', subject, evidence: place('shmem', subject) };
  });
  return [...shared, ...memory];
}

function tpm(devices: Xml | undefined, place: At): readonly Tie[] {
  return children(devices, 'tpm').map((one): Tie => {
    const type = child(one, 'backend')?.attributes['type'] ?? '';
    return type === 'passthrough'
      ? { kind: 'host tpm', effect: 'blocks', subject: '', evidence: place('tpm/backend', type) }
      : { kind: 'soft tpm', effect: 'informs', subject: '', evidence: place('tpm/backend', type) };
  });
}

function encryption(xml: Xml, place: At): readonly Tie[] {
  return children(xml, 'launchSecurity').map((one): Tie => {
    const subject = one.attributes['type'] ?? '';
    return { kind: 'encrypted memory', effect: 'blocks', subject, evidence: place('launchSecurity', subject) };
  });
}

function cpu(xml: Xml, place: At): readonly Tie[] {
  const ties: Tie[] = [];
  const mode = child(xml, 'cpu')?.attributes['mode'] ?? '';
  if (mode === 'host-passthrough' || mode === 'maximum')
    ties.push({ kind: 'cpu passthrough', effect: 'warns', subject: '', evidence: place('cpu mode', mode) });
  const pins = [...descendants(elementAt(xml, 'cputune') ?? xml, 'vcpupin')].map(
    ({ attributes }) => attributes['cpuset'] ?? '',
  );
  if (pins.length > 0)
    ties.push({
      kind: 'cpu pin',
      effect: 'warns',
      subject: pins.join(' '),
      evidence: place('cputune/vcpupin', pins.join(' ')),
    });
  return ties;
}
