import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { parse } from 'yaml';
import { VmDetailSchema } from '../api/views.ts';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { parseHostName } from '../base/ids.ts';
import { CALL, failOnce } from '../control/testing/api-cluster.ts';
import { fill, powerOff, reserve, tell } from '../control/testing/arranged.ts';
import type { EventRecord } from '../core/model/cluster.ts';
import { until } from '../os/testing/until.ts';
import { createAuthority } from '../pki/authority.ts';
import { runGp } from './testing/run-gp.ts';
import { testCluster } from './testing/test-cluster.ts';

const words = (line: string): string[] => line.split(' ');

test('the life of a VM, from create to delete', async (t) => {
  const { gp, backend, cluster } = await testCluster(t);
  const created = await gp(
    words(
      'vm create web1 --image tiny --network lan --disk 1G --vcpus 2 --memory 256M --label tier=web --anti-affinity web',
    ),
  );
  assert.equal(created.code, 0, created.err);
  assert.match(created.out, /^web1 created: running {2}host h[123] {2}generation 1\n$/);
  const { spec, host } = backend.vms.get('web1');
  assert.deepEqual([spec.memoryBytes, spec.vcpus], [256 * 1024 ** 2, 2]);
  const to = host === 'h3' ? 'h1' : 'h3';
  assert.match((await gp(words('vm show web1'))).out, /^Anti-affinity: +web$/m);
  const badGroup = await gp(words('vm create web2 --image tiny --anti-affinity -Web'));
  assert.equal(badGroup.code, 2);
  assert.match(
    (await gp(words('vm list'))).out,
    /^NAME +VERDICT +HOST .*\nweb1 +running +h[123] +1 +2 +256 MiB +10\.20\.0\.[0-9]+ /,
  );
  assert.match(
    (await gp(words(`vm migrate web1 --to ${to}`))).out,
    /^web1 migrated: running {2}host h[13] {2}generation 2\n$/,
  );
  assert.match((await gp(words('vm pause web1'))).out, /suspended/);
  assert.match((await gp(words('vm resume web1'))).out, /running/);
  assert.match((await gp(words('vm reset web1'))).out, /web1 reset/);
  assert.match((await gp(words('vm log web1 --lines 1'))).out, /^Welcome to web1\n$/);
  assert.match((await gp(words('vm guest web1'))).out, /^Guest: +agent answers: -, Simulated 1\n$/);
  assert.match((await gp(words('vm show web1'))).out, /\nGuest: +agent answers: -, Simulated 1\n/);
  assert.match((await gp(words('vm events web1'))).out, /it came from h[123]/);
  assert.match((await gp(words('vm stop web1 --patience 1s'))).out, /stopped {2}generation 2/);
  assert.match((await gp(words('vm set web1 --vcpus 4'))).out, /web1 changed/);
  assert.equal(backend.vms.get('web1').spec.vcpus, 4);
  assert.match((await gp(words('vm start web1'))).out, /running/);
  assert.equal((await gp(words('vm delete web1'))).out, 'web1 deleted\n');
  assert.equal(cluster.vms.size, 0);
});

test('-o prints the API’s resources as they are', async (t) => {
  const { gp } = await testCluster(t);
  const created = await gp(words('vm create web1 --image tiny -o json'));
  const vm = JSON.parse(created.out) as { name: string; verdict: string; host: string; generation: number };
  assert(Value.Check(VmDetailSchema, vm));
  assert.deepEqual([vm.name, vm.verdict, vm.host, vm.generation], ['web1', 'running', vm.host, 1]);
  const listed = JSON.parse((await gp(words('-o json vm list'))).out) as { name: string }[];
  assert.deepEqual(
    listed.map(({ name }) => name),
    ['web1'],
  );
  const host = (JSON.parse((await gp(words('host list -o json'))).out) as Record<string, unknown>[])[0];
  assert.deepEqual([host?.['name'], host?.['agent']], ['h1', 'alive']);
  assert.equal((parse((await gp(words('vm show web1 -o yaml'))).out) as { name: string }).name, 'web1');
  assert.equal((await gp(words('vm list -o name'))).out, 'web1\n');
  assert.equal((await gp(words('vm list -o xml'))).code, 2);
});

test('show says why: the observations behind the verdict', async (t) => {
  const { gp } = await testCluster(t);
  await gp(words('vm create web1 --disk 1G'));
  // A storage node is asked once a second: until then its last report is from before the grant.
  let out = '';
  await until('the storage node reports the grant', async () => {
    ({ out } = await gp(words('vm show web1')));
    return /storage {2}s1 disk-[0-9a-f]{12}: admits generation 1/.test(out);
  });
  assert.match(out, /^Because: +\S/m);
  assert.match(out, /agent {4}of h[123] alive, QEMU process present, [0-9.]+ s ago/);
  assert.match(out, /QMP {6}answers "running", [0-9.]+ s ago/);
});

