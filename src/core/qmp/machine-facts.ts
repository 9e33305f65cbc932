/**
 * What machine a QEMU is, asked over QMP: enough to make a record of a VM that no record knows. The names of devices and
 * nodes are those that src/agent/qemu/arguments.ts gives. A QEMU is not trusted: the form of each answer is checked.
 */
import { isId, parseDiskId } from '../../base/ids.ts';
import type { Execute } from '../ports/qmp-dialer.ts';
import type { MachineFacts } from '../ports/qmp-link.ts';
import { openSharedDisks } from './shared-disk-plug.ts';

interface QomProperty {
  readonly name: string;
}

/** The used fields of query-named-block-nodes. */
interface BlockNode {
  readonly 'node-name'?: string;
  readonly ro?: boolean;
}

type Property = (path: string, name: string) => Promise<string>;

const MIB = 1024 ** 2;
/** The models that `baseline` stands for (src/agent/qemu/arguments.ts). */
const BASELINE: ReadonlySet<string> = new Set(['max', 'qemu64']);
const DEVICES_MAX = 64;
const NAME_CHARS_MAX = 100;
const APPEND_CHARS_MAX = 4_096;
const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;

/** Asks one QEMU. Rejects with what QEMU refuses, or where it does not answer. */
export async function readMachineFacts(execute: Execute): Promise<MachineFacts> {
  const peripheral = await execute<readonly QomProperty[]>('qom-list', { path: '/machine/peripheral' });
  const devices = peripheral.map(({ name }) => name).slice(0, DEVICES_MAX);
  const nodes = await execute<readonly BlockNode[]>('query-named-block-nodes', { flat: true });
  const property: Property = async (path, name) => {
    const value = await execute<unknown>('qom-get', { path, property: name });
    return typeof value === 'string' ? value : '';
  };
  const { 'base-memory': memory } = await execute<{ readonly 'base-memory'?: number }>('query-memory-size-summary');
  const cpus = await execute<readonly { readonly 'qom-type'?: string }[]>('query-cpus-fast');
  const model = /^([A-Za-z0-9._-]{1,60})-x86_64-cpu$/.exec(cpus[0]?.['qom-type'] ?? '')?.[1] ?? 'max';
  const { name = '' } = await execute<{ readonly name?: string }>('query-name');
  const { enabled } = await execute<{ readonly enabled?: boolean }>('query-vnc');
  return {
    name: name === '' ? null : name.slice(0, NAME_CHARS_MAX),
    vcpus: cpus.length,
    // Under TCG a little more than the guest was given.
    memoryBytes: Math.floor(wholeNumber(memory) / MIB) * MIB,
    cpuModel: BASELINE.has(model) ? null : model,
    disks: await disksOf(devices, nodes, property),
    diskNodes: nodes.filter((node) => /^disk\d+$/.test(node['node-name'] ?? '')).length,
    sharedDisks: (await openSharedDisks(execute)).map(({ disk }) => disk),
    macs: await macsOf(devices, property),
    direct: await directBoot(property),
    hasDisplay: enabled === true,
    hasGuestAgent: devices.includes('ports'),
  };
}

async function disksOf(
  devices: readonly string[],
  nodes: readonly BlockNode[],
  property: Property,
): Promise<MachineFacts['disks']> {
  const disks: MachineFacts['disks'][number][] = [];
  for (const index of numbersOf(devices, 'drive')) {
    const serial = await property(`/machine/peripheral/drive${index}`, 'serial');
    const isReadOnly = nodes.some((node) => node['node-name'] === `disk${index}` && node.ro === true);
    if (isId(serial, 'disk')) disks.push({ disk: parseDiskId(serial), isReadOnly });
  }
  return disks;
}

async function macsOf(devices: readonly string[], property: Property): Promise<readonly string[]> {
  const macs: string[] = [];
  for (const index of numbersOf(devices, 'nic')) {
    const mac = (await property(`/machine/peripheral/nic${index}`, 'mac')).toLowerCase();
    if (MAC.test(mac)) macs.push(mac);
  }
  return macs;
}

async function directBoot(property: Property): Promise<MachineFacts['direct']> {
  const kernel = fileHash(await property('/machine', 'kernel'));
  if (kernel === null) return null;
  const initrd = fileHash(await property('/machine', 'initrd'));
  return { kernel, initrd, append: (await property('/machine', 'append')).slice(0, APPEND_CHARS_MAX) };
}

/** Agents keep files under their hashes. */
function fileHash(path: string): string | null {
  const name = path.split('/').at(-1) ?? '';
  return isId(name, 'sha256') ? name : null;
}

/** The numbers of devices of one kind, ascending. */
function numbersOf(devices: readonly string[], kind: string): readonly number[] {
  const numbers = devices.flatMap((name) => {
    const number = name.startsWith(kind) ? Number(name.slice(kind.length)) : Number.NaN;
    return Number.isInteger(number) ? [number] : [];
  });
  return numbers.toSorted((a, b) => a - b);
}

function wholeNumber(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
