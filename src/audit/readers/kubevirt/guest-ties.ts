/** Finds what ties a guest of KubeVirt to its node: devices, processors, and KubeVirt's own verdict. */
import type { Evidence, Tie, Unknown, Vm } from '../../estate/estate.ts';
import { type Fields, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

type At = (column: string, value: unknown) => Evidence;

/** Returns the ties by devices and processors. */
export function deviceTies(spec: unknown, at: At): readonly Tie[] {
  const devices = valueAt(spec, 'domain', 'devices');
  const ties: Tie[] = [];
  for (const gpu of objectsAt(devices, 'gpus'))
    ties.push({
      kind: 'gpu',
      effect: 'blocks',
      subject: textAtPath(gpu, 'deviceName'),
      evidence: at('devices.gpus', valueAt(gpu, 'deviceName')),
    });
  for (const device of objectsAt(devices, 'hostDevices'))
    ties.push({
      kind: 'host device',
      effect: 'blocks',
      subject: textAtPath(device, 'deviceName'),
      evidence: at('devices.hostDevices', valueAt(device, 'deviceName')),
    });
  // KubeVirt unplugs the function before a move and plugs it in again afterwards.
  for (const nic of objectsAt(devices, 'interfaces'))
    if (valueAt(nic, 'sriov') !== undefined)
      ties.push({
        kind: 'sr-iov',
        effect: 'warns',
        subject: textAtPath(nic, 'name'),
        evidence: at('devices.interfaces.sriov', valueAt(nic, 'name')),
      });
  const eviction = textAtPath(spec, 'evictionStrategy');
  if (eviction === 'None')
    ties.push({ kind: 'eviction', effect: 'warns', subject: '', evidence: at('evictionStrategy', eviction) });
  const model = textAtPath(spec, 'domain', 'cpu', 'model');
  if (model === 'host-passthrough')
    ties.push({ kind: 'cpu passthrough', effect: 'warns', subject: '', evidence: at('cpu.model', model) });
  if (valueAt(spec, 'domain', 'cpu', 'dedicatedCpuPlacement') === true)
    ties.push({ kind: 'dedicated cpu', effect: 'warns', subject: '', evidence: at('cpu.dedicatedCpuPlacement', true) });
  if (valueAt(devices, 'tpm', 'persistent') === true)
    ties.push({ kind: 'soft tpm', effect: 'informs', subject: '', evidence: at('devices.tpm.persistent', true) });
  return ties;
}

/**
 * Reads the condition LiveMigratable, KubeVirt's own verdict. A running instance without it has not been judged yet.
 */
export function verdictOf(
  guest: { readonly kind: string; readonly fields: Fields },
  power: Vm['power'],
  at: At,
  fix: string,
): { readonly ties: readonly Tie[]; readonly unknowns: readonly Unknown[] } {
  if (guest.kind !== 'VirtualMachineInstance' || power !== 'running') return { ties: [], unknowns: [] };
  const condition = objectsAt(guest.fields, 'status', 'conditions').find(
    (one) => textAtPath(one, 'type') === 'LiveMigratable',
  );
  const status = textAtPath(condition, 'status');
  if (status === 'True') return { ties: [], unknowns: [] };
  const reason = textAtPath(condition, 'reason');
  if (status === 'False')
    return {
      ties: [
        {
          kind: 'platform verdict',
          effect: 'blocks',
          subject: reason,
          evidence: at('condition LiveMigratable', textAtPath(condition, 'message') || reason),
        },
      ],
      unknowns: [],
    };
  return { ties: [], unknowns: [{ aspect: 'devices', evidence: at('condition LiveMigratable', status), fix }] };
}