test('every other noun', async (t) => {
  const { gp, cluster } = await testCluster(t, { storageNodes: 3 });
  assert.match((await gp(words('host show h1'))).out, /^Can be drained: +yes, in about [0-9.]+ s: 0 moves, 0 B$/m);
  assert.equal((await gp(words('host cordon h1'))).out, 'h1 cordoned\n');
  assert.match((await gp(words('host list'))).out, /^h1 +- +alive +yes, 0 s +yes +cordoned/m);
  assert.equal((await gp(words('host uncordon h1'))).out, 'h1 uncordoned\n');
  assert.equal((await gp(words('network create net2 --cidr 10.30.0.0/24 --dhcp --nat'))).code, 0);
  assert.match((await gp(words('network list'))).out, /^net2 +[0-9]+ +10\.30\.0\.0\/24 +10\.30\.0\.1 +yes +yes/m);
  assert.match((await gp(words('network show net2'))).out, /^VNI: +[0-9]+$/m);
  assert.equal((await gp(words('network delete net2'))).out, 'net2 deleted\n');
  assert.match((await gp(words('storage list'))).out, /^s1 +alive/m);
  assert.equal((await gp(words('storage remove s2'))).out, 'Removed: s2\n');
  await powerOff(cluster, 's3');
  const unread = await gp(words('storage remove s3 --lost'));
  assert.notEqual(unread.code, 0);
  assert.match(unread.err, /Lost with it: no VMs.*Nothing was changed/);
  assert.match((await gp(words('storage remove s3 --lost --yes'))).out, /^Lost: +s3\nVMs: +none\nDisks: +none$/m);
  assert.match((await gp(words('control list'))).out, /^c1 +alive +yes/m);
  await gp(words('vm create web1 --disk 1G'));
  assert.match((await gp(words('disk list'))).out, /web1 +data +s1 +1 GiB/);
  assert.match((await gp(words('task list'))).out, /vm\.start +web1 +succeeded/);
  const [task = ''] = cluster.sim.truth.tables.task.keys();
  assert.match((await gp(['task', 'show', task])).out, /^State: +succeeded$/m);
  assert.equal((await gp(['task', 'wait', task])).code, 0);
  assert.match((await gp(words('events'))).out, /web1/);
  const token = await gp(words('token create ci'));
  assert.match(token.out, /^gp_api_/);
  assert(!(await gp(words('token list'))).out.includes('gp_api_'));
  assert.equal((await gp(words('token revoke ci'))).out, 'ci revoked\n');
  assert.match((await gp(words('cluster show'))).out, /^VMs: +1: 1 running$/m);
  assert.equal((await gp(words('version'))).out, '1.2.3\n');
});

test('a guest cluster, from its declaration to its end', async (t) => {
  const { gp, backend, cluster } = await testCluster(t);
  for (const name of ['sql1', 'sql2', 'sql3']) await gp(words(`vm create ${name} --disk 1G --network lan`));
  const created = await gp(
    words(
      'guest-cluster create sql --members sql1,sql2 --shared-disk quorum:1G --shared-disk data:20G,block=4096 --heartbeat-network lan --max-disturbed 1 --tolerates 3s --share-hosts',
    ),
  );
  assert.equal(created.out, 'sql created: members sql1, sql2  disks quorum, data\n', created.err);
  const made = backend.guestClusters.get('sql');
  assert.deepEqual([made.maxDisturbed, made.toleratesMs, made.sharesHosts], [1, 3_000, true]);
  assert.deepEqual(
    made.disks.map((disk) => [disk.name, disk.sizeBytes, disk.blockBytes]),
    [
      ['quorum', 1024 ** 3, 512],
      ['data', 20 * 1024 ** 3, 4096],
    ],
  );
  assert.match((await gp(words('guest-cluster list'))).out, /^sql +sql1, sql2 +quorum, data +0 +1 +3000 ms +lan$/m);
  await reserve(cluster, 'sql2', present(made.disks.find(({ name }) => name === 'quorum')?.id, 'the disk'));
  const { out } = await gp(words('guest-cluster show sql'));
  assert.match(out, /^Member sql1: +running {2}host h[123] {2}generation 1$/m);
  assert.match(out, /^ +live-migrate {2}yes$/m);
  assert.match(out, /^ +be snapshot {3}no \(This version takes no snapshots of VMs\.\)$/m);
  assert.match(out, /^ +key 0123456789abcdef {2}sql2 {2}for 1m$/m);
  assert.match(out, /^ +reserved {2}write exclusive, registrants only {2}by sql2 {2}for 1m$/m);
  assert.match((await gp(words('vm show sql1'))).out, /^Guest cluster: +sql$/m);
  const check = ['guest-cluster', 'set', 'sql', '--ready-check', 'pg_isready -q'];
  assert.equal((await gp([...check, '--ready-within', '2m'])).code, 0);
  assert.match((await gp(words('guest-cluster show sql'))).out, /Ready-check: +pg_isready -q {2}\(for 120 s\)/);
  assert.equal((await gp(words('guest-cluster set sql --ready-within 2m'))).code, 2);
  assert.equal((await gp(words('guest-cluster set sql --no-ready-check'))).code, 0);
  assert.match((await gp(words('guest-cluster show sql'))).out, /Ready-check: +none/);
  assert.equal((await gp(words('guest-cluster add-member sql sql3'))).code, 0);
  assert.match((await gp(words('guest-cluster add-disk sql logs:2G'))).out, /disks quorum, data, logs/);
  assert.equal((await gp(words('guest-cluster resize-disk sql logs 4G'))).code, 0);
  assert.equal((await gp(words('guest-cluster resize-disk sql logs 1G'))).code, 2, 'never smaller');
  assert.equal((await gp(words('guest-cluster resize-disk sql none 4G'))).code, 4);
  assert.match((await gp(words('guest-cluster remove-disk sql logs --keep'))).out, /sql has disk logs no more/);
  assert.match((await gp(words('shared-disk list'))).out, /^logs +disk-[0-9a-f]{12} +- +s1 +4 GiB +ready +-$/m);
  assert.match(
    (await gp(words('guest-cluster add-disk sql logs'))).out,
    /sql has disk logs: .*disks quorum, data, logs/,
  );
  const removed = await gp(words('guest-cluster remove-member sql sql2'));
  assert.match(removed.out, /kept: VM sql2 with its own disks and cards, key 0123456789abcdef on quorum/);
  assert.match((await gp(words('guest-cluster set sql --tolerates 500ms'))).out, /sql changed/);
  const refused = await gp(words('guest-cluster delete sql'));
  assert.equal(refused.code, 5, 'keys are registered');
  assert.match((await gp(words('guest-cluster delete sql --force'))).out, /sql deleted; its members stay as VMs/);
  assert.deepEqual((await backend.guestClusters.list({}, CALL)).items, []);
});

