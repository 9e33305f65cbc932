/** Secrets stay secret, QEMU is confined, and every port lets in only the peers that it is for. */
import assert from 'node:assert/strict';
import { type Dirent, readdirSync, readFileSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { present } from '../../src/base/assert.ts';
import { dnsName } from '../../src/base/identity.ts';
import { parseStorageName } from '../../src/base/ids.ts';
import { PORTS, portsOfSlot } from '../../src/core/model/ports.ts';
import { readRunning } from '../../src/lab/client.ts';
import { labLayout } from '../../src/lab/layout.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { listProcesses } from '../../src/os/process-table.ts';
import { type Credentials, readCredentials } from '../../src/pki/credentials.ts';
import { runningQemus, type SeenQemu } from '../stories/guests.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, untilVm, vmOf } from './case.ts';
import type { Knock } from './knock.ts';

const FILE_BYTES_MAX = 96 * 1024 * 1024;
const EXEC_DEADLINE_MS = 20_000;
const QMP_GREETING = '"QMP"';
const CONTROL = '10.77.0.11';
const STORAGE = '10.78.1.1';

/** The processes of the cluster, by the system's own numbering: everything below the outer one. */
async function clusterProcesses(cluster: StoryCluster): Promise<readonly number[]> {
  const running = present(await readRunning(labLayout(cluster.dir)), 'the running cluster');
  const processes = listProcesses();
  const found = new Set([running.outer.pid]);
  for (let grew = true; grew; ) {
    const before = found.size;
    for (const { pid, ppid } of processes) if (found.has(ppid)) found.add(pid);
    grew = found.size > before;
  }
  assert.ok(found.size > 15, `only ${found.size} processes of the cluster were found`);
  return [...found];
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // A process or file that has gone in the meantime.
    return '';
  }
}

function secretIn(text: string, token: string): string | undefined {
  if (text.includes(token)) return 'the administrator’s token';
  return /gp_api_[A-Za-z0-9_-]{16,}|gp_join_[A-Za-z0-9_.-]{16,}|BEGIN (EC |RSA )?PRIVATE KEY/
    .exec(text)?.[0]
    .slice(0, 20);
}

function filesBelow(directory: string): readonly { path: string; about: Stats }[] {
  const entries: Dirent[] = [];
  try {
    entries.push(...readdirSync(directory, { withFileTypes: true }));
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    if (!entry.isFile()) return [];
    try {
      return [{ path, about: statSync(path) }];
    } catch {
      return [];
    }
  });
}

const noLeaks: Case = {
  name: 'no argument, environment, log or readable file holds a token or a key',
  async run(cluster) {
    await createTiny(cluster, 's1', ['--network', 'lan']);
    const { token } = cluster.target;
    const leaks: string[] = [];
    const roots = new Map<string, string>();
    for (const pid of await clusterProcesses(cluster)) {
      for (const what of ['cmdline', 'environ']) {
        const secret = secretIn(read(`/proc/${pid}/${what}`), token);
        if (secret !== undefined) leaks.push(`${what} of ${read(`/proc/${pid}/cmdline`).slice(0, 80)}: ${secret}`);
      }
      try {
        roots.set(readlinkSync(`/proc/${pid}/ns/mnt`), `/proc/${pid}/root/run`);
      } catch {
        // Gone in the meantime.
      }
    }
    const places = [
      cluster.dir,
      ...[...roots.values()].filter(
        (root) => statSync(join(root, 'groundplane'), { throwIfNoEntry: false }) !== undefined,
      ),
    ];
    assert.ok(places.length >= 6, `${places.length} places: the directory and five machines`);
    let secrets = 0;
    for (const { path, about } of places.flatMap(filesBelow)) {
      if (about.size === 0 || about.size > FILE_BYTES_MAX) continue;
      const secret = secretIn(read(path), token);
      if (secret === undefined) continue;
      secrets += 1;
      if ((about.mode & 0o077) !== 0) leaks.push(`${path} has mode ${(about.mode & 0o777).toString(8)}: ${secret}`);
      if (/\.log(\.\d+)?$|\/etcd\//.test(path)) leaks.push(`${path}: ${secret}`);
    }
    assert.ok(secrets > 5, 'keys and the token themselves were looked at');
    assert.deepEqual(leaks, []);
  },
};

async function qemuOf(cluster: StoryCluster, name: string): Promise<SeenQemu> {
  const { id, generation } = await vmOf(cluster, name);
  return present(
    runningQemus().find((qemu) => qemu.vm === id && qemu.generation === generation),
    `the QEMU of ${name}`,
  );
}

const confined: Case = {
  name: 'QEMU and the disk daemons run as nobody else, without capabilities; QEMU with a system call filter',
  async run(cluster) {
    const { process: qemu } = await qemuOf(cluster, 's1');
    const status = read(`/proc/${qemu.pid}/status`);
    const field = (name: string): string => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1] ?? '';
    if (process.getuid?.() === 0) for (const uid of field('Uid').split(/\s+/)) assert.notEqual(uid, '0');
    assert.equal(field('NoNewPrivs'), '1');
    assert.equal(field('Seccomp'), '2');
    for (const set of ['CapEff', 'CapPrm', 'CapBnd']) assert.match(field(set), /^0+$/, set);
    const daemons = listProcesses().filter(({ argv }) => argv[0]?.endsWith('qemu-storage-daemon'));
    const ours = new Set(await clusterProcesses(cluster));
    const served = daemons.filter(({ pid }) => ours.has(pid));
    assert.ok(served.length > 0);
    for (const { pid } of served) {
      const about = read(`/proc/${pid}/status`);
      assert.match(about, /^NoNewPrivs:\s+1$/m);
      if (process.getuid?.() === 0) assert.doesNotMatch(about, /^Uid:.*\b0\b/m);
    }
  },
};

