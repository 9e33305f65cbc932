/**
 * One host in a network namespace of its own, for tests: a certificate authority, a storage daemon with disks over NBD
 * and TLS, and the agent as a process. For use inside `unshare`; everything ends with the namespace at the latest.
 */

import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dnsName, type PeerIdentity } from '../../base/identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseStorageName, parseVmId } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import { type Daemon, run, spawnDaemon } from '../../os/child-process.ts';
import { signalProcess, waitGone } from '../../os/process-table.ts';
import { until } from '../../os/testing/until.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import { type Credentials, writeCredentials } from '../../pki/credentials.ts';
import { RpcClient } from '../../rpc/client.ts';

export const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
export const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
export const VM = parseVmId('vm-0123456789ab');
const NBD_PORT = 30_000;
const OVERLAY_ADDRESS = '10.79.0.1';
const DEADLINE_MS = 30_000;

/**
 * A boot sector that writes the alphabet to the serial port for ever: mov dx,3f8; then wait for bit 5 of 3fd, out, next
 * letter; a line feed after Z.
 */
const ALPHABET = [
  0xba, 0xf8, 3, 0xb0, 0x41, 0x88, 0xc3, 0x81, 0xc2, 5, 0, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0x83, 0xea, 5, 0x88, 0xd8,
  0xee, 0xfe, 0xc0, 0x3c, 0x5b, 0x75, 0xe9, 0xb0, 0x0a, 0xee, 0xb0, 0x41, 0xeb, 0xe2,
];

export interface Rig {
  readonly directory: string;
  readonly runDir: string;
  readonly client: RpcClient;
  credentialsOf(identity: PeerIdentity): Promise<Credentials>;
  startAgent(): Promise<Daemon>;
  end(): Promise<void>;
}

export function incarnation(generation: number): PeerIdentity {
  return { kind: 'incarnation', vmId: VM, generation: parseGeneration(generation) };
}

/** The disk `name` on the storage daemon: `disk` boots, `nvram` holds UEFI variables; others do not exist. */
export function exportOf(name: string): { address: string; port: number; name: string; tlsName: string } {
  return { address: '127.0.0.1', port: NBD_PORT, name, tlsName: dnsName(STORAGE) };
}

export async function startRig(qemuUsers: 'per-slot' | 'self'): Promise<Rig> {
  const directory = await mkdtemp(join(tmpdir(), 'gp-agent-'));
  await run(['chmod', '711', directory], { deadlineMs: DEADLINE_MS });
  const authority = await createAuthority({ clusterName: 'lab', daysValid: 2 });
  const credentialsOf = (identity: PeerIdentity): Promise<Credentials> => certified(authority, identity);
  await makeNetwork();
  const stateDir = join(directory, 'state');
  const runDir = join(directory, 'run');
  await writeCredentials(join(stateDir, 'identity'), await credentialsOf(HOST));
  const config = {
    name: 'h1',
    controlAddress: '127.0.0.1',
    storageAddress: '127.0.0.1',
    overlayAddress: OVERLAY_ADDRESS,
    overlayDevice: 'ovl0',
    stateDir,
    runDir,
    memoryBytes: 1024 ** 3,
    qemuUsers,
    accelerator: 'tcg',
  };
  await writeFile(join(directory, 'agent.json'), JSON.stringify(config));
  const storage = await startStorage(directory, await credentialsOf(STORAGE));
  const client = new RpcClient({
    credentials: await credentialsOf(CONTROL),
    target: { address: '127.0.0.1', port: PORTS.agent, identity: HOST },
  });
  const startAgent = async (): Promise<Daemon> => {
    const main = fileURLToPath(new URL('../main.ts', import.meta.url));
    const log = join(directory, 'agent.log');
    const options = { stdoutFile: log, stderrFile: log, env: { PATH: process.env['PATH'] }, cwd: directory };
    const agent = await spawnDaemon([process.execPath, main, '--config', join(directory, 'agent.json')], options);
    await until('the agent answers', () => answers(client));
    return agent;
  };
  const end = async (): Promise<void> => {
    client.close();
    signalProcess(storage, 'SIGKILL');
    await waitGone(storage, DEADLINE_MS);
    await rm(directory, { recursive: true, force: true });
  };
  return { directory, runDir, client, credentialsOf, startAgent, end };
}

async function certified(authority: CertifiedKey, identity: PeerIdentity): Promise<Credentials> {
  return { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
}

async function answers(client: RpcClient): Promise<boolean> {
  try {
    await client.call({ method: 'GET', path: '/v1/report', deadlineMs: 2_000, parse: () => undefined });
    return true;
  } catch {
    return false;
  }
}

async function makeNetwork(): Promise<void> {
  const lines = [
    'link set lo up',
    'link add ovl0 type veth peer name ovl1',
    `address add ${OVERLAY_ADDRESS}/24 dev ovl0`,
    'link set ovl0 up',
    'link set ovl1 up',
  ];
  await run(['ip', '-batch', '-'], { deadlineMs: DEADLINE_MS, input: `${lines.join('\n')}\n` });
}

async function startStorage(directory: string, credentials: Credentials): Promise<Daemon> {
  const work = join(directory, 'storage');
  await mkdir(work);
  await writeCredentials(join(work, 'tls'), credentials);
  const disk = new Uint8Array(1024 ** 2);
  disk.set(ALPHABET);
  disk.set([0x55, 0xaa], 510);
  await writeFile(join(work, 'disk'), disk);
  await copyFile('/usr/share/OVMF/OVMF_VARS_4M.fd', join(work, 'nvram'));
  const names = ['disk', 'nvram'];
  const argv = [
    'qemu-storage-daemon',
    ...['--object', `tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir=${work}/tls`],
    ...['--nbd-server', `addr.type=inet,addr.host=127.0.0.1,addr.port=${NBD_PORT},tls-creds=t`],
    ...names.flatMap((name) => [
      ...['--blockdev', `file,node-name=${name},filename=${join(work, name)}`],
      ...['--export', `nbd,id=${name},node-name=${name},name=${name},writable=on`],
    ]),
  ];
  const log = join(work, 'log');
  return spawnDaemon(argv, { stdoutFile: log, stderrFile: log, env: { PATH: process.env['PATH'] }, cwd: work });
}
