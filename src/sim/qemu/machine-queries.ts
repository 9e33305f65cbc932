/** What a simulated QEMU tells of its machine: the queries of QMP whose answers never change. */
import type { LaunchOrder } from '../../core/ports/host-link.ts';
import { QmpError } from '../../wire/qmp/error.ts';

/** The parts of a launch that its machine tells of. */
export type QemuOrder = Pick<
  LaunchOrder,
  'vm' | 'vmName' | 'generation' | 'slot' | 'incoming' | 'disks' | 'sharedDisks'
> &
  Partial<Pick<LaunchOrder, 'machine'>>;

const MIB = 1024 ** 2;
const SMALL: LaunchOrder['machine'] = {
  ...{ vcpus: 1, memoryBytes: 256 * MIB, cpuModel: 'baseline', firmware: 'bios', display: null },
  ...{ kernel: null, initrd: null, append: null },
};

/** The answer to a query; undefined for a command of another kind. */
export function factOf(order: QemuOrder, command: string, args: Readonly<Record<string, unknown>>): unknown {
  const { vmName, machine = SMALL } = order;
  switch (command) {
    case 'query-name':
      return { name: vmName };
    case 'query-cpus-fast':
      return Array.from({ length: machine.vcpus }, (_, index) => ({
        'cpu-index': index,
        'qom-type': 'max-x86_64-cpu',
      }));
    case 'query-memory-size-summary':
      return { 'base-memory': machine.memoryBytes };
    case 'query-vnc':
      return { enabled: (machine.display ?? null) !== null };
    case 'qom-get':
      return propertyOf(order, String(args['path']), String(args['property']));
    default:
      return undefined;
  }
}

function propertyOf({ machine = SMALL, disks }: QemuOrder, path: string, property: string): string {
  const drive = /^\/machine\/peripheral\/drive(\d+)$/.exec(path)?.[1];
  if (drive !== undefined && property === 'serial') return disks[Number(drive)]?.disk ?? '';
  if (path === '/machine' && property === 'kernel') return fileOf(machine.kernel);
  if (path === '/machine' && property === 'initrd') return fileOf(machine.initrd);
  if (path === '/machine' && property === 'append') return machine.append ?? '';
  throw new QmpError('qom-get', { errorClass: 'GenericError', description: `Property '${property}' not found` });
}

const fileOf = (file: LaunchOrder['machine']['kernel']): string => (file === null ? '' : `/files/${file.sha256}`);
