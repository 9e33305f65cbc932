/**
 * Objects of Xen Orchestra (`xo-cli list-objects`, or the lists of its REST API with all fields) in the form of xe's
 * records. Xen Orchestra knows several pools; it does not say whether a disk is sharable.
 */
import { type Fields, fieldsOf, textAtPath, valueAt } from '../formats/values.ts';
import type { RecordClass } from './classes.ts';

export interface XoRecord {
  readonly kind: RecordClass;
  readonly values: ReadonlyMap<string, string>;
}

/** Returns true for an object of Xen Orchestra. */
export function isXoObject(value: unknown): boolean {
  const fields = fieldsOf(value);
  return typeof fields['type'] === 'string' && ('$pool' in fields || '$poolId' in fields);
}

/** Returns the record; null for objects that no finding needs. */
export function xoRecord(object: Fields): XoRecord | null {
  const found = valuesOf(object);
  if (found === null) return null;
  const [kind, fields] = found;
  const values = new Map(Object.entries(fields).filter(([, value]) => value !== ''));
  values.set('uuid', textAtPath(object, 'id') || textAtPath(object, 'uuid'));
  values.set('pool-uuid', textAtPath(object, '$pool') || textAtPath(object, '$poolId'));
  return { kind, values };
}

function valuesOf(object: Fields): readonly [RecordClass, Readonly<Record<string, string>>] | null {
  const text = (...path: readonly string[]): string => textAtPath(object, ...path);
  const name = { 'name-label': text('name_label') };
  switch (text('type')) {
    case 'pool':
      return ['pool', { ...name, 'ha-enabled': text('HA_enabled') }];
    case 'host': {
      const model = text('CPUs', 'modelname');
      const cpu = model === '' ? '' : `modelname: ${model};`;
      return ['host', { ...name, enabled: text('enabled'), 'memory-total': text('memory', 'size'), cpu_info: cpu }];
    }
    case 'SR':
      return ['sr', { ...name, shared: text('shared'), 'content-type': text('content_type') }];
    case 'PBD':
      return ['pbd', { 'host-uuid': text('host'), 'sr-uuid': text('SR'), 'currently-attached': text('attached') }];
    case 'VDI':
      return ['vdi', { ...name, 'sr-uuid': text('$SR'), 'virtual-size': text('size') }];
    case 'VBD': {
      const type = text('is_cd_drive') === 'true' ? 'CD' : 'Disk';
      const mode = text('read_only') === 'true' ? 'RO' : 'RW';
      return ['vbd', { 'vm-uuid': text('VM'), 'vdi-uuid': text('VDI'), type, mode }];
    }
    case 'network':
      return ['network', { ...name, bridge: text('bridge') }];
    case 'PIF':
      return ['pif', { 'host-uuid': text('$host'), 'network-uuid': text('$network'), device: text('device') }];
    case 'VIF':
      return ['vif', { 'vm-uuid': text('$VM'), 'network-uuid': text('$network') }];
    case 'VUSB':
      return ['vusb', { 'vm-uuid': text('vm') }];
    case 'VM':
    case 'VM-template':
    case 'VM-controller':
    case 'VM-snapshot':
      return ['vm', vmOf(object, text)];
    default:
      return null;
  }
}

function vmOf(object: Fields, text: (...path: readonly string[]) => string): Readonly<Record<string, string>> {
  const type = text('type');
  const power = text('power_state').toLowerCase();
  // The container of a VM that does not run is a pool, or the host of its disks.
  const isPlaced = power === 'running' || power === 'paused';
  const bounds = valueAt(object, 'memory', 'static');
  const most: unknown = Array.isArray(bounds) ? bounds[1] : undefined;
  const pci = text('other', 'pci');
  const gpus = object['VGPUs'] ?? object['$VGPUs'];
  return {
    'name-label': text('name_label'),
    'name-description': text('name_description'),
    'power-state': power,
    'resident-on': isPlaced ? text('$container') : '',
    'is-control-domain': String(type === 'VM-controller'),
    'is-a-snapshot': String(type === 'VM-snapshot'),
    'is-a-template': String(type === 'VM-template'),
    'memory-static-max': typeof most === 'number' ? String(most) : text('memory', 'size'),
    'VCPUs-number': text('CPUs', 'number'),
    'other-config': pci === '' ? '' : `pci: ${pci}`,
    VGPUs: Array.isArray(gpus) ? gpus.join('; ') : '',
    affinity: text('affinityHost'),
  };
}
