/** For tests: a real etcd cluster with mutual TLS on loopback addresses of its own, and a TCP proxy to cut it off. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { present } from '../../base/assert.ts';
import { EtcdClient } from '../client.ts';
import { type EtcdMemberOptions, type EtcdMemberTls, etcdCommand } from '../member.ts';
import type { EtcdOptions } from '../transport.ts';

const SERVER_NAME = 'etcd.test';
const START_MS = 20_000;

export interface TestMember {
  readonly name: string;
  readonly clientAddress: string;
  readonly process: ChildProcess;
}

export interface TestCluster {
  readonly members: readonly TestMember[];
  /** Options for a client of all members, or of the endpoints given. */
  clientOptions(endpoints?: readonly string[]): EtcdOptions;
  /** A client with a certificate of the same authority but another name, which etcd must refuse. */
  strangerOptions(): EtcdOptions;
  /** Kills one member with SIGKILL and waits for its end. */
  kill(name: string): Promise<void>;
  /** Sends a signal (SIGSTOP, SIGCONT) to one member. */
  signal(name: string, signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}

/** Starts `size` members and waits until they have a leader. The caller must stop() it. */
export async function startCluster(size: 1 | 3, timing: { electionMs?: number } = {}): Promise<TestCluster> {
  const place = newPlace(size);
  const { dir } = place;
  makeCertificates(dir, place.hosts);
  const file = (base: string): string => join(dir, base);
  const tls: EtcdMemberTls = {
    caFile: file('ca.pem'),
    certFile: file('server.pem'),
    keyFile: file('server.key'),
    peerCaFile: file('ca.pem'),
    peerCertFile: file('server.pem'),
    peerKeyFile: file('server.key'),
    clientName: 'client.test',
    peerName: SERVER_NAME,
  };
  const members = spawnMembers(place, () => ({ ...timing, tls }));
  const options = (identity: string, endpoints?: readonly string[]): EtcdOptions => ({
    endpoints: endpoints ?? members.map((member) => member.clientAddress),
    tls: { ...readCredentials(dir, identity), serverName: SERVER_NAME },
  });
  const cluster: TestCluster = {
    ...processesOf(dir, members),
    clientOptions: (endpoints) => options('client', endpoints),
    strangerOptions: () => options('stranger'),
  };
  await untilLed(cluster);
  return cluster;
}

/** A directory and addresses of its own. */
export interface Place {
  readonly dir: string;
  /** One loopback address for each member. */
  readonly hosts: readonly string[];
}

export function newPlace(size: number): Place {
  const net = `127.${randomInt(1, 255)}.${randomInt(0, 255)}`;
  const hosts = Array.from({ length: size }, (_, i) => `${net}.${i + 1}`);
  return { dir: mkdtempSync(join(tmpdir(), 'gp-etcd-')), hosts };
}

/** Starts the members m1, m2… */
export function spawnMembers(
  { dir, hosts }: Place,
  optionsOf: (name: string) => Pick<EtcdMemberOptions, 'tls' | 'electionMs' | 'quotaBytes'>,
): readonly TestMember[] {
  const initialCluster = hosts.map((host, i) => ({ name: `m${i + 1}`, peerAddress: `${host}:2380` }));
  return initialCluster.map(({ name, peerAddress }): TestMember => {
    const clientAddress = peerAddress.replace(/:2380$/, ':2379');
    const dataDir = join(dir, name);
    mkdirSync(dataDir, { mode: 0o700 });
    const command = etcdCommand({
      name,
      dataDir,
      clientAddresses: [clientAddress],
      peerAddress,
      initialCluster,
      clusterToken: dir,
      ...optionsOf(name),
      arch: process.arch,
    });
    // Dies with the test, however that ends.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command.program, ...command.argv], {
      stdio: ['ignore', 'ignore', process.env['GP_TEST_ETCD_LOG'] === undefined ? 'ignore' : 'inherit'],
      env: { PATH: process.env['PATH'], ...command.env },
    });
    return { name, clientAddress, process: child };
  });
}