test('shared disks of no guest cluster, and guest clusters that nobody declared', async (t) => {
  const { gp } = await testCluster(t);
  await gp(words('vm create web1 --disk 1G'));
  assert.equal((await gp(words('shared-disk create scratch:1G'))).out, 'scratch created\n');
  assert.equal((await gp(words('shared-disk attach scratch web1 --lun 7'))).out, 'scratch attached to web1\n');
  const { out: shown } = await gp(words('shared-disk show scratch'));
  assert.match(shown, /^ +web1 {2}number 7 {2}attached$/m);
  assert.match(shown, /^ +in guests {2}\/dev\/disk\/by-id\/wwn-0x3[0-9a-f]{15}$/m);
  assert.equal((await gp(words('shared-disk delete scratch'))).code, 5);
  assert.equal((await gp(words('shared-disk resize scratch 2G'))).out, 'scratch grown\n');
  assert.equal((await gp(words('shared-disk detach scratch web1'))).out, 'scratch detached from web1\n');
  assert.equal((await gp(words('shared-disk delete scratch'))).out, 'scratch deleted\n');
  await gp(words('guest-cluster create a --members web1'));
  for (const name of ['web2', 'web3']) await gp(words(`vm create ${name} --disk 1G`));
  await gp(words('shared-disk create both:1G'));
  for (const name of ['web2', 'web3']) await gp(words(`shared-disk attach both ${name}`));
  assert.match((await gp(words('guest-cluster list'))).out, /^\(nobody declared it\) +web[23], web[23] /m);
  assert.match((await gp(words('guest-cluster list -o name'))).out, /^a\nweb[23]/);
  for (const wrong of [
    'guest-cluster create b',
    'guest-cluster create b --members',
    'guest-cluster create b --members web1,,web2',
    'guest-cluster create b --members ../web1',
    'guest-cluster create ../b --members web1',
    'guest-cluster create b --members web1 --shared-disk data',
    'guest-cluster create b --members web1 --shared-disk data:big',
    'guest-cluster create b --members web1 --shared-disk ../data:1G',
    'guest-cluster create b --members web1 --shared-disk data:1G,block=1000',
    'guest-cluster create b --members web1 --max-disturbed 0',
    'guest-cluster create b --members web1 --tolerates 3',
    'shared-disk attach scratch web1 --lun -1',
    'shared-disk create scratch',
  ])
    assert.equal((await gp(words(wrong))).code, 2, wrong);
  assert.equal((await gp(words('guest-cluster create b --members nobody'))).code, 4);
});

