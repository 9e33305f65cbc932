import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { collectModules, dependenciesOf } from './kernel-modules.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gp-modules-'));
  await mkdir(join(dir, 'kernel', 'net'), { recursive: true });
  const modules = {
    'virtio-rng': 'virtio',
    virtio: 'virtio_ring',
    virtio_ring: '',
    net: 'virtio,failover',
    failover: '',
    lost: 'nowhere',
  };
  for (const [name, depends] of Object.entries(modules)) {
    await writeFile(
      join(dir, 'kernel', 'net', `${name}.ko`),
      `\x7fELF\0license=GPL\0depends=${depends}\0retpoline=Y\0`,
    );
  }
  await writeFile(join(dir, 'modules.builtin'), 'kernel/drivers/rtc/rtc-cmos.ko\n');
});
after(() => rm(dir, { recursive: true, force: true }));

async function order(...wanted: string[]): Promise<string[]> {
  return (await collectModules(dir, wanted)).map((module) => module.name);
}

test('what a module needs comes before it, once', async () => {
  assert.deepEqual(await order('net', 'virtio_rng', 'virtio'), [
    'virtio_ring',
    'virtio',
    'failover',
    'net',
    'virtio_rng',
  ]);
});

test('built-in modules are left out, missing ones are an error that names the path to them', async () => {
  assert.deepEqual(await order('rtc_cmos', 'failover'), ['failover']);
  await assert.rejects(order('lost'), /lost > nowhere/);
});

test('a file without module information needs nothing', () => {
  assert.deepEqual(dependenciesOf(Buffer.from('no such string')), []);
  assert.deepEqual(dependenciesOf(Buffer.from('\0depends=a,b-c')), ['a', 'b_c']);
});
