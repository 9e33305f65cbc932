/**
 * Bad input: each gets a message that names the fault and says what was kept, in the command and in the API, and
 * changes nothing.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { labLayout } from '../../src/lab/layout.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Asked, ask } from './api.ts';
import { type Case, createTiny, deleteVms, gp, gpJson, until, vmOf } from './case.ts';
import { poolOf } from './images.ts';

const GIB = 1024 ** 3;
const POOL = '40m';

/** Everything that a refusal may not change. */
async function stateOf(cluster: StoryCluster): Promise<string> {
  const { client } = cluster;
  const [vms, networks, images, disks, hosts, tasks, tokens] = await Promise.all([
    client.list('/v1/vms'),
    client.list('/v1/networks'),
    client.list('/v1/images'),
    client.list('/v1/disks'),
    client.list('/v1/hosts'),
    client.list('/v1/tasks'),
    client.list('/v1/tokens'),
  ]);
  const records = {
    vms: vms.map(({ id, name, spec, generation, host, intent, labels, nics }) => [
      id,
      name,
      spec,
      generation,
      host,
      intent,
      labels,
      nics,
    ]),
    networks,
    images,
    disks,
    hosts: hosts.map(({ name, cordoned }) => [name, cordoned]),
    tasks: tasks.map(({ id }) => id),
    tokens,
    pool: await poolOf(cluster),
  };
  return JSON.stringify(records, null, 1);
}

/** Runs all of `refusals`; afterwards everything must be as before. */
async function changesNothing(cluster: StoryCluster, refusals: () => Promise<void>): Promise<void> {
  const before = await stateOf(cluster);
  await refusals();
  assert.equal(await stateOf(cluster), before);
}

type Refusal = readonly [asked: Asked, status: number, code: string, detail: RegExp];
const post = (path: string, json: unknown): Asked => ({ method: 'POST', path, json });
const vm = (more: object): Asked => post('/v1/vms', { name: 'bad', image: 'tiny', ...more });

const REQUESTS: readonly Refusal[] = [
  [vm({ vcpus: '2' }), 400, 'bad-input', /\/vcpus: it must be of type integer/],
  [vm({ colour: 'red' }), 400, 'bad-input', /\/colour: it is not known here/],
  [vm({ vcpus: 0 }), 400, 'bad-input', /\/vcpus: it must be at least 1/],
  [vm({ vcpus: -1 }), 400, 'bad-input', /\/vcpus: it must be at least 1/],
  [vm({ memoryBytes: 0 }), 400, 'bad-input', /\/memoryBytes: it must be at least/],
  [vm({ memoryBytes: -GIB }), 400, 'bad-input', /\/memoryBytes: it must be at least/],
  [vm({ memoryBytes: 1e18 }), 400, 'bad-input', /\/memoryBytes: it must be at most/],
  [vm({ memoryBytes: 64 * 1024 ** 2 + 1 }), 400, 'bad-input', /\/memoryBytes: it must be a multiple of/],
  [vm({ disks: [{ sizeBytes: 0 }] }), 400, 'bad-input', /\/disks\/0\/sizeBytes: it must be at least/],
  [vm({ disks: [{ sizeBytes: 1e18 }] }), 400, 'bad-input', /\/disks\/0\/sizeBytes: it must be at most/],
  [vm({ disks: [{ sizeBytes: -512 }] }), 400, 'bad-input', /\/disks\/0\/sizeBytes: it must be at least/],
  [vm({ disks: 'none' }), 400, 'bad-input', /\/disks: it must be of type array/],
  [vm({ name: '../x' }), 400, 'bad-input', /\/name: it must match/],
  [vm({ name: 'a/b' }), 400, 'bad-input', /\/name: it must match/],
  [vm({ name: '' }), 400, 'bad-input', /\/name/],
  [vm({ name: 'x'.repeat(41) }), 400, 'bad-input', /\/name/],
  [vm({ name: 'vm-0123456789ab' }), 400, 'bad-input', /form of an id/],
  [vm({ networks: ['../lan'] }), 400, 'bad-input', /\/networks\/0/],
  [vm({ networks: ['nowhere'] }), 404, 'not-found', /There is no network nowhere/],
  [vm({ networks: [{ network: 'lan', address: '10.99.0.1' }] }), 400, 'bad-input', /10\.99\.0\.1/],
  [vm({ image: 'nothing' }), 404, 'not-found', /There is no image nothing/],
  [vm({ memoryBytes: 64 * GIB }), 409, 'no-capacity', /wants 65536 MiB of memory; the largest host gives 2048 MiB/],
  [vm({ name: 'b1' }), 409, 'exists', /A VM named b1 exists/],
  [vm({ append: 'a\nb', firmware: 'direct' }), 400, 'bad-input', /\/append/],
  [
    { ...vm({}), json: undefined, body: '{"name": ', headers: { 'content-type': 'application/json' } },
    400,
    'bad-input',
    /JSON/,
  ],
  [post('/v1/vms', []), 400, 'bad-input', /must be of type object/],
  [post('/v1/vms/b1/migrate', { to: 'h9' }), 404, 'not-found', /There is no host h9/],
  [post('/v1/vms/none/start', undefined), 404, 'not-found', /There is no VM none/],
  [
    { method: 'PATCH', path: '/v1/vms/b1', json: { labels: { a: 'b' } }, headers: { 'if-match': '1' } },
    412,
    'stale-revision',
    /./,
  ],
  [{ method: 'PATCH', path: '/v1/vms/b1', json: { memoryBytes: GIB } }, 409, 'conflict', /./],
  [{ method: 'DELETE', path: '/v1/vms/b1', headers: { 'if-match': '1' } }, 412, 'stale-revision', /./],
  [{ method: 'DELETE', path: '/v1/networks/lan' }, 409, 'conflict', /b1/],
  [{ method: 'DELETE', path: '/v1/images/tiny' }, 409, 'conflict', /b1/],
  [{ method: 'GET', path: '/v1/vms/..%2f..%2fetc' }, 400, 'bad-input', /./],
  [{ method: 'GET', path: '/v1/nothing' }, 404, 'not-found', /./],
  [post('/v1/networks', { name: 'lan' }), 409, 'exists', /lan/],
  [post('/v1/networks', { name: 'bad', cidr: '10.0.0.0/33' }), 400, 'bad-input', /\/cidr/],
  [post('/v1/networks', { name: 'bad', cidr: '10.0.0.0/30' }), 400, 'bad-input', /\/cidr/],
  [post('/v1/networks', { name: 'bad', cidr: '127.0.0.0/24' }), 400, 'bad-input', /127\.0\.0\.0\/8, loopback/],
  [vm({ networks: [{ network: 'lan', mac: '02:67:70:00:00:01' }] }), 400, 'bad-input', /gateways/],
  [vm({ networks: [{ network: 'lan', mac: '00:00:00:00:00:00' }] }), 400, 'bad-input', /mac/],
  [vm({ networks: [{ network: 'lan', mac: '01:00:5e:00:00:01' }] }), 400, 'bad-input', /mac/],
  [post('/v1/networks', { name: 'bad', cidr: '10.77.0.0/16' }), 409, 'conflict', /addresses of the cluster/],
  [{ method: 'GET', path: '/v1/vms', token: null }, 401, 'unauthorized', /no bearer token/],
  [{ method: 'GET', path: '/v1/vms', token: 'gp_api_wrong' }, 401, 'unauthorized', /not valid/],
  [{ method: 'POST', path: '/v1/vms', token: 'wrong', json: { name: 'bad', image: 'tiny' } }, 401, 'unauthorized', /./],
];