test('a host comes with a token of its own and leaves when nothing is on it', async (t) => {
  const { gp, backend, cluster } = await testCluster(t);
  const created = await gp(words('join-token create host h9 --valid 10m'));
  assert.match(created.out, /^\S{16,}\n$/);
  const shown = JSON.parse((await gp(words('join-token create storage s9 -o json'))).out) as Record<string, unknown>;
  assert.deepEqual([shown['role'], shown['name']], ['storage', 's9']);
  const several = JSON.parse((await gp(words('join-token create storage,host m9 -o json'))).out) as Record<
    string,
    unknown
  >;
  assert.deepEqual([several['role'], several['also']], ['storage', ['host']]);
  for (const roles of ['storage,storage', 'machine', 'host,'])
    assert.equal((await gp(words(`join-token create ${roles} m9`))).code, 2, roles);
  assert.equal((await gp(words('join-token create host h9 --valid soon'))).code, 2);
  assert.equal((await gp(words('host remove h1'))).code, 5, 'not cordoned');
  await gp(words('host cordon h1'));
  assert.equal((await gp(words('host remove h1'))).out, 'h1 removed\n');
  assert.throws(() => backend.hosts.get('h1'), { code: 'not-found' });
  assert.equal((await gp(words('host remove h1'))).code, 4);
  await gp(words('host cordon h2'));
  await powerOff(cluster, 'h2');
  assert.equal((await gp(words('host remove h2'))).code, 5);
  await until('every path to h2 has met silence', async () => {
    const { code, err } = await gp(words('host remove h2 --lost'));
    return code === 5 && /gp host remove h2 --lost --yes/.test(err);
  });
  assert.equal(backend.hosts.get('h2').lost, null, 'nothing was changed');
  assert.equal((await gp(words('host remove h2 --lost --yes'))).out, 'h2 removed\n');
  assert.throws(() => backend.hosts.get('h2'), { code: 'not-found' });
});

test('images: imported by content, sent once, refused where they are none', async (t) => {
  const { gp, backend, dir } = await testCluster(t);
  const content = Buffer.alloc(3 * 1024 ** 2, 5);
  const sha256 = createHash('sha256').update(content).digest('hex');
  await writeFile(join(dir, 'disk.img'), content);
  await writeFile(join(dir, 'vmlinuz'), 'kernel');
  await writeFile(join(dir, 'empty'), '');
  const at = { cwd: dir };
  const imported = await gp(words('image import debian disk.img --format raw --memory 1G'), at);
  assert.equal(imported.code, 0, imported.err);
  assert.equal(backend.images.get('debian').disk?.sha256, sha256);
  const again = failOnce(backend.artifacts, 'put', new CodedError('failed', 'sent again'));
  assert.equal((await gp(words('image import copy disk.img --format raw'), at)).code, 0);
  again.restore();
  const direct = await gp([...words('image import small --kernel vmlinuz --append'), 'console=ttyS0 quiet'], at);
  assert.equal(direct.code, 0, direct.err);
  assert.equal(backend.images.get('small').direct?.append, 'console=ttyS0 quiet');
  assert.match((await gp(words('image list'))).out, /^small +direct/m);
  assert.match((await gp(words('image show debian'))).out, /sha256/);
  assert.equal((await gp(words('image import debian disk.img --format raw'), at)).code, 5);
  for (const line of ['missing', 'empty', '.', 'none --initrd vmlinuz', 'disk.img --format vmdk', '']) {
    const { code, err } = await gp(['image', 'import', 'bad', ...words(line).filter(Boolean)], at);
    assert.equal(code, 2, `${line}: ${err}`);
  }
  assert.equal((await gp(words('image build windows'))).code, 2);
  assert.equal((await gp(words('image delete debian'))).out, 'debian deleted\n');
  assert.throws(() => backend.images.get('bad'), { code: 'not-found' });
});

test('an import that comes to nothing leaves no file in the cluster, and one under a taken name sends none', async (t) => {
  const { gp, backend, cluster, dir } = await testCluster(t);
  await writeFile(join(dir, 'vmlinuz'), 'kernel');
  await writeFile(join(dir, 'initrd'), 'initrd');
  await writeFile(join(dir, 'other'), 'another kernel');
  const files = (): readonly string[] => [...cluster.sim.storage.values()].flatMap(({ pool }) => pool.files.list());
  const before = files();
  const at = { cwd: dir };
  const sent = failOnce(backend.artifacts, 'put', new CodedError('failed', 'it was sent all the same'));
  const taken = await gp(words('image import tiny --kernel vmlinuz'), at);
  assert.equal(taken.code, 5);
  assert.match(taken.err, /An image named tiny exists\. Nothing was changed\./);
  assert.ok(sent.restore(), 'a file was sent');
  for (const [method, code] of [
    ['exists', 5],
    ['no-capacity', 5],
    ['unavailable', 6],
  ] as const) {
    failOnce(backend.images, 'put', new CodedError(method, 'No.'));
    assert.equal((await gp(words('image import small --kernel vmlinuz --initrd initrd'), at)).code, code);
    assert.deepEqual(files(), before, method);
  }
  assert.equal((await gp(words('image import small --kernel vmlinuz --initrd nothing'), at)).code, 2);
  assert.deepEqual(files(), before);
  // The image that was there before the import is somebody else's.
  assert.equal((await gp(words('image import small --kernel vmlinuz'), at)).code, 0);
  failOnce(backend.images, 'put', new CodedError('failed', 'No.'));
  assert.equal((await gp(words('image import copy --kernel vmlinuz --initrd other'), at)).code, 1);
  assert.equal(files().length, before.length + 1);
});

