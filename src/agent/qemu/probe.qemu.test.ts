import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { tryRun } from '../../os/child-process.ts';
import { exitDisk, parseCpuDefinitions, probeAccelerator } from './probe.ts';

test('the probe guest ends its machine with the expected status', async () => {
  const work = await mkdtemp(join(tmpdir(), 'gp-probe-'));
  try {
    await writeFile(join(work, 'disk'), exitDisk());
    const argv = ['qemu-system-x86_64', '-nodefaults', '-display', 'none', '-machine', 'q35,accel=tcg', '-no-reboot'];
    argv.push('-drive', `file=${work}/disk,format=raw`, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4');
    assert.equal((await tryRun(argv, { deadlineMs: 30_000 })).exitCode, 33);
    const probed = await probeAccelerator('auto', work);
    // Without KVM there is a reason; with KVM there is none. Either way nothing is left behind.
    assert.equal(probed.reason === null, probed.accelerator === 'kvm');
    assert.equal(probed.cpuModels[0], 'baseline');
    assert(probed.cpuModels.length > 1);
    assert.deepEqual(await readdir(work), ['disk']);
    assert.equal((await probeAccelerator('tcg', work)).reason, null);
  } finally {
    await rm(work, { recursive: true });
  }
});

test('CPU models that are whole and can be migrated', () => {
  const model = (name: string, missing: string[], safe = true): object => ({
    name,
    'unavailable-features': missing,
    'migration-safe': safe,
  });
  const answer = { return: [model('b', []), model('a', []), model('c', ['avx']), model('max', [], false)] };
  assert.deepEqual(parseCpuDefinitions(`{"QMP":{}}\n${JSON.stringify(answer)}\n{"return": {}}\n`), ['a', 'b']);
  assert.deepEqual(parseCpuDefinitions(''), []);
});
