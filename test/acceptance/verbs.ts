/**
 * The verbs of `gp vm` and `gp host`, each as a person uses it and with its effect seen in the guest or on the storage
 * node.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Disk, Host, Vm, VmDetail } from '../../src/api/views.ts';
import { sleep } from '../../src/base/sleep.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { systemClock } from '../../src/os/clock.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { runningQemus } from '../stories/guests.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import {
  acknowledged,
  type Case,
  createTiny,
  deleteVms,
  gp,
  gpJson,
  growsBeyond,
  until,
  untilSaid,
  untilVm,
  vmOf,
} from './case.ts';
import { Guest } from './guest.ts';

const MIB = 1024 * 1024;
const ROOT = join(import.meta.dirname, '../..');
const STILL_MS = 1_500;
const TERMINAL_DEADLINE_MS = 60_000;
const MARKER = 'seed-4711';

const create: Case = {
  name: 'create: vCPUs, memory, disks, labels, seed and kernel command line are what the guest sees',
  async run(cluster) {
    const userData = join(cluster.dir, 'user-data');
    await writeFile(userData, `#cloud-config\n# ${MARKER}\n`);
    await createTiny(cluster, 'v1', [
      ...['--memory', '128M', '--vcpus', '2', '--disk', '8M', '--disk', '16M', '--network', 'lan'],
      ...['--label', 'tier=web', '--label', 'site=here', '--user-data', userData],
      ...['--append', 'gp.workload=sequence gp.disk=vdb gp.hostname=chosen'],
    ]);
    const shown = await gpJson<VmDetail>(cluster, ['vm', 'show', 'v1']);
    assert.equal(shown.verdict, 'running');
    assert.deepEqual(shown.labels, { tier: 'web', site: 'here' });
    assert.deepEqual(
      shown.disks.map(({ role, sizeBytes }) => [role, role === 'seed' ? 0 : sizeBytes]),
      [
        ['data', 8 * MIB],
        ['data', 16 * MIB],
        ['seed', 0],
      ],
    );
    const guest = await Guest.open(cluster, 'v1');
    try {
      assert.equal((await guest.run('nproc')).text.trim(), '2');
      const memory = Number(/MemTotal: +(\d+)/.exec((await guest.run('cat /proc/meminfo')).text)?.[1]);
      assert.ok(memory > 64 * 1024 && memory <= 128 * 1024, `MemTotal ${memory} kB`);
      assert.equal((await guest.run('cat /sys/block/vda/size /sys/block/vdb/size')).text.trim(), '16384\n32768');
      assert.equal((await guest.run('hostname')).text.trim(), 'chosen');
      const seed = await guest.run(
        `grep -c ${MARKER} /dev/vdc; grep -c CIDATA /dev/vdc; grep -c local-hostname /dev/vdc`,
      );
      assert.doesNotMatch(seed.text, /^0/m, 'user-data, volume label and meta-data are on the seed');
      assert.equal((await guest.run('cat /sys/block/vdc/ro')).text.trim(), '1');
    } finally {
      guest.close();
    }
  },
};

const listAndShow: Case = {
  name: 'list filters, show says why, JSON has the promised fields',
  async run(cluster) {
    await gp(cluster, ['vm', 'create', 'v0', '--image', 'tiny', '--label', 'tier=db', '--no-start']);
    const names = async (...words: readonly string[]): Promise<readonly string[]> =>
      (await gpJson<readonly Vm[]>(cluster, ['vm', 'list', ...words])).map(({ name }) => name);
    const { host } = await vmOf(cluster, 'v1');
    assert.ok(host !== null);
    assert.deepEqual(await names(), ['v0', 'v1']);
    assert.deepEqual(await names('--label', 'tier=web'), ['v1']);
    assert.deepEqual(await names('--label', 'tier'), ['v0', 'v1']);
    assert.deepEqual(await names('--label', 'tier', '--label', 'site=here'), ['v1']);
    assert.deepEqual(await names('--label', 'tier=none'), []);
    assert.deepEqual(await names('--host', host), ['v1']);
    assert.equal((await gp(cluster, ['vm', 'list', '-o', 'name'])).stdout, 'v0\nv1\n');
    const { name, verdict, generation } = await gpJson<VmDetail>(cluster, ['vm', 'show', 'v1']);
    assert.deepEqual({ name, verdict, generation }, { name: 'v1', verdict: 'running', generation: 1 });
    const text = (await gp(cluster, ['vm', 'show', 'v1'])).stdout;
    assert.match(text, /Because: +\S/);
    assert.match(text, new RegExp(`agent +of ${host} alive, QEMU process present`));
    assert.match(text, /QMP +answers "running"/);
    assert.match(text, /storage +s1 disk-[0-9a-f]+: admits generation 1, connected generation 1/);
    await gp(cluster, ['vm', 'delete', 'v0']);
    for (const shown of await gpJson<readonly Host[]>(cluster, ['host', 'list'])) {
      assert.match(shown.name, /^h[123]$/);
      assert.equal(shown.agent, 'alive');
      const { drain, loss } = shown.evacuability;
      assert.equal(drain.possible, 'yes', `${shown.name}: ${drain.because.join('; ')}`);
      assert.equal(loss.possible, 'yes', `${shown.name}: ${loss.because.join('; ')}`);
    }
  },
};

const pauseAndResume: Case = {
  name: 'pause lets the sequence stand still, resume lets it go on without a gap',
  async run(cluster) {
    await growsBeyond(cluster, 'v1', 3);
    await gp(cluster, ['vm', 'pause', 'v1']);
    await untilVm(cluster, 'v1', { verdict: 'suspended' });
    const before = await acknowledged(cluster, 'v1');
    // There is no event to wait for: the test shows that none comes.
    await sleep(systemClock, STILL_MS);
    assert.equal(await acknowledged(cluster, 'v1'), before);
    await gp(cluster, ['vm', 'resume', 'v1']);
    await untilVm(cluster, 'v1', { verdict: 'running', generation: 1 });
    await growsBeyond(cluster, 'v1', before + 3);
  },
};

const reset: Case = {
  name: 'reset boots the guest again in the same incarnation',
  async run(cluster) {
    const reached = await growsBeyond(cluster, 'v1', 0);
    await gp(cluster, ['vm', 'reset', 'v1']);
    const again =
      /groundplane-tiny ready generation=1[\s\S]*groundplane-tiny ready generation=1[\s\S]*seq-start (\d+) /;
    const started = Number((await untilSaid(cluster, 'v1', again))[1]);
    assert.ok(started > reached, `it went on at ${started}, and ${reached} was acknowledged`);
    await untilVm(cluster, 'v1', { verdict: 'running', generation: 1 });
    const { stdout } = await gp(cluster, ['vm', 'log', 'v1', '--lines', '5']);
    assert.ok(stdout.trim().split('\n').length <= 5, stdout);
  },
};

/**
 * Types into `gp vm console` on a terminal of its own; the surrounding shell compares the settings before and after.
 */
