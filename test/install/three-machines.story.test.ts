/**
 * The package on three bare Debian machines with real systemd (namespaces of this one): installing starts nothing; a
 * cluster begins with one command, which can be repeated, and grows by one command on each other machine.
 */
import assert from 'node:assert/strict';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { VERSION } from '../../src/base/version.ts';
import { isRunning, type ProcessIdentity, readProcess } from '../../src/os/process-table.ts';
import { until } from '../../src/os/testing/until.ts';
import { debOf, deliver, HAND, IMAGE_CACHE } from './delivered.ts';
import { bareRoot, type Machine, Machines, ROOT } from './machines.ts';
import { Writes } from './writes.ts';

const SIGNAL = AbortSignal.timeout(15 * 60_000);
const ROLES = ['etcd', 'control', 'storage', 'agent'] as const;
/** There is no release before the first: this source stands for it, with a version that is one release older. */
const LAST = '0.0.9';
/** A guest that writes ten times a second is disturbed when it does not for so long, in ms. */
const SILENT_MS_MAX = 1_000;
/** A window that never closes. */
const ALWAYS = ['--window', 'Mon-Sun 00:00-24:00 UTC'];

let machines: Machines;
let installed = '';
let bare = '';
let delivered = '';
let m1: Machine;
let m2: Machine;
let m3: Machine;
let writes: Writes;

before(async () => {
  const control = await readFile(join(ROOT, 'packaging/control'), 'utf8');
  const depends = /^Depends: (.*)$/m.exec(control)?.[1] ?? '';
  const packages = depends.split(',').map((each) => each.trim().split(' ')[0] ?? '');
  bare = await bareRoot(packages, SIGNAL);
  machines = await Machines.begin();
  writes = new Writes();
});
after(async () => {
  writes.close();
  await machines.end();
  if (installed !== '') await rm(installed, { recursive: true, force: true });
});

