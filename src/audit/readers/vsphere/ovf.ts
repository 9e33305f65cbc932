/**
 * Reads OVF packages, whose VMs do not run yet. They can show clusters (a disk of two VMs, placement groups), but no
 * ties.
 */
import { plainDisk, plainVm } from '../../estate/defaults.ts';
import { type Disk, keyOf, type Nic } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Xml } from '../document.ts';
import { numberOf } from '../formats/values.ts';
import { child, children, descendants, textAt } from '../formats/xml.ts';

const PLATFORM = 'vsphere';
const RESOURCE = { cpu: '3', memory: '4', network: '10', disk: '17' };

type OvfDocument = Extract<Document, { kind: 'xml' }>;

/** Returns true for an OVF document. */
export function isOvf(document: Document): document is OvfDocument {
  return document.kind === 'xml' && document.root.name === 'Envelope' && hasSystem(document.root);
}

function hasSystem(root: Xml): boolean {
  return [...descendants(root, 'VirtualSystem')].length > 0;
}

/** Reads the VMs of a package. */
export function readOvf({ file, root }: OvfDocument, into: EstateBuilder): void {
  const shared = new Set([...descendants(root, 'SharedDisk')].map(({ attributes }) => attributes['diskId'] ?? ''));
  const groups = new Map(
    [...descendants(root, 'PlacementGroupSection')].map((group) => [group.attributes['id'] ?? '', group]),
  );
  const members = new Map<string, string[]>();
  for (const system of descendants(root, 'VirtualSystem')) {
    const id = system.attributes['id'] ?? '';
    const key = keyOf(PLATFORM, file, id);
    into.vm(vmOf(system, key, id, file, shared, into));
    for (const { attributes } of descendants(system, 'PlacementSection'))
      members.set(attributes['group'] ?? '', [...(members.get(attributes['group'] ?? '') ?? []), key]);
  }
  for (const [id, vms] of members) {
    const group = groups.get(id);
    if (group === undefined || vms.length < 2) continue;
    const { policy = '', priority = '0', name = id } = group.attributes;
    into.rule({
      key: keyOf(PLATFORM, file, id),
      name,
      kind: policy === 'availability' ? 'apart' : 'together',
      isHard: priority === '0',
      vms,
      perHost: 1,
      evidence: evidence(file, 'PlacementGroupSection', id, 'policy', policy),
    });
  }
}

function vmOf(system: Xml, key: string, id: string, file: string, shared: ReadonlySet<string>, into: EstateBuilder) {
  const items = [
    ...descendants(system, 'Item'),
    ...descendants(system, 'StorageItem'),
    ...descendants(system, 'EthernetPortItem'),
  ];
  const of = (type: string): readonly Xml[] => items.filter((item) => textAt(item, 'ResourceType') === type);
  const quantity = (type: string): number | null => numberOf(textAt(of(type)[0], 'VirtualQuantity'));
  const name = textAt(system, 'Name') || id;
  const disks: Disk[] = of(RESOURCE.disk).map((item) => {
    const resource = textAt(item, 'HostResource');
    const disk = resource.slice(resource.lastIndexOf('/') + 1);
    const place = evidence(file, 'VirtualSystem/Item', id, 'HostResource', resource);
    return plainDisk({
      label: textAt(item, 'ElementName'),
      identities: [{ key: keyOf('ovf', file, disk), kind: 'disk', name: disk }],
      permit: shared.has(disk) ? { kind: 'shareable', evidence: place } : null,
      evidence: place,
    });
  });
  const nics: Nic[] = of(RESOURCE.network).map((item) => {
    const network = textAt(item, 'Connection');
    const place = evidence(file, 'VirtualSystem/Item', id, 'Connection', network);
    const networkKey = keyOf(PLATFORM, file, 'network', network);
    into.network({ key: networkKey, name: network, reach: { kind: 'every' }, isIsolated: false, evidence: place });
    return { network: networkKey, address: '', evidence: place };
  });
  return plainVm({
    key,
    name,
    platform: PLATFORM,
    group: file,
    power: 'stopped',
    memoryMib: quantity(RESOURCE.memory),
    cpus: quantity(RESOURCE.cpu),
    disks,
    nics,
    notes: textAt(children(system, 'AnnotationSection')[0], 'Annotation'),
    guest: textAt(child(system, 'OperatingSystemSection'), 'Description'),
    evidence: evidence(file, 'VirtualSystem', id, 'Name', name),
  });
}
