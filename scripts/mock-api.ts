/**
 * A simulated cluster in real time behind the real HTTP API, for work on the web UI and on whatever else uses the API.
 * It needs no root, no QEMU and no etcd; nothing outlives the process.
 *
 *   npm run mock-api -- [--port N] [--hosts N] [--storage-nodes N] [--vms N] [--seed N] [--speed N]
 *
 * Plain HTTP on the loopback address, where browsers take a session's cookie without TLS (Chromium and Firefox do); the
 * token is always the same and is printed, after a link that logs a browser in. Lines on standard input are faults,
 * as `gp lab` has them: "kill-host h2", "cut-host h2", "kill-agent h1", "kill-storage s1", "heal-host h2", "restore".
 *
 * Exit status: 0 it was told to end; 1 it could not start; 2 wrong use.
 */
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../src/base/errors.ts';
import { VERSION } from '../src/base/version.ts';
import { createApiServer } from '../src/control/api/server.ts';
import { ClusterAuthority } from '../src/control/cluster-authority.ts';
import { createAuthority } from '../src/pki/authority.ts';
import { ApiCluster } from '../src/sim/api/api-cluster.ts';

const USAGE = 'npm run mock-api -- [--port N] [--hosts N] [--storage-nodes N] [--vms N] [--seed N] [--speed N]';
/** The form of an API token, and no secret: the server listens on the loopback address only. */
const TOKEN = `gp_api_${'A'.repeat(43)}`;
/** The server of the only control node is never faulted: it serves the API. */
const FAULTS = 'kill-host cut-host cut-storage cut-disks kill-agent kill-storage heal-host restore'.split(' ');
const MIB = 2 ** 20;
const SHARED_DISK_BYTES = 1_024 * MIB;
/** The memory of VMs, used in turn. */
const MEMORY_MIB = [256, 512, 256, 1_024, 256, 768];
/** The memory of a host: the minimum, and the addition for each VM that it gets. */
const HOST_BYTES_MIN = 4_096 * MIB;
const HOST_BYTES_PER_VM = 1_024 * MIB;
/** The network of a new cluster has no more addresses than this for VMs. */
const ON_NETWORK_MAX = 200;
/** The number of requests under way while VMs are made. */
const AT_ONCE = 40;
/** The members of the guest cluster; how long they may take to run, and how often that is checked. */
const MEMBERS = ['web1', 'web2'];
const RUNNING_MS = 300_000;
const LOOK_MS = 200;
/** From this many hosts on there are racks, each of about this many hosts. */
const RACKS_FROM = 8;
const RACK_HOSTS = 16;

interface Wish {
  readonly port: number;
  readonly hosts: number;
  readonly storageNodes: number;
  readonly vms: number;
  readonly seed: number;
  readonly speed: number;
}

function wishOf(argv: readonly string[]): Wish {
  const number = (name: string, text: string, most: number): number => {
    const value = Number(text);
    if (/^\d{1,6}$/.test(text) && value <= most) return value;
    throw new CodedError('bad-input', `--${name} takes a number up to ${most}, not ${JSON.stringify(text)}.`, {
      advice: USAGE,
    });
  };
  const text = (standard: string) => ({ type: 'string', default: standard }) as const;
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        port: text('7450'),
        hosts: text('4'),
        'storage-nodes': text('2'),
        vms: text('8'),
        seed: text('1'),
        speed: text('1'),
      },
    });
    return {
      port: number('port', values.port, 65_535),
      hosts: Math.max(1, number('hosts', values.hosts, 1_000)),
      storageNodes: Math.max(1, number('storage-nodes', values['storage-nodes'], 10)),
      vms: number('vms', values.vms, 20_000),
      seed: number('seed', values.seed, 999_999),
      speed: Math.max(1, number('speed', values.speed, 50)),
    };
  } catch (error) {
    if (error instanceof CodedError) throw error;
    throw new CodedError('bad-input', messageOf(error), { cause: error, advice: USAGE });
  }
}

async function startCluster(wish: Wish): Promise<ApiCluster> {
  const issuer = await createAuthority({ clusterName: 'mock', daysValid: 30 });
  const hostMemoryBytes = Math.max(HOST_BYTES_MIN, Math.ceil(wish.vms / wish.hosts) * HOST_BYTES_PER_VM);
  return ApiCluster.start({
    ...{ ...wish, hostMemoryBytes, hasLab: true },
    adminToken: TOKEN,
    authority: new ClusterAuthority(issuer),
  });
}