function consoleOnTerminal(cluster: StoryCluster, name: string): Promise<string> {
  const command = `'${process.execPath}' --disable-warning=ExperimentalWarning '${ROOT}/src/cli/main.ts' --dir '${cluster.dir}' vm console ${name}`;
  const line = `before=$(stty -g); ${command}; echo "left with $?"; [ "$before" = "$(stty -g)" ] && echo terminal-restored`;
  const child = spawn('script', ['--quiet', '--flush', '--return', '--command', line, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, SHELL: '/bin/sh', TERM: 'vt100' },
  });
  let said = '';
  let step = 0;
  // Each line is typed when the line before it was answered.
  const talk: readonly (readonly [RegExp, string])[] = [
    [/Ctrl-\] leaves\./, '\r'],
    [/tiny# [\s\S]*tiny# |tiny# /, 'echo con$((40+2))sole; nosuch\r'],
    [/con42sole[\s\S]*nosuch: not found/, '\x1d'],
  ];
  const session = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString('latin1');
        for (let next = talk[step]; next?.[0].test(said); next = talk[++step]) child.stdin.write(next[1], 'latin1');
      });
      child.once('error', reject);
      child.once('close', () => resolve(said));
    });
  return withDeadline(session, { deadlineMs: TERMINAL_DEADLINE_MS, what: `the console of ${name}` })
    .catch((error: unknown) => {
      throw new Error(`The terminal showed:\n${said}`, { cause: error });
    })
    .finally(() => child.kill('SIGKILL'));
}

const console: Case = {
  name: 'console: Enter, a command and its answer; Ctrl-] leaves and the terminal is as before',
  async run(cluster) {
    const said = await consoleOnTerminal(cluster, 'v1');
    assert.match(said, /Left the console; the VM runs on\./);
    assert.match(said, /left with 0/);
    assert.match(said, /terminal-restored/);
    await untilVm(cluster, 'v1', { verdict: 'running' });
  },
};