test('apt installs the package on a bare machine, and nothing starts', async () => {
  delivered = await deliver([LAST, VERSION], SIGNAL);
  const machine = await machines.boot('bare', '10.0.0.9', [delivered, bare]);
  await machine.sh(
    'cp -a /opt/apt/lists /opt/apt/archives /tmp/ && cp -a /tmp/lists/. /var/lib/apt/lists/ && cp -a /tmp/archives/. /var/cache/apt/archives/',
  );
  await machine.run(['apt-get', 'install', '-y', '--no-install-recommends', debOf(LAST)], 300_000);
  assert.equal(await machine.gp('version'), `${LAST}\n`);
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
    ([1, 2, 3] as const).map((n) => machines.boot(`m${n}`, `10.0.0.1${n}`, [installed, delivered, bare])),
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

test('every control node serves the web interface, and gp ui lets a browser in', async () => {
  const link = (await m1.gp('ui')).trim();
  assert.match(link, /^https:\/\/10\.0\.0\.11:7440\/login#gp_link_\S+$/);
  for (const { address } of [m1, m2, m3]) {
    const page = await m1.sh(`${fetchText(`https://${address}:7440/vms`)}`);
    assert.match(page, /^200 .*<script type="module"/s);
    const script = / src="([^"]+\.js)"/.exec(page)?.[1] ?? assert.fail(page);
    assert.match(await m1.sh(`${fetchText(`https://${address}:7440${script}`)}`), /^200 ./s);
  }
});

test('a VM runs on them, with limits of its own', async () => {
  await m1.sh(`GP_CACHE_DIR=${IMAGE_CACHE} gp image build tiny`);
  await m1.gp('vm create web1 --image tiny --memory 96M --append gp.workload=sequence');
  writes.qemu();
  await writes.goOn();
  await limitsAreSet();
});

test('a guest writes on while every service is restarted', async () => {
  const qemu = writes.qemu();
  const silentMs = await writes.silentMsMax(async () => {
    for (const machine of [m1, m2, m3]) {
      const startedAt = performance.now();
      await machine.run(['systemctl', 'restart', ...ROLES.map((role) => `groundplane-${role}`)]);
      await until('a server leads', async () => (await m1.try(['gp', 'vm', 'list'])).exitCode === 0);
      console.log(`${machine.name}: all services restarted in ${Math.round(performance.now() - startedAt)} ms`);
    }
    await writes.goOn();
  });
  assert.ok(isRunning(qemu), 'the QEMU was not started again');
  assert.deepEqual(writes.qemu(), qemu);
  console.log(`restarts: at most ${silentMs} ms without a write`);
  assert.ok(silentMs < SILENT_MS_MAX, `no write for ${silentMs} ms`);
  assert.deepEqual(writes.errors(), []);
});

test('it moves live, and a host is drained of it', async () => {
  const from = await hostOf('web1');
  const other = ['m1', 'm2', 'm3'].find((name) => name !== from) ?? '';
  await m1.gp(`vm migrate web1 --to ${other}`);
  assert.equal(await hostOf('web1'), other);
  await writes.goOn();
  await m1.gp(`host drain ${other}`);
  assert.notEqual(await hostOf('web1'), other);
  await m1.gp(`host undrain ${other}`);
  await writes.goOn();
  assert.deepEqual(writes.errors(), []);
});

test('the cluster is upgraded, taken back and upgraded for good while a guest writes', async () => {
  for (const machine of [m1, m2, m3])
    await machine.run(['systemd-run', '--unit=hand', '/usr/lib/groundplane/node', HAND, 'serve', machine.address]);
  const installs = `/usr/lib/groundplane/node ${HAND} {address} apt-get install -y --allow-downgrades {package}`;
  const qemu = writes.qemu();
  const machineType = machineTypeOf(qemu);
  const upgrade = async (to: string, ...more: readonly string[]): Promise<void> => {
    const startedAt = performance.now();
    const argv = ['gp', 'cluster', 'upgrade', 'run', '--to', to, '--package', debOf(to), '--run', installs, ...more];
    const said = await m1.run(argv, 300_000);
    for (const { name } of [m1, m2, m3]) assert.match(said, new RegExp(`^${name}: runs ${to}\\.$`, 'm'));
    console.log(`three machines to ${to} in ${Math.round(performance.now() - startedAt)} ms`);
  };
  assert.match(await m1.gp(`cluster upgrade plan --to ${VERSION}`), /^Release: +0\.0$/m);
  const skipped = await m1.try(['gp', 'cluster', 'upgrade', 'plan', '--to', '0.2.0']);
  assert.match(skipped.stderr, /The cluster has release 0\.0: 0\.2\.0 is not that one, nor the next/);
  const silentMs = await writes.silentMsMax(async () => {
    await upgrade(VERSION);
    await upgrade(LAST);
    await writes.goOn();
    const early = await m1.try(['gp', 'cluster', 'finalize']);
    assert.equal(early.exitCode, 0, early.stderr);
    assert.match(await m1.gp('cluster show'), /^Release: +0\.0$/m);
    assert.deepEqual(writes.qemu(), qemu, 'the QEMU was not started again');
    await upgrade(VERSION, '--drain', ...ALWAYS, '--work-time', '1m', '--change', 'CHG7');
    await writes.goOn();
  });
  console.log(`upgrades: at most ${silentMs} ms without a write`);
  assert.ok(silentMs < SILENT_MS_MAX, `no write for ${silentMs} ms`);
  assert.notDeepEqual(writes.qemu(), qemu, 'its host was emptied');
  assert.equal(machineTypeOf(writes.qemu()), machineType);
  assert.deepEqual(writes.errors(), []);
  const rolls = JSON.parse(await m1.gp('maintenance list -o json')) as readonly {
    readonly id: string;
    readonly change: string | null;
    readonly state: string;
  }[];
  assert.equal(
    rolls.filter(({ id, change, state }) => id.startsWith('roll-') && change === 'CHG7' && state === 'completed')
      .length,
    3,
  );
  assert.match(await m1.gp('cluster finalize'), /^Release: +0\.1$/m);
  const back = await m1.try(['gp', 'cluster', 'upgrade', 'plan', '--to', LAST]);
  assert.match(back.stderr, /finalized is for good/);
  for (const machine of [m1, m2, m3]) await machine.run(['systemctl', 'stop', 'hand']);
});

test('a machine leaves its cluster, and nothing of the package stays when it is purged', async () => {
  const stays = await hostOf('web1');
  const leaves = [m3, m2, m1].find(({ name }) => name !== stays && name !== 'm1') ?? assert.fail();
  const disks = JSON.parse(await m1.gp('disk list -o json')) as readonly { node: string }[];
  if (disks.some(({ node }) => node === leaves.name)) {
    const refused = await leaves.try(['gp', 'leave', '--dir', await contextOn(leaves)]);
    assert.notEqual(refused.exitCode, 0, 'its disks are left');
    return;
  }
  const users = await leaves.sh('getent passwd; getent group');
  await leaves.run(['gp', 'leave', '--dir', await contextOn(leaves)]);
  for (const noun of ['host', 'storage', 'control'])
    assert.doesNotMatch(await m1.gp(`${noun} list`), new RegExp(`^${leaves.name} `, 'm'));
  await leaves.run(['apt-get', 'purge', '-y', 'groundplane'], 300_000);
  await leaves.sh('rm -r /root/context');
  assert.deepEqual(await leaves.changedFiles(), []);
  assert.equal(await leaves.sh('getent passwd; getent group'), users);
  assert.equal(await leaves.sh("systemctl list-units --all --no-legend 'groundplane*' 'gp-*'"), '');
  assert.equal(await leaves.sh("systemctl list-unit-files --no-legend 'groundplane*' || true"), '');
  assert.deepEqual((await leaves.sh("ip -o link | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/'")).trim().split('\n'), [
    'lo',
    'eth0',
  ]);
  assert.equal(await leaves.sh('nft list tables'), '');
  assert.equal(await leaves.sh('ss -Hltnu'), '');
  await writes.goOn();
  assert.deepEqual(writes.errors(), []);
});

/** Returns the machine type with which a QEMU was started. */
function machineTypeOf(qemu: ProcessIdentity): string {
  const argv = readProcess(qemu.pid)?.argv ?? [];
  return argv[argv.indexOf('-machine') + 1]?.split(',')[0] ?? assert.fail();
}

/**
 * The limits that systemd was told. Whether the kernel enforces them can be seen only with the controllers of cgroups
 * v2.
 */
async function limitsAreSet(): Promise<void> {
  const host = [m1, m2, m3][Number((await hostOf('web1')).slice(1)) - 1] ?? assert.fail();
  const asked = ['systemctl', 'show', 'gp-vm-*.scope', '-p', 'MemoryMax,MemorySwapMax,CPUWeight,ControlGroup'];
  const scope = new Map(
    (await host.run(asked))
      .trim()
      .split('\n')
      .map((line) => line.split('=') as [string, string]),
  );
  const mib = 1024 ** 2;
  const memoryMax = Number(scope.get('MemoryMax'));
  assert.ok(memoryMax > (96 + 1024) * mib && memoryMax < (96 + 2048) * mib, String(memoryMax));
  assert.deepEqual([scope.get('MemorySwapMax'), scope.get('CPUWeight')], ['0', '100']);
  const cgroup = `/sys/fs/cgroup${scope.get('ControlGroup')}`;
  assert.match(cgroup, /\/groundplane-vms\.slice\//);
  if (!(await host.sh('cat /sys/fs/cgroup/cgroup.controllers')).includes('memory')) return;
  // The kernel counts in pages.
  assert.equal(Number(await host.sh(`cat ${cgroup}/memory.max`)), memoryMax - (memoryMax % 4096));
  assert.equal(await host.sh(`cat ${cgroup}/cpu.weight`), '100\n');
}

/** The administrator's context, brought to another machine. */
async function contextOn(machine: Machine): Promise<string> {
  const archive = await m1.sh('tar -c -C /etc/groundplane admin | base64 -w0');
  await machine.sh(`mkdir -p /root/context && echo ${archive} | base64 -d | tar -x -C /root/context`);
  return '/root/context/admin';
}

/** A shell's line that prints status and content of a page, seen with the cluster's authority. */
function fetchText(url: string): string {
  const code = 'fetch(process.argv[1]).then(async (r) => console.log(r.status, await r.text()))';
  return `NODE_EXTRA_CA_CERTS=/etc/groundplane/admin/ca.pem /usr/lib/groundplane/node -e '${code}' '${url}'`;
}

async function hostOf(vm: string): Promise<string> {
  const [found] = JSON.parse(await m1.gp('vm list -o json')) as readonly { name: string; host: string }[];
  assert.equal(found?.name, vm);
  return found.host;
}