test('cloud-init comes from files', async (t) => {
  const { gp, backend, dir } = await testCluster(t);
  await writeFile(join(dir, 'user-data'), '#cloud-config\n');
  const original = backend.vms.create.bind(backend.vms);
  let seen: unknown;
  backend.vms.create = (request) => {
    seen = request.cloudInit;
    return original(request);
  };
  assert.equal((await gp(words('vm create web1 --image tiny --user-data user-data'), { cwd: dir })).code, 0);
  assert.deepEqual(seen, { userData: '#cloud-config\n' });
  // Files that are not UTF-8 are sent as bytes; a byte order mark is part of a text.
  const latin1 = Buffer.from('größe', 'latin1');
  await writeFile(join(dir, 'latin1'), latin1);
  await writeFile(join(dir, 'marked'), '\ufeffx');
  const both = 'vm create web3 --image tiny --user-data latin1 --network-config latin1 --meta-data marked';
  assert.equal((await gp(words(both), { cwd: dir })).code, 0);
  const bytes = { base64: latin1.toString('base64') };
  assert.deepEqual(seen, { userData: bytes, networkConfig: bytes, metaData: '\ufeffx' });
  const { code, err } = await gp(words('vm create web2 --user-data nothing'), { cwd: dir });
  assert.equal(code, 2);
  assert.match(err, /^gp: The file nothing does not exist\. Nothing was changed\.\n$/);
});

test('waiting: not at all, too long, through a failure', async (t) => {
  const { gp, cluster } = await testCluster(t);
  const created = await gp(words('vm create web1 --image tiny --no-wait'));
  assert.match(created.out, /^task-[0-9a-f]{12}\n$/);
  assert.equal((await gp(['task', 'wait', created.out.trim()])).code, 0);
  // The destination's agent stops as soon as it is ordered to launch.
  cluster.sim.onCrashPoint = (_process, _workflow, step) => {
    if (step === 'launch') for (const { agentProcess } of cluster.sim.hosts.values()) agentProcess?.freeze();
  };
  const late = await gp(words('vm migrate web1 --timeout 10ms'));
  assert.equal(late.code, 7);
  assert.match(late.err, /It goes on\. `gp task wait task-[0-9a-f]+` waits for its end\. `gp task cancel task-/);
  assert.equal(late.out, '');
  const [task] = /task-[0-9a-f]{12}/.exec(late.err) ?? [];
  const failed = await gp(['task', 'wait', present(task, 'the task that goes on')]);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /vm\.migrate of web1 failed: /);
});

test('a migration that is under way is cancelled, and so is a task by its id', async (t) => {
  const { gp, cluster } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  const none = await gp(words('vm migrate web1 --cancel'));
  assert.deepEqual([none.code, none.err], [5, 'gp: web1 is not being migrated. Nothing was changed.\n']);
  for (const qemu of cluster.sim.qemus) qemu.isBusy = true;
  await gp(words('vm migrate web1 --no-wait'));
  const { code, out } = await gp(words('vm migrate web1 --cancel'));
  assert.equal(code, 0);
  assert.match(out, /it was cancelled\. web1 stays on h[123]\.\nweb1 not migrated: /);
  const { out: id } = await gp(words('vm migrate web1 --no-wait'));
  assert.match((await gp(words(`task cancel ${id.trim()}`))).out, /^State: +cancelled$/m);
  assert.equal((await gp(words(`task cancel ${id.trim()}`))).code, 5);
  assert.equal((await gp(words('vm migrate web1 --cancel --to h2'))).code, 2);
});

test('a migration that was complete before it could be cancelled is said to be', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  await gp(words('vm migrate web1 --no-wait'));
  backend.tasks.cancel = async (id) => ({
    ...(await backend.tasks.get(id, 0, CALL)),
    state: 'succeeded',
    message: 'It is on h2.',
  });
  const { code, err } = await gp(words('vm migrate web1 --cancel'));
  assert.equal(code, 5);
  assert.match(err, /It was too late: vm\.migrate of web1 succeeded\. It is on h2\./);
});

test('waiting goes on while no control node leads', async (t) => {
  const { gp, backend } = await testCluster(t);
  failOnce(backend.tasks, 'get', new CodedError('unavailable', 'No control node leads.'));
  assert.equal((await gp(words('vm create web1 --image tiny'))).code, 0);
});

test('progress is shown on a terminal only, and is wiped', async (t) => {
  const { gp } = await testCluster(t);
  assert.equal((await gp(words('vm create web1 --image tiny'))).err, '');
  const shown = await gp(words('vm migrate web1'), { tty: true });
  assert.match(shown.err, /web1: \S/);
  assert(shown.err.endsWith('\r\u001b[K'));
});

test('colours are for terminals, and not with NO_COLOR', async (t) => {
  const { gp } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  assert(!(await gp(words('vm list'))).out.includes('\u001b'));
  assert(!(await gp(words('vm list'), { tty: true, env: { NO_COLOR: '1' } })).out.includes('\u001b'));
  const coloured = await gp(words('vm list'), { tty: true });
  assert(coloured.out.includes('\u001b[32mrunning\u001b[39m'));
});

test('Ctrl-C while waiting ends with 130 and says what goes on', async (t) => {
  const { gp, backend } = await testCluster(t);
  const ctrlC = new AbortController();
  const poll = backend.tasks.get.bind(backend.tasks);
  backend.tasks.get = (...args) => {
    ctrlC.abort();
    return poll(...args);
  };
  const { code, err } = await gp(words('vm create web1 --image tiny'), { signal: ctrlC.signal });
  assert.equal(code, 130);
  assert.match(err, /vm\.start of web1 goes on\. `gp task wait/);
});