const api: Case = {
  name: 'the API answers with problem details that name the field, and changes nothing',
  async run(cluster) {
    await createTiny(cluster, 'b1', ['--network', 'lan']);
    await changesNothing(cluster, async () => {
      const wrong: string[] = [];
      for (const [asked, status, code, detail] of REQUESTS) {
        const answer = await ask(cluster.target, asked);
        const { problem } = answer;
        const isRight =
          problem !== undefined &&
          answer.status === status &&
          problem.status === status &&
          problem.code === code &&
          problem.type === `urn:groundplane:error:${code}` &&
          detail.test(problem.detail);
        if (!isRight)
          wrong.push(
            `${asked.method} ${asked.path} ${JSON.stringify(asked.json)}: wanted ${status} ${code} ${detail}, got ${answer.status} ${answer.text}`,
          );
      }
      const { host } = await vmOf(cluster, 'b1');
      const same = await ask(cluster.target, post('/v1/vms/b1/migrate', { to: host }));
      assert.equal(same.problem?.code, 'conflict', same.text);
      assert.deepEqual(wrong, []);
    });
  },
};

type Line = readonly [words: readonly string[], exitCode: number, stderr: RegExp];

const LINES: readonly Line[] = [
  [['vm', 'create', 'bad', '--image', 'tiny', '--memory', 'lots'], 2, /lots/],
  [['vm', 'create', 'bad', '--image', 'tiny', '--memory', '-1'], 2, /-1/],
  [
    ['vm', 'create', 'bad', '--image', 'tiny', '--memory', '1000000000000000000'],
    2,
    /is not a size\. Nothing was changed/,
  ],
  [['vm', 'create', 'bad', '--image', 'tiny', '--vcpus', '0'], 2, /0/],
  [['vm', 'create', '../x', '--image', 'tiny'], 2, /name/],
  [['vm', 'create', 'a/b', '--image', 'tiny'], 2, /name/],
  [['vm', 'create', 'bad', '--imagine', 'tiny'], 2, /unknown option/],
  [['vm', 'create', 'bad', '--image', 'tiny', '--disk', 'size=x'], 2, /./],
  [['vm', 'create', 'b1', '--image', 'tiny'], 5, /A VM named b1 exists\. Nothing was created/],
  [['vm', 'create', 'bad', '--image', 'nothing'], 4, /There is no image nothing\. Nothing was created/],
  [
    ['vm', 'create', 'bad', '--image', 'tiny', '--network', 'nowhere'],
    4,
    /There is no network nowhere\. Nothing was created/,
  ],
  [
    ['vm', 'create', 'bad', '--image', 'tiny', '--memory', '3G'],
    5,
    /largest host gives 2048 MiB\. Nothing was created/,
  ],
  [['vm', 'create', 'bad', '--image', 'tiny', '--user-data', '/no/such'], 2, /\/no\/such/],
  [['vm', 'migrate', 'b1', '--to', 'h9'], 4, /There is no host h9/],
  [['vm', 'set', 'b1', '--label', 'a=b', '--if-revision', '1'], 5, /changed by somebody else|revision/],
  [['vm', 'show', 'none'], 4, /There is no VM none/],
  [['image', 'import', 'bad'], 2, /Give a disk image/],
  [['network', 'create', 'lan'], 5, /lan.*exists/],
  [['nonsense'], 2, /unknown command/],
];

