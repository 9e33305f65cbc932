/** Starts the machine at the limits of the table, and checks that the table's reasons are QEMU's own errors. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../core/model/limits.ts';
import type { LaunchOrder } from '../../core/ports/host-link.ts';
import { tryRun } from '../../os/child-process.ts';
import { qemuArguments } from './arguments.ts';

const GIB = 1024 ** 3;
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const hex = (number: number): string => number.toString(16).padStart(2, '0');

/** An order with the maximum of every property of a VM. */
function largest(machine: { readonly vcpus: number; readonly memoryBytes: number }, disks: number): LaunchOrder {
  const at = { address: '127.0.0.1', port: 30_000, name: 'g1', tlsName: 's1' };
  return {
    vm: 'vm-0123456789ab',
    vmName: 'largest',
    generation: 1,
    slot: 0,
    incoming: false,
    machine: { ...machine, cpuModel: 'baseline', firmware: 'bios', kernel: null, initrd: null, append: null },
    disks: many(disks, (i) => ({
      ...{ disk: `disk-0000000000${hex(i)}`, role: 'data', bus: 'virtio', readOnly: false, patienceMs: 1, export: at },
    })),
    sharedDisks: [],
    nics: many(LIMITS.vmNics.max, (i) => ({ mac: `02:00:00:00:00:${hex(i)}`, network: `n${i}`, vni: 5000 + i })),
  } as unknown as LaunchOrder;
}

/** The same machine with other backends: no storage, no network, and memory that is allocated on first use. */
function withoutBackends(argv: readonly string[], memoryBytes: number): string[] {
  const changed = argv.flatMap((argument, index): string[] => {
    const option = argv[index - 1];
    const isGone = (text: string): boolean => text.includes('tls-creds-x509');
    if (argument === '-object' && isGone(argv[index + 1] ?? '')) return [];
    if (option === '-object' && isGone(argument)) return [];
    if (option === '-chardev') return [`null,id=${/id=([^,]+)/.exec(argument)?.[1] ?? ''}`];
    if (option === '-netdev') return [`hubport,hubid=0,id=${/id=([^,]+)/.exec(argument)?.[1] ?? ''}`];
    if (option === '-machine') return [`${argument},memory-backend=untouched`];
    if (option !== '-blockdev') return [argument];
    const { 'node-name': name } = JSON.parse(argument) as { readonly 'node-name': string };
    return [JSON.stringify({ driver: 'null-co', 'node-name': name, size: 1024 ** 2 })];
  });
  const size = `${memoryBytes / 1024 + 8}K`;
  return [...changed, '-object', `memory-backend-ram,id=untouched,size=${size},reserve=off`, '-qmp', 'stdio'];
}

async function start(machine: { readonly vcpus: number; readonly memoryBytes: number }, disks: number) {
  const context = { accelerator: 'tcg', directory: '/nowhere', kernelFile: null, initrdFile: null } as const;
  const argv = withoutBackends(qemuArguments(largest(machine, disks), context), machine.memoryBytes);
  return tryRun(argv, { deadlineMs: 60_000, input: '{"execute":"qmp_capabilities"}{"execute":"quit"}' });
}

const MOST = { vcpus: LIMITS.vmVcpus.max, memoryBytes: LIMITS.vmMemoryBytes.max } as const;

test('QEMU starts the largest machine: vCPUs, memory, disks and cards at their limits', async () => {
  const { exitCode, stderr } = await start(MOST, LIMITS.vmDisks.max);
  assert.equal(exitCode, 0, stderr);
});

test('QEMU starts no machine with one vCPU more, or with a TiB of memory', async () => {
  const small = { vcpus: 1, memoryBytes: GIB } as const;
  for (const [what, started, words] of [
    ['vCPUs', start({ ...small, vcpus: LIMITS.vmVcpus.max + 1 }, 1), /X2APIC|interrupt/],
    ['memory', start({ ...small, memoryBytes: 1024 * GIB }, 1), /phys-bits too low/],
  ] as const) {
    const { exitCode, stderr } = await started;
    assert.equal(exitCode, 1, what);
    assert.match(stderr, words, what);
  }
});