test('exit codes tell scripts what happened', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  const codes = {
    'vm show none': 4,
    'vm create web1 --image tiny': 5,
    'vm set web1 --restart-policy never --if-revision 1': 5,
    'vm set web1 --restart-policy sometimes': 2,
    'vm create ../etc': 2,
    'vm create web2 --memory 1X': 2,
    'vm create web2 --memory 1': 2,
    'vm create web2 --image tiny --network none': 4,
    'vm create web2 --disk image=none,size': 2,
    'vm nothing': 2,
    vm: 2,
    'vm show': 2,
    'vm show web1 web2': 2,
    '--help': 0,
    'vm --help': 0,
    '--version': 0,
  };
  for (const [line, code] of Object.entries(codes)) {
    const ran = await gp(words(line));
    assert.equal(ran.code, code, `${line}: ${ran.err}`);
    assert(!/\n +at /.test(ran.err), ran.err);
  }
  const byError = {
    failed: 1,
    'not-installed': 3,
    'no-capacity': 5,
    'bad-image': 2,
    unavailable: 6,
    deadline: 7,
    forbidden: 1,
  } as const;
  for (const [code, exit] of Object.entries(byError) as [keyof typeof byError, number][]) {
    failOnce(backend.vms, 'list', new CodedError(code, 'It happened.', { advice: 'Do that.' }));
    const ran = await gp(words('vm list'));
    assert.deepEqual([ran.code, ran.err], [exit, 'gp: It happened. Do that.\n']);
  }
});

test('a server that is not there, or is not this cluster’s, is told apart', async (t) => {
  const { gp, dir, apiUrl } = await testCluster(t);
  const contextFile = join(dir, 'context.json');
  const context = JSON.parse(await readFile(contextFile, 'utf8')) as Record<string, string>;
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
  const address = closed.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await new Promise((resolve) => closed.close(resolve));
  await writeFile(contextFile, JSON.stringify({ ...context, apiUrl: `https://127.0.0.1:${port}` }));
  const gone = await gp(words('vm list'));
  assert.equal(gone.code, 6);
  assert.match(gone.err, /cannot be reached at https:.*nothing listens there/);
  await writeFile(contextFile, JSON.stringify({ ...context, apiUrl }));
  await writeFile(join(dir, 'ca.pem'), (await createAuthority({ clusterName: 'other', daysValid: 1 })).certPem);
  const foreign = await gp(words('vm list'));
  assert.equal(foreign.code, 6);
  assert.match(foreign.err, /certificate is not of this cluster/);
});

test('a wrong token is told without being shown', async (t) => {
  const { gp, dir } = await testCluster(t);
  await writeFile(join(dir, 'admin-token'), 'gp_api_secret\n');
  const { code, err } = await gp(words('vm list'));
  assert.equal(code, 1);
  assert.match(err, /token is not valid/);
  assert(!err.includes('gp_api_secret'));
});

test('a bug shows its stack only with GP_DEBUG', async (t) => {
  const { gp } = await testCluster(t);
  const env = { GP_DIR: '\u0000' };
  const quiet = await gp(words('vm list'), { env });
  assert.equal(quiet.code, 1);
  assert(!/\n +at /.test(quiet.err));
  assert.match((await gp(words('vm list'), { env: { ...env, GP_DEBUG: '1' } })).err, /\n +at /);
});

