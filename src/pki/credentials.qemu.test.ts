import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { dnsName, type PeerIdentity, qemuAuthzName } from '../base/identity.ts';
import { parseGeneration, parseStorageName, parseVmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import { type RunResult, spawnDaemon, tryRun } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { makePrivateDirectory } from '../os/files.ts';
import { isRunning, type ProcessIdentity, signalProcess, waitGone } from '../os/process-table.ts';
import { type CertifiedKey, createAuthority, issue } from './authority.ts';
import { writeCredentials } from './credentials.ts';

const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const runOf = (generation: number): PeerIdentity => ({
  kind: 'incarnation',
  vmId: parseVmId('vm-0123456789ab'),
  generation: parseGeneration(generation),
});
const DEADLINE_MS = 20_000;

let work = '';
let authority: CertifiedKey;
let daemon: ProcessIdentity | undefined;

async function credentialsDirectory(identity: PeerIdentity, from = authority): Promise<string> {
  const directory = join(work, `${dnsName(identity)}-${from === authority ? 'ours' : 'theirs'}`);
  await writeCredentials(directory, { caPem: authority.certPem, ...(await issue(from, { identity, daysValid: 1 })) });
  return directory;
}

/** `qemu-img info` over NBD with the credentials of `directory`, asking for the server `hostname`. */
function info(directory: string, hostname: string): Promise<RunResult> {
  const image = `driver=nbd,server.type=unix,server.path=${work}/nbd.sock,export=e,tls-creds=t,tls-hostname=${hostname}`;
  const creds = `tls-creds-x509,id=t,endpoint=client,dir=${directory}`;
  return tryRun(['qemu-img', 'info', '--object', creds, '--image-opts', image], { deadlineMs: DEADLINE_MS });
}

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'groundplane-pki-'));
  await makePrivateDirectory(work);
  authority = await createAuthority({ clusterName: 'lab', daysValid: 10 });
  await writeFile(join(work, 'disk'), '');
  await truncate(join(work, 'disk'), 1024 * 1024);
  const argv = [
    'qemu-storage-daemon',
    ...['--blockdev', `file,node-name=n,filename=${work}/disk`],
    ...['--object', `tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir=${await credentialsDirectory(STORAGE)}`],
    ...['--object', `authz-simple,id=a,identity=${qemuAuthzName(runOf(7))}`],
    ...['--nbd-server', `addr.type=unix,addr.path=${work}/nbd.sock,tls-creds=t,tls-authz=a`],
    ...['--export', 'nbd,id=e,node-name=n,name=e'],
    ...['--pidfile', `${work}/pid`],
  ];
  daemon = await spawnDaemon(argv, { stderrFile: join(work, 'stderr'), env: { ...process.env }, cwd: work });
  // The daemon writes its pid file when everything else is ready.
  for (let attempt = 0; attempt < 200 && isRunning(daemon); attempt++) {
    const ready = await tryRun(['test', '-s', join(work, 'pid')], { deadlineMs: DEADLINE_MS });
    if (ready.exitCode === 0) return;
    await sleep(systemClock, 25);
  }
  throw new Error('qemu-storage-daemon did not start');
});

after(async () => {
  if (daemon !== undefined && signalProcess(daemon, 'SIGKILL')) await waitGone(daemon, DEADLINE_MS);
  await rm(work, { recursive: true });
});

test('QEMU takes our certificates at both ends, and qemuAuthzName is the string it compares', async () => {
  const { exitCode, stderr, stdout } = await info(await credentialsDirectory(runOf(7)), dnsName(STORAGE));
  assert.equal(exitCode, 0, stderr);
  assert.match(stdout, /virtual size: 1 MiB/);
});

test('another generation of the same VM is refused by the server', async () => {
  const { exitCode } = await info(await credentialsDirectory(runOf(70)), dnsName(STORAGE));
  assert.notEqual(exitCode, 0);
});

test('the same name certified by another authority is refused', async () => {
  const other = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const { exitCode } = await info(await credentialsDirectory(runOf(7), other), dnsName(STORAGE));
  assert.notEqual(exitCode, 0);
});

test('a server of another name is refused by QEMU as a client', async () => {
  const { exitCode, stderr } = await info(await credentialsDirectory(runOf(7)), 's2.storage.groundplane');
  assert.notEqual(exitCode, 0);
  assert.match(stderr, /does not match the hostname/);
});
