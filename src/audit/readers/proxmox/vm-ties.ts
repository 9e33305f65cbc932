/** Finds the settings of a Proxmox VE VM that depend on its node. */
import type { Evidence, Tie } from '../../estate/estate.ts';
import { optionsOf } from './sections.ts';

type At = (column: string, value: unknown) => Evidence;

/** Returns the ties of a VM. `liveMappings`: names of PCI mappings that support live migration. */
export function configTies(
  settings: ReadonlyMap<string, string>,
  liveMappings: ReadonlySet<string>,
  at: At,
): readonly Tie[] {
  return [...settings].flatMap(([key, value]) => tieOf(key, value, liveMappings, at));
}

/** Models that every processor of the last fifteen years has; other models need a processor that has their features. */
const OLD_MODELS = /^(?:kvm|qemu)(?:32|64)$|^x86-64-v[12](?:-AES)?$/;

function cpuTies(model: string, place: Evidence): readonly Tie[] {
  if (model === '' || OLD_MODELS.test(model)) return [];
  const kind = model === 'host' || model === 'max' ? 'cpu passthrough' : 'cpu model';
  return [{ kind, effect: 'warns', subject: kind === 'cpu model' ? model : '', evidence: place }];
}

function tieOf(key: string, value: string, liveMappings: ReadonlySet<string>, at: At): readonly Tie[] {
  const place = at(key, value);
  const { first, options } = optionsOf(value);
  const name = key.replace(/\d+$/, '');
  switch (name) {
    case 'hostpci': {
      const isLive = liveMappings.has(options.get('mapping') ?? '');
      return [
        {
          kind: 'host device',
          effect: isLive ? 'warns' : 'blocks',
          subject: options.get('mapping') ?? first,
          evidence: place,
        },
      ];
    }
    case 'usb':
      return /^spice/.test(first) ? [] : [{ kind: 'usb', effect: 'blocks', subject: first || value, evidence: place }];
    case 'serial':
      return value === 'socket' ? [] : [{ kind: 'serial port', effect: 'blocks', subject: value, evidence: place }];
    case 'parallel':
      return [{ kind: 'serial port', effect: 'blocks', subject: value, evidence: place }];
    case 'virtiofs':
      return [{ kind: 'host folder', effect: 'blocks', subject: first, evidence: place }];
    case 'ivshmem':
      return [{ kind: 'shared memory', effect: 'blocks', subject: '', evidence: place }];
    case 'cpu':
      return cpuTies(first || (options.get('cputype') ?? ''), place);
    case 'amd-sev':
    case 'intel-tdx':
      return [{ kind: 'encrypted memory', effect: 'blocks', subject: name, evidence: place }];
    case 'hookscript':
      return [{ kind: 'node file', effect: 'warns', subject: value, evidence: place }];
    case 'affinity':
      return [{ kind: 'cpu pin', effect: 'warns', subject: value, evidence: place }];
    case 'tpmstate':
      return [{ kind: 'soft tpm', effect: 'informs', subject: '', evidence: place }];
    case 'args':
      return /vfio|host-|-chardev|ivshmem/.test(value)
        ? [{ kind: 'host device', effect: 'blocks', subject: 'args', evidence: place }]
        : [];
    default:
      return /^(?:ide|sata|scsi)$/.test(name) && first === 'cdrom'
        ? [{ kind: 'host drive', effect: 'blocks', subject: 'cdrom', evidence: place }]
        : [];
  }
}