test('the cluster is found by --dir, GP_DIR, context file, then the nearest .groundplane', async (t) => {
  const { dir } = await testCluster(t);
  const home = join(dir, 'home');
  const env = { HOME: home };
  const foundBy = async (line: string, options: object): Promise<unknown> => {
    const ran = await runGp(words(`${line} -o json`), { env, ...options });
    return ran.code === 0 ? (JSON.parse(ran.out) as { foundBy: string }).foundBy : ran.code;
  };
  const inside = join(dir, 'project/sub');
  await mkdir(join(dir, 'project/.groundplane'), { recursive: true });
  await mkdir(inside, { recursive: true });
  for (const file of ['context.json', 'ca.pem', 'admin-token']) {
    await writeFile(join(dir, 'project/.groundplane', file), await readFile(join(dir, file)));
  }
  assert.equal(await foundBy('context show', { cwd: '/' }), 4);
  assert.equal(await foundBy('context show', { cwd: inside }), 'working directory');
  assert.equal((await runGp(['vm', 'list'], { env, cwd: inside })).code, 0);
  assert.equal((await runGp(['context', 'use', join(dir, 'none')], { env })).code, 4);
  assert.equal((await runGp(['context', 'use', dir], { env })).code, 0);
  assert.equal(await foundBy('context show', { cwd: inside }), 'context file');
  assert.equal(await foundBy('context show', { cwd: inside, env: { ...env, GP_DIR: dir } }), 'GP_DIR');
  assert.equal(await foundBy(`context show --dir ${dir}`, { env: { ...env, GP_DIR: '/none' } }), '--dir');
});

test('console: raw mode, both ways, Ctrl-] leaves and restores the terminal', async (t) => {
  const { gp } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  const modes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (raw: boolean) => modes.push(raw) });
  let seen = '';
  const onOut = (content: string): void => {
    seen += content;
    if (seen === 'web1 login: ') stdin.write('root\r');
    if (seen.endsWith('root\r\nweb1 login: ')) stdin.write('\u001d');
  };
  const { code, out, err } = await gp(words('vm console web1'), { stdin, onOut });
  assert.equal(code, 0);
  assert.equal(out, 'web1 login: root\r\nweb1 login: ');
  assert.match(err, /Ctrl-\] leaves/);
  assert.deepEqual(modes, [true, false]);
  await gp(words('vm stop web1'));
  const refused = await gp(words('vm console web1'), { stdin });
  assert.deepEqual([refused.code, modes], [5, [true, false]]);
});

test('events --follow prints what was, then what happens, until Ctrl-C', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  const ctrlC = new AbortController();
  const watch = backend.events.watch.bind(backend.events);
  const { items } = await backend.events.list({}, CALL);
  backend.events.watch = async function* (options, call) {
    const event = { ...items[0], revision: '999999', message: 'news' };
    yield { revision: '999999', kind: 'event', name: '999999', object: event };
    yield* watch(options, call);
  };
  const onOut = (content: string): void => {
    if (content.includes('news')) ctrlC.abort();
  };
  const { code, out } = await gp(words('events --follow -o json'), { signal: ctrlC.signal, onOut });
  assert.equal(code, 0);
  assert.deepEqual(
    out
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { message: string }).message),
    [...items.map(({ message }) => message), 'news'],
  );
});

test('events, those that follow too, are filtered by kind, VM, host and time', async (t) => {
  const { gp, cluster } = await testCluster(t);
  const told = (more: Partial<EventRecord>): Promise<void> =>
    tell(cluster, {
      kind: 'lost',
      vmName: 'web1',
      host: parseHostName('h1'),
      at: Date.parse('2026-05-01T12:00:00Z'),
      message: 'old',
      ...more,
    });
  await told({});
  await told({ kind: 'migrated', message: 'other kind' });
  await told({ vmName: 'web2', message: 'other VM' });
  await told({ host: parseHostName('h2'), message: 'other host' });
  await told({ at: Date.parse('2026-05-01T11:00:00Z'), message: 'too early' });
  const filter = '--kind lost --kind crashed --vm web1 --host h1 --since 2026-05-01T14:00:00+02:00';
  const messages = (out: string): string[] => out.split('\n').filter((line) => line !== '');
  const listed = await gp(words(`events ${filter} -o json`));
  assert.deepEqual(
    (JSON.parse(listed.out) as { message: string }[]).map(({ message }) => message),
    ['old'],
  );
  const ctrlC = new AbortController();
  const onOut = (content: string): void => {
    if (content.includes('old'))
      void told({ kind: 'migrated', message: 'other kind' }).then(() => told({ kind: 'crashed', message: 'news' }));
    if (content.includes('news')) ctrlC.abort();
  };
  const followed = await gp(words(`events ${filter} --follow -o json`), { signal: ctrlC.signal, onOut });
  assert.deepEqual(
    messages(followed.out).map((line) => (JSON.parse(line) as { message: string }).message),
    ['old', 'news'],
  );
  assert.equal((await gp(words('events --since yesterday'))).code, 2);
});