type Api = ReturnType<typeof createApiServer>;

/** Makes a request as the administrator; refusals are printed. */
async function ask({ app }: Api, route: `${Method} ${string}`, body?: object): Promise<Answer> {
  const [method, url] = route.split(' ') as [Method, string];
  const headers = { authorization: `Bearer ${TOKEN}` };
  const { statusCode, body: answer } = await app.inject({
    method,
    url,
    headers,
    ...(body === undefined ? {} : { body }),
  });
  if (statusCode >= 300) console.error(`mock-api: ${route}: ${answer}`);
  return JSON.parse(answer) as Answer;
}
type Method = 'GET' | 'POST' | 'PATCH';
type Answer = Readonly<Record<string, unknown>>;

/**
 * Fills the cluster with something to look at: racks, VMs that run, and a guest cluster of two of them with a shared
 * disk.
 */
async function furnish(api: Api, { hosts, vms }: Wish): Promise<void> {
  const racks = Math.max(2, Math.round(hosts / RACK_HOSTS));
  for (let n = 1; n <= hosts && hosts >= RACKS_FROM; n++)
    await ask(api, `PATCH /v1/hosts/h${n}`, { rack: `r${1 + Math.floor(((n - 1) * racks) / hosts)}` });
  for (let from = 1; from <= vms; from += AT_ONCE) {
    const numbers = Array.from({ length: Math.min(AT_ONCE, vms + 1 - from) }, (_, n) => from + n);
    await Promise.all(numbers.map((n) => ask(api, 'POST /v1/vms', vmOf(n))));
  }
  if (vms < 2) return;
  // Disks can be attached to a VM that runs or is stopped, not to one that starts.
  for (const vm of MEMBERS) await untilRunning(api, vm);
  const sharedDisks = [{ name: 'quorum', sizeBytes: SHARED_DISK_BYTES }];
  // With two hosts, one member on each, the guest cluster is a tie.
  const accept = { owner: 'mock-api', reason: 'something to look at', until: '2100-01-01T00:00:00Z' };
  await ask(api, 'POST /v1/guest-clusters', { name: 'sql', members: MEMBERS, sharedDisks, accept });
}

async function untilRunning(api: Api, vm: string): Promise<void> {
  const endsMs = performance.now() + RUNNING_MS;
  for (;;) {
    const { phase } = await ask(api, `GET /v1/vms/${vm}`);
    if (phase === 'running') return;
    if (performance.now() > endsMs) throw new CodedError('deadline', `${vm} does not run: it is ${String(phase)}.`);
    await setTimeout(LOOK_MS);
  }
}

function vmOf(n: number): object {
  return {
    ...{ name: `web${n}`, image: 'tiny', networks: n <= ON_NETWORK_MAX ? ['lan'] : [] },
    memoryBytes: (MEMORY_MIB[n % MEMORY_MIB.length] ?? 256) * MIB,
    labels: { tier: n % 3 === 0 ? 'db' : 'web' },
  };
}

/** Carries out the faults that arrive on standard input. */
function listenForFaults({ lab }: ApiCluster): void {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const [verb = '', target] = line.trim().split(/\s+/);
    if (verb === '') return;
    try {
      if (!FAULTS.includes(verb))
        throw new CodedError('bad-input', `There is no fault ${JSON.stringify(verb)}.`, {
          advice: `There are: ${FAULTS.join(', ')}.`,
        });
      lab?.inject(verb, target);
      console.log(line.trim());
    } catch (error) {
      console.error(`mock-api: ${messageOf(error)}`);
    }
  });
}

async function main(): Promise<number> {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  try {
    const wish = wishOf(process.argv.slice(2));
    const cluster = await startCluster(wish);
    const server = createApiServer({ backend: cluster.backend(), version: VERSION });
    const port = await server.listen({ port: wish.port });
    await furnish(server, wish);
    listenForFaults(cluster);
    const { path } = await ask(server, 'POST /v1/session/links', {});
    console.log(`UI:    http://localhost:${port}${String(path)}`);
    console.log(`API:   http://127.0.0.1:${port}/v1\nToken: ${TOKEN}`);
    await stopped;
    cluster.stop();
    await server.close();
    return 0;
  } catch (error) {
    console.error(`mock-api: ${messageOf(error)}`);
    return error instanceof CodedError && error.code === 'bad-input' ? 2 : 1;
  }
}

process.exit(await main());