async function exec(cluster: StoryCluster, target: string, argv: readonly string[], input = ''): Promise<RunResult> {
  return (await cluster.lab('exec', { target, argv, input, deadlineMs: EXEC_DEADLINE_MS })) as RunResult;
}

async function knockFrom(cluster: StoryCluster, machine: string, knocks: readonly Knock[]): Promise<readonly string[]> {
  const script = join(import.meta.dirname, 'knock.ts');
  const argv = [process.execPath, '--disable-warning=ExperimentalWarning', script];
  const ran = await exec(cluster, machine, argv, JSON.stringify(knocks));
  assert.equal(ran.exitCode, 0, ran.stderr);
  return JSON.parse(ran.stdout) as readonly string[];
}

async function identityOf(cluster: StoryCluster, machine: string): Promise<Credentials> {
  const { stateDir } = labLayout(cluster.dir).machine(machine);
  return present(await readCredentials(join(stateDir, 'identity')), `identity of ${machine}`);
}

function controlIdentity(cluster: StoryCluster): Promise<Credentials> {
  const directory = join(labLayout(cluster.dir).machine('c1').dir, 'credentials');
  return readCredentials(directory).then((found) => present(found, 'identity of c1'));
}

const ports: Case = {
  name: 'monitors, consoles, services and etcd let in neither plain text nor a certificate of somebody else',
  async run(cluster) {
    const { host } = await vmOf(cluster, 's1');
    const { slot } = await qemuOf(cluster, 's1');
    const hostAddress = `10.77.2.${present(host, 'host').slice(1)}`;
    const { qmp, serial, guestAgent } = portsOfSlot(slot);
    const stranger = await identityOf(cluster, host === 'h1' ? 'h2' : 'h1');
    const control = await controlIdentity(cluster);
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    const monitors = [...qmp, serial, guestAgent].map((port) => ({ address: hostAddress, port, send: '\n' }));
    const services = [
      { address: hostAddress, port: PORTS.agent, send: get('/v1/report') },
      { address: '10.77.1.1', port: PORTS.storage, send: get('/v1/report') },
      { address: CONTROL, port: PORTS.etcdClient, send: get('/v2/keys/') },
      { address: CONTROL, port: PORTS.etcdPeer, send: get('/members') },
      { address: CONTROL, port: PORTS.controlPeer, send: get('/v1/health') },
    ];
    const from = host === 'h1' ? 'h2' : 'h1';
    const plain = await knockFrom(
      cluster,
      from,
      [...monitors, ...services].map((at) => ({ ...at, credentials: null })),
    );
    for (const [index, answer] of plain.entries())
      assert.doesNotMatch(answer, /QMP|^HTTP\/1\.[01] 2|seq|tiny#/, `${index}`);
    const foreign = await knockFrom(
      cluster,
      from,
      [...monitors, ...services].map((at) => ({ ...at, credentials: stranger })),
    );
    for (const [index, answer] of foreign.entries())
      assert.doesNotMatch(
        answer,
        /QMP|^HTTP\/1\.[01] 2|tiny#/,
        `${JSON.stringify([...monitors, ...services][index])}: ${answer}`,
      );
    // The same connections by the peer they are meant for are answered: one of the three monitors may be in use.
    const known = await knockFrom(
      cluster,
      'c1',
      [...monitors, ...services.slice(0, 2)].map((at) => ({ ...at, credentials: control })),
    );
    assert.ok(
      known.slice(0, 3).some((answer) => answer.includes(QMP_GREETING)),
      JSON.stringify(known),
    );
    assert.match(known.at(-2) ?? '', /^HTTP\/1\.1 200/);
    assert.match(known.at(-1) ?? '', /^HTTP\/1\.1 200/);
  },
};

const etcd: Case = {
  name: 'a host’s certificate reads nothing in etcd',
  async run(cluster) {
    const credentials = await identityOf(cluster, 'h1');
    const script = join(import.meta.dirname, 'etcd-read.ts');
    const argv = [process.execPath, '--disable-warning=ExperimentalWarning', script];
    const asked = (who: Credentials): string =>
      JSON.stringify({ endpoint: `${CONTROL}:${PORTS.etcdClient}`, credentials: who });
    const ran = await exec(cluster, 'h1', argv, asked(credentials));
    assert.match(ran.stdout, /^refused/, ran.stderr);
    const control = await exec(cluster, 'c1', argv, asked(await controlIdentity(cluster)));
    assert.match(control.stdout, /^[1-9]\d* keys/, `${control.stdout}${control.stderr}`);
  },
};

/** The credential of an incarnation, as its host sees it. */
async function incarnationOf(qemu: SeenQemu): Promise<Credentials> {
  const directory = `/proc/${qemu.process.pid}/root/run/groundplane/${qemu.vm}-g${qemu.generation}/tls`;
  return present(await readCredentials(directory), 'credentials of the incarnation');
}

interface DiskKnock {
  readonly host: string;
  readonly port: number;
  readonly generation: number;
  readonly credentials: Credentials | null;
}

/** qemu-img's output for an export, asked from a host: exit code 0 if it was let in. */
async function openDisk(cluster: StoryCluster, { host, port, generation, credentials }: DiskKnock): Promise<RunResult> {
  const server = `server.type=inet,server.host=${STORAGE},server.port=${port}`;
  const image = `driver=nbd,${server},export=g${generation}`;
  if (credentials === null) return exec(cluster, host, ['qemu-img', 'info', '--image-opts', image]);
  const storage = dnsName({ kind: 'storage', name: parseStorageName('s1') });
  const script = `set -e; d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; cat >"$d/all"
    awk -v d="$d" '/^== /{f=d"/"$2; next} {print >f}' "$d/all"; status=0
    qemu-img info --object "tls-creds-x509,id=t,endpoint=client,dir=$d" --image-opts "$1,tls-creds=t,tls-hostname=$2" || status=$?
    exit $status`;
  const files = `== ca-cert.pem\n${credentials.caPem}== client-cert.pem\n${credentials.certPem}== client-key.pem\n${credentials.keyPem}`;
  return exec(cluster, host, ['sh', '-c', script, 'sh', image, storage], files);
}

const disks: Case = {
  name: 'a disk opens to its VM’s present generation only: not to its last one, its host, or another VM',
  async run(cluster) {
    await createTiny(cluster, 's2');
    const source = await qemuOf(cluster, 's1');
    const former = await incarnationOf(source);
    const { host = '' } = await vmOf(cluster, 's1');
    await gp(cluster, ['vm', 'migrate', 's1']);
    const { host: now, id } = await untilVm(cluster, 's1', { verdict: 'running', generation: 2 });
    assert.notEqual(now, host);
    const daemon = present(
      listProcesses().find(
        ({ argv }) =>
          argv[0]?.endsWith('qemu-storage-daemon') === true && argv.some((word) => word.includes(`incarnation:${id}:`)),
      ),
      'the disk daemon of s1',
    );
    const port = Number(/"port":"(\d+)"/.exec(daemon.argv.join(' '))?.[1]);
    const current = await incarnationOf(await qemuOf(cluster, 's1'));
    const open = (credentials: Credentials | null, generation: number): Promise<RunResult> =>
      openDisk(cluster, { host: host ?? '', port, generation, credentials });
    const admitted = await open(current, 2);
    assert.equal(admitted.exitCode, 0, admitted.stderr);
    const others = {
      'plain text': await open(null, 2),
      'its former generation': await open(former, 1),
      'its former generation, by the new name': await open(former, 2),
      'its host': await open(await identityOf(cluster, 'h1'), 2),
      'another VM': await open(await incarnationOf(await qemuOf(cluster, 's2')), 2),
    };
    for (const [who, ran] of Object.entries(others))
      assert.notEqual(ran.exitCode, 0, `${who} was let in: ${ran.stdout}`);
    await deleteVms(cluster, ['s1', 's2']);
  },
};

export const security: readonly Case[] = [noLeaks, confined, ports, etcd, disks];