function readCredentials(dir: string, identity: string): { caPem: string; certPem: string; keyPem: string } {
  const read = (file: string): string => readFileSync(join(dir, file), 'utf8');
  return { caPem: read('ca.pem'), certPem: read(`${identity}.pem`), keyPem: read(`${identity}.key`) };
}

/** Control over the members for a test; stop() removes `dir` too. */
export function processesOf(
  dir: string,
  members: readonly TestMember[],
): Pick<TestCluster, 'members' | 'kill' | 'signal' | 'stop'> {
  const find = (name: string): ChildProcess =>
    present(
      members.find((member) => member.name === name),
      name,
    ).process;
  return {
    members,
    kill: (name) => end(find(name)),
    signal: (name, signal) => {
      find(name).kill(signal);
    },
    stop: async () => {
      await Promise.all(members.map((member) => end(member.process)));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Waits until all members know a leader; stops them and throws when they do not. */
export async function untilLed(cluster: Pick<TestCluster, 'members' | 'clientOptions' | 'stop'>): Promise<void> {
  const client = new EtcdClient(cluster.clientOptions());
  try {
    const limit = performance.now() + START_MS;
    for (;;) {
      const states = await client.status({ deadlineMs: 1_000 });
      const led = states.filter((state) => 'leaderId' in state && state.leaderId !== '0').length;
      if (led === cluster.members.length) return;
      if (performance.now() > limit) throw new Error(`etcd did not start: ${JSON.stringify(states)}`);
    }
  } catch (error) {
    await cluster.stop();
    throw error;
  } finally {
    client.close();
  }
}

function makeCertificates(dir: string, hosts: readonly string[]): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test CA');
  for (const [identity, name] of [
    ['server', SERVER_NAME],
    ['client', 'client.test'],
    ['stranger', 'stranger.test'],
  ]) {
    // Members verify each other by the host of the peer URL.
    const addresses = identity === 'server' ? hosts.map((host) => `,IP:${host}`).join('') : '';
    const ca = [
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-subj',
      `/CN=${name}`,
      '-addext',
      `subjectAltName=DNS:${name}${addresses}`,
    ];
    const extensions = ['-addext', 'basicConstraints=critical,CA:FALSE'];
    openssl('req', '-x509', ...key, ...ca, ...extensions, '-keyout', `${identity}.key`, '-out', `${identity}.pem`);
  }
}

/** A TCP proxy to one address, whose connections can be cut or frozen. */
export interface CutProxy {
  readonly address: string;
  /** Destroys all connections; new ones are accepted. Returns how many there were. */
  cut(): number;
  /** From now on no byte passes, while old and new connections stay open: a network that drops everything. */
  freeze(): void;
  /** From now on requests pass and answers do not. */
  mute(): void;
  /** From now on connections are accepted; needed after starting `closed`. */
  admit(): void;
  close(): Promise<void>;
}

/** `closed`: refuses connections until admit(), so that a client surely uses another endpoint first. */
export async function startProxy(
  target: string,
  state: 'open' | 'closed' = 'open',
  listenHost = '127.0.0.1',
): Promise<CutProxy> {
  const [host, port] = target.split(':');
  const sockets = new Set<Socket>();
  let frozen = false;
  let muted = false;
  let admitting = state === 'open';
  const server = createServer((near) => {
    if (!admitting) {
      near.destroy();
      return;
    }
    const far = connect({ host: host ?? '', port: Number(port) });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => from.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on('data', (chunk) => {
        if (!frozen && !(muted && from === far)) to.write(chunk);
      });
    }
  });
  server.listen(0, listenHost);
  await once(server, 'listening');
  return {
    address: `${listenHost}:${(server.address() as AddressInfo).port}`,
    cut: () => {
      const count = sockets.size / 2;
      for (const socket of sockets) socket.destroy();
      return count;
    },
    freeze: () => {
      frozen = true;
    },
    mute: () => {
      muted = true;
    },
    admit: () => {
      admitting = true;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}