const commands: Case = {
  name: 'the command says it in one message with the right exit code, and changes nothing',
  async run(cluster) {
    await changesNothing(cluster, async () => {
      const wrong: string[] = [];
      for (const [words, exitCode, stderr] of LINES) {
        const ran = await cluster.gp(words);
        const isOneMessage = !/\n {4}at |Error:.*\n.*at /.test(ran.stderr) && ran.stdout === '';
        if (ran.exitCode === exitCode && stderr.test(ran.stderr) && isOneMessage) continue;
        wrong.push(
          `gp ${words.join(' ')}: wanted ${exitCode} ${stderr}, got ${ran.exitCode} ${ran.stderr}${ran.stdout}`,
        );
      }
      assert.deepEqual(wrong, []);
      const { stderr } = await gp(cluster, ['up', '--detach'], 5);
      assert.match(stderr, /runs|running/);
      await gp(cluster, ['vm', 'stop', 'b1', '--if-revision', '1'], 2);
    });
    const other = await cluster.gp(['--dir', join(cluster.dir, 'nowhere'), 'vm', 'list']);
    assert.equal(other.exitCode, 4, other.stderr);
    await deleteVms(cluster, ['b1']);
  },
};

/** A small file system in the place of the pool, for as long as `work` takes. */
async function withSmallPool(cluster: StoryCluster, work: () => Promise<void>): Promise<void> {
  const config = join(labLayout(cluster.dir).machine('s1').configDir, 'storage.json');
  const { poolDir } = JSON.parse(readFileSync(config, 'utf8')) as { readonly poolDir: string };
  const onStorage = async (script: string): Promise<void> => {
    const ran = (await cluster.lab('exec', { target: 's1', argv: ['sh', '-ec', script] })) as {
      exitCode: number;
      stderr: string;
    };
    assert.equal(ran.exitCode, 0, ran.stderr);
  };
  const isSmall = async (): Promise<boolean> => {
    const [node] = await gpJson<readonly { totalBytes: number | null }[]>(cluster, ['storage', 'list']);
    return (node?.totalBytes ?? GIB) < GIB;
  };
  await onStorage(
    `mount -t tmpfs -o mode=711,size=${POOL} none '${poolDir}'; cd '${poolDir}'; mkdir disks artifacts tmp`,
  );
  try {
    await until('the pool is small', async () => ((await isSmall()) ? true : undefined));
    await work();
  } finally {
    await onStorage(`umount '${poolDir}'`);
    await until('the pool is as before', async () => ((await isSmall()) ? undefined : true));
  }
}

const fullPool: Case = {
  name: 'a full pool refuses disks and uploads, and keeps nothing of them',
  async run(cluster) {
    await changesNothing(cluster, async () => {
      await withSmallPool(cluster, async () => {
        const { stderr } = await gp(cluster, ['vm', 'create', 'bad', '--image', 'tiny'], 5);
        assert.match(stderr, /No storage node can hold the disks: s1 has \d+ MiB free\. Nothing was created/);
        const upload: Asked = {
          method: 'PUT',
          path: `/v1/artifacts/${'a'.repeat(64)}?kind=disk`,
          body: Buffer.alloc(39 * 1024 ** 2),
        };
        const refused = await ask(cluster.target, upload);
        assert.equal(refused.problem?.code, 'no-capacity', refused.text);
        assert.match(refused.problem?.advice ?? '', /Nothing was/);
      });
    });
    await createTiny(cluster, 'b2');
    await deleteVms(cluster, ['b2']);
  },
};

const loopback: Case = {
  name: 'the API listens on loopback only',
  async run(cluster) {
    const port = Number(new URL(cluster.target.apiUrl).port);
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const listening = ['/proc/net/tcp', '/proc/net/tcp6']
      .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local = '', , state]) => state === '0A' && local.endsWith(`:${hex}`))
      .map(([, local]) => local);
    assert.deepEqual(listening, [`0100007F:${hex}`]);
  },
};

export const badInput: readonly Case[] = [api, commands, fullPool, loopback];
