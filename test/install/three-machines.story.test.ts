/**
 * The package on three bare Debian machines with real systemd (namespaces of this one): installing starts nothing; a
 * cluster begins with one command, which can be repeated, and grows by one command on each other machine.
 */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makePackage } from '../../scripts/package/deb.ts';
import { VERSION } from '../../src/base/version.ts';
import { until } from '../../src/os/testing/until.ts';
import { bareRoot, type Machine, Machines, ROOT } from './machines.ts';

const SIGNAL = AbortSignal.timeout(15 * 60_000);
const ROLES = ['etcd', 'control', 'storage', 'agent'] as const;

let machines: Machines;
let installed = '';
let bare = '';
let m1: Machine;
let m2: Machine;
let m3: Machine;

before(async () => {
  const control = await readFile(join(ROOT, 'packaging/control'), 'utf8');
  const depends = /^Depends: (.*)$/m.exec(control)?.[1] ?? '';
  const packages = depends.split(',').map((each) => each.trim().split(' ')[0] ?? '');
  bare = await bareRoot(packages, SIGNAL);
  machines = await Machines.begin();
});
after(async () => {
  await machines.end();
  if (installed !== '') await rm(installed, { recursive: true, force: true });
});

test('apt installs the package on a bare machine, and nothing starts', async () => {
  const outDir = join(ROOT, '.cache/install/package');
  await mkdir(outDir, { recursive: true });
  const deb = await makePackage({
    ...{ root: ROOT, outDir, version: VERSION, epochS: 1_796_000_000, signal: SIGNAL, compression: 'gzip' as const },
  });
  const delivered = join(ROOT, '.cache/install/delivered/opt/groundplane');
  await mkdir(delivered, { recursive: true });
  await copyFile(deb, join(delivered, 'groundplane.deb'));
  const machine = await machines.boot('bare', '10.0.0.9', [join(ROOT, '.cache/install/delivered'), bare]);
  await machine.sh(
    'cp -a /opt/apt/lists /opt/apt/archives /tmp/ && cp -a /tmp/lists/. /var/lib/apt/lists/ && cp -a /tmp/archives/. /var/cache/apt/archives/',
  );
  await machine.run(
    ['apt-get', 'install', '-y', '--no-install-recommends', '/opt/groundplane/groundplane.deb'],
    300_000,
  );
  assert.equal(await machine.gp('version'), `${VERSION}\n`);
  for (const role of ROLES) {
    assert.equal((await machine.try(['systemctl', 'is-active', `groundplane-${role}`])).stdout.trim(), 'inactive');
    assert.equal((await machine.try(['systemctl', 'is-enabled', `groundplane-${role}`])).stdout.trim(), 'disabled');
  }
  assert.equal(await machine.sh('ss -Hltnu'), '', 'somebody listens');
  assert.equal((await machine.try(['gp', 'doctor'])).exitCode, 4);
  await machine.sh('apt-get clean; sync');
  await machine.off();
  installed = join(ROOT, '.cache/install/installed');
  await rm(installed, { recursive: true, force: true });
  await rename(machine.upper, installed);
});

test('a cluster begins with one command, says before what it will do, and is repeatable', async () => {
  [m1, m2, m3] = (await Promise.all(
    ([1, 2, 3] as const).map((n) => machines.boot(`m${n}`, `10.0.0.1${n}`, [installed, bare])),
  )) as [Machine, Machine, Machine];
  const init = 'init --name m1 --address 10.0.0.11 --storage --host --memory 1GiB';
  const foretold = await m1.gp(`${init} --dry-run`);
  assert.match(foretold, /^to do: write \/etc\/groundplane\/machine\.yaml$/m);
  assert.equal((await m1.try(['test', '-e', '/etc/groundplane/machine.yaml'])).exitCode, 1);
  await m1.gp(init);
  const again = await m1.gp(init);
  assert.deepEqual(
    again.split('\n').filter((line) => line !== '' && !line.startsWith('done before: ')),
    [],
  );
  assert.match(await m1.gp('host list'), /^m1 .*alive/m);
  assert.match(await m1.gp('storage list'), /^m1 .*alive/m);
});

test('other machines join with a token, control nodes too', async () => {
  for (const machine of [m2, m3]) {
    const token = (await m1.gp(`join-token create control,storage,host ${machine.name}`)).trim();
    await machine.gp(`join ${token}@10.0.0.11 --control --storage --host --memory 1GiB`);
  }
  for (const noun of ['host', 'storage', 'control'])
    for (const name of ['m1', 'm2', 'm3'])
      await until(`${noun} ${name} is alive`, async () =>
        new RegExp(`^${name} .*alive`, 'm').test(await m1.gp(`${noun} list`)),
      );
  for (const machine of [m1, m2, m3]) {
    const { exitCode, stdout } = await machine.try(['gp', 'doctor']);
    assert.equal(exitCode, 0, stdout);
  }
});
