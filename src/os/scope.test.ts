import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inScope } from './scope.ts';

const SCOPE = { slice: 'vms', name: 'gp-x', limits: { memoryBytesMax: 4096, cpuWeight: 200 } } as const;

test('where services have no scopes, a command stays what it is', () => {
  const argv = ['qemu', '-x'];
  assert.equal(inScope(argv, SCOPE, {}), argv);
});

test('a scope has its slice, its limits and a name that is taken once; the command is its last words', () => {
  const [first, second] = [1, 2].map(() => inScope(['qemu', '-x'], SCOPE, { GROUNDPLANE_SCOPES: 'yes' }));
  assert.deepEqual(first?.slice(0, 5), [
    'systemd-run',
    '--scope',
    '--quiet',
    '--collect',
    '--slice=groundplane-vms.slice',
  ]);
  assert.match(first?.[5] ?? '', /^--unit=gp-x-[0-9a-f]{6}$/);
  assert.notEqual(first?.[5], second?.[5]);
  const rest = [
    '--property=MemoryMax=4096',
    '--property=MemorySwapMax=0',
    '--property=CPUWeight=200',
    '--',
    'qemu',
    '-x',
  ];
  assert.deepEqual(first?.slice(6), rest);
});
