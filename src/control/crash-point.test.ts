import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../os/testing/until.ts';
import { readConfig } from './config.ts';
import { crashPointFrom, noCrashPoint } from './crash-point.ts';

test('a process dies before the step that is named, once, and before no other', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'gp-crash-'));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, 'failpoint');
  await noCrashPoint('start', 'grant');
  await crashPointFrom(file)('start', 'grant');
  await writeFile(file, 'crash start launch\n');
  await crashPointFrom(file)('start', 'grant');
  assert.ok(existsSync(file));
  const module = new URL('./crash-point.ts', import.meta.url).href;
  const script = `import { crashPointFrom } from ${JSON.stringify(module)};
    await crashPointFrom(${JSON.stringify(file)})('start', 'launch'); console.log('lived');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
  assert.equal(output, '');
  assert.ok(!existsSync(file), 'the next leader lives');
});

test('a process stops still before the step that is named, and goes on with that step when it is thawed', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'gp-crash-'));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, 'failpoint');
  await writeFile(file, 'freeze recover fence\n');
  const module = new URL('./crash-point.ts', import.meta.url).href;
  const script = `import { crashPointFrom } from ${JSON.stringify(module)};
    await crashPointFrom(${JSON.stringify(file)})('recover', 'fence'); console.log('went on');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const isStopped = () => /^State:\tT/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
  await until('the process has stopped', isStopped);
  assert.equal(output, '');
  assert.ok(!existsSync(file), 'the next leader is spared');
  child.kill('SIGCONT');
  // Not 'exit': output may still be in the pipe then.
  assert.deepEqual(await once(child, 'close'), [0, null]);
  assert.equal(output, 'went on\n');
});

test('a configuration is checked, and its faults are named', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'gp-config-'));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, 'config.json');
  const config = {
    name: 'c1',
    address: '10.0.0.1',
    stateDir: dir,
    runDir: dir,
    credentialsDir: dir,
    authorityDir: dir,
    etcd: { endpoints: ['https://10.0.0.1:2379'] },
    peers: [{ name: 'c1', address: '10.0.0.1' }],
    adminTokenSha256: 'a'.repeat(64),
  };
  const read = async (content: object) => {
    await writeFile(file, JSON.stringify(content));
    return readConfig(['--config', file]);
  };
  assert.equal((await read(config)).name, 'c1');
  await assert.rejects(read({ ...config, etcd: { endpoints: ['http://10.0.0.1:2379'] } }), /endpoints\[0\]/);
  await assert.rejects(read({ ...config, unknown: 1 }), /unknown/);
  await assert.rejects(read({ ...config, name: 'Not A Name' }), { code: 'bad-input' });
  await assert.rejects(readConfig([]), /needs --config FILE/);
  await assert.rejects(readConfig(['--config']), /needs --config FILE/);
});