test('events --follow goes on where the changes since the last match are forgotten', async (t) => {
  const { gp, backend, cluster } = await testCluster(t);
  const ctrlC = new AbortController();
  let watches = 0;
  // biome-ignore lint/correctness/useYield: this watch refuses.
  backend.events.watch = async function* () {
    watches++;
    if (watches > 1) ctrlC.abort();
    await tell(cluster, { kind: 'lost', message: watches === 1 ? 'missed' : 'later' });
    throw new CodedError('conflict', 'Changes that old are no longer kept.');
  };
  const { code, out } = await gp(words('events --follow -o json'), { signal: ctrlC.signal });
  assert.equal(code, 0);
  assert.deepEqual(out.match(/missed/g), ['missed']);
});

test('a VM that exists gets and loses labels, its anti-affinity group and cards', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('vm create web1 --image tiny --label a=b'));
  await gp(words('vm set web1 --anti-affinity web --no-labels'));
  const now = async () => {
    const { spec, labels } = backend.vms.get('web1');
    return [spec.antiAffinity, labels];
  };
  assert.deepEqual(await now(), ['web', {}]);
  await gp(words('vm set web1 --label c=d'));
  assert.equal((await now())[0], 'web', 'what is not named stays');
  await gp(words('vm set web1 --no-anti-affinity'));
  assert.deepEqual(await now(), [null, { c: 'd' }]);
  const added = await gp(words('vm add-nic web1 lan,address=10.20.0.9,mac=52:54:00:AA:00:01'));
  assert.match(added.out, /^web1: lan {2}52:54:00:aa:00:01 {2}10\.20\.0\.9 {2}from the next start on\n$/);
  assert.equal((await gp(words('vm add-nic web1 lan --if-revision 1'))).code, 5);
  assert.equal((await gp(words('vm add-nic web1 none'))).code, 4);
  assert.match((await gp(words('vm remove-nic web1 52:54:00:AA:00:01'))).out, /web1 has no network card/);
  assert.equal((await gp(words('vm remove-nic web1 52:54:00:aa:00:01'))).code, 4);
});

test('a console that somebody holds is refused, and taken over where that is asked for', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('vm create web1 --image tiny'));
  const call = { principal: { name: 'ann' }, signal: new AbortController().signal };
  const held = await backend.consoles.open(backend.vms.find('web1'), call, { takeOver: false });
  const told = held.toArray();
  const refused = await gp(words('vm console web1'), { stdin: new PassThrough() });
  assert.equal(refused.code, 5);
  assert.match(refused.err, /is held/);
  const ctrlC = new AbortController();
  const onOut = (content: string): void => {
    if (content.includes('login')) ctrlC.abort();
  };
  const stdin = new PassThrough();
  stdin.write('\r');
  await gp(words('vm console web1 --take-over'), { stdin, signal: ctrlC.signal, onOut });
  assert.match(Buffer.concat((await told) as Buffer[]).toString(), /took this console over/);
});

test('a host is put into a rack and found by it', async (t) => {
  const { gp, backend } = await testCluster(t);
  await gp(words('host set h2 --rack r1'));
  assert.equal((await gp(words('host list -o name --rack r1'))).out, 'h2\n');
  assert.match((await gp(words('host show h2'))).out, /^Rack: +r1$/m);
  await gp(words('host set h2 --no-rack'));
  assert.equal(backend.hosts.get('h2').rack, null);
  assert.equal((await gp(words('host set h2'))).code, 2);
  assert.equal((await gp(words('host set h2 --rack ../r1'))).code, 2);
  assert.equal((await gp(words('host set h9 --rack r1'))).code, 4);
  assert.equal((await gp(words('host set h2 --rack r1 --if-revision 1'))).code, 5);
});

test('a list of many pages is read to its end, and filtered', async (t) => {
  const { gp, cluster } = await testCluster(t);
  await fill(
    cluster,
    Array.from({ length: 1_001 }, (_, n) => `vm${n}`),
  );
  assert.equal((await gp(words('vm list -o name'))).out.trim().split('\n').length, 1_001);
  assert.equal((await gp(words('vm list -o name --verdict running'))).out, '');
  assert.equal((await gp(words('host list -o name --agent dead'))).out, '');
  await gp(words('host cordon h2'));
  assert.equal((await gp(words('host list -o name --cordoned'))).out, 'h2\n');
});

test('vm create --dry-run says what would happen, refuses as vm create does, and creates nothing', async (t) => {
  const { gp } = await testCluster(t);
  const dry = ['vm', 'create', 'web1', '--dry-run', '--image'];
  assert.match((await gp([...dry, 'tiny'])).out, /^web1 would be created, its disks on s\d\. Nothing was changed\.\n$/);
  const refused = await gp([...dry, 'none']);
  const real = await gp(['vm', 'create', 'web1', '--image', 'none']);
  assert.deepEqual([refused.code, refused.err], [real.code, real.err]);
  assert.doesNotMatch((await gp(['vm', 'list'])).out, /web1/);
});