const stopAndStart: Case = {
  name: 'stop asks the guest by ACPI; start makes the next generation, which goes on where the last one was',
  async run(cluster) {
    const reached = await growsBeyond(cluster, 'v1', 0);
    await gp(cluster, ['vm', 'stop', 'v1', '--patience', '60s']);
    await untilVm(cluster, 'v1', { verdict: 'stopped', host: null, generation: 1 });
    await untilSaid(cluster, 'v1', /groundplane-tiny power button/);
    await gp(cluster, ['vm', 'start', 'v1']);
    await untilVm(cluster, 'v1', { verdict: 'running', generation: 2 });
    const start = await untilSaid(cluster, 'v1', /ready generation=2[\s\S]*seq-start (\d+) disk=\/dev\/vdb/);
    assert.ok(Number(start[1]) > reached);
    const { stdout } = await gp(cluster, ['vm', 'events', 'v1']);
    assert.match(stdout, /generation 2|\b2\b/);
    const kinds = (await gpJson<readonly { kind: string }[]>(cluster, ['vm', 'events', 'v1'])).map(({ kind }) => kind);
    assert.ok(kinds.length >= 4, kinds.join(' '));
  },
};

async function powerOffInside(cluster: StoryCluster, name: string): Promise<void> {
  const guest = await Guest.open(cluster, name);
  guest.type('poweroff -f\n');
  await guest.waitFor(/poweroff -f/, TERMINAL_DEADLINE_MS, 'poweroff -f');
  guest.close();
}

const restartPolicy: Case = {
  name: 'restart policy: a power-off inside is a stop, unless the policy is always; a killed QEMU is started again',
  async run(cluster) {
    await createTiny(cluster, 'v2');
    const { id } = await vmOf(cluster, 'v2');
    const qemu = await until('the QEMU of v2', () => runningQemus().find(({ vm }) => vm === id));
    process.kill(qemu.process.pid, 'SIGKILL');
    await untilVm(cluster, 'v2', { verdict: 'running', generation: 2 });
    await powerOffInside(cluster, 'v2');
    const off = await untilVm(cluster, 'v2', { verdict: 'stopped' });
    assert.equal(off.generation, 2);
    assert.equal(off.intent, 'stopped');
    await gp(cluster, ['vm', 'set', 'v2', '--restart-policy', 'always']);
    await gp(cluster, ['vm', 'start', 'v2']);
    await untilVm(cluster, 'v2', { verdict: 'running', generation: 3 });
    await powerOffInside(cluster, 'v2');
    await untilVm(cluster, 'v2', { verdict: 'running', generation: 4 });
    await deleteVms(cluster, ['v2']);
  },
};

const cordon: Case = {
  name: 'cordon keeps new VMs away; with every host cordoned a start is refused',
  async run(cluster) {
    for (const host of ['h1', 'h2']) await gp(cluster, ['host', 'cordon', host]);
    try {
      await createTiny(cluster, 'v3', ['--no-wait']);
      assert.equal((await untilVm(cluster, 'v3', { verdict: 'running' })).host, 'h3');
      await gp(cluster, ['host', 'cordon', 'h3']);
      const { stderr } = await gp(cluster, ['vm', 'create', 'v4', '--image', 'tiny'], 5);
      assert.match(stderr, /No host can run v4\..*cordoned.*Nothing was created/s);
      const hosts = await gpJson<readonly Host[]>(cluster, ['host', 'list']);
      assert.ok(hosts.every(({ cordoned }) => cordoned));
    } finally {
      for (const host of ['h1', 'h2', 'h3']) await gp(cluster, ['host', 'uncordon', host]);
      await deleteVms(cluster, ['v3', 'v4']);
    }
  },
};

const remove: Case = {
  name: 'delete frees name, addresses and disks',
  async run(cluster) {
    const pool = join(labLayout(cluster.dir).machine('s1').poolDir, 'disks');
    const { nics, disks } = await vmOf(cluster, 'v1');
    const address = nics[0]?.address;
    const stored = async (): Promise<readonly string[]> => {
      const there = await readdir(pool);
      return disks.map((disk) => disk.id).filter((id) => there.includes(id));
    };
    assert.equal((await stored()).length, 3);
    await gp(cluster, ['vm', 'delete', 'v1']);
    await until('the disks are gone', async () => ((await stored()).length === 0 ? true : undefined), {
      seen: () => pool,
    });
    const left = await gpJson<readonly Disk[]>(cluster, ['disk', 'list']);
    assert.deepEqual(
      left.filter(({ vm }) => vm === 'v1'),
      [],
    );
    await gp(cluster, ['vm', 'show', 'v1'], 4);
    await gp(cluster, ['vm', 'create', 'v1', '--image', 'tiny', '--network', `lan,address=${address}`, '--no-start']);
    assert.equal((await vmOf(cluster, 'v1')).nics[0]?.address, address);
    await gp(cluster, ['vm', 'delete', 'v1']);
  },
};

export const verbs: readonly Case[] = [
  create,
  listAndShow,
  pauseAndResume,
  reset,
  console,
  stopAndStart,
  restartPolicy,
  cordon,
  remove,
];
