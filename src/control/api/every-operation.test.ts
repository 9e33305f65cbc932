/** Every operation of the API once, on one cluster: its answer has the status and the schema of its table entry. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { approvedTextOf } from '../../api/approved.ts';
import type { MaintenancePlan } from '../../api/maintenance-views.ts';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS } from '../../api/operations.ts';
import type { ParameterName } from '../../api/parameters.ts';
import type { Roll } from '../../api/roll-views.ts';
import type { Host } from '../../api/views.ts';
import { parseDiskId, parseStorageName, parseVmId } from '../../base/ids.ts';
import { FIRST_EPOCH } from '../../core/model/record-shapes.ts';
import { until } from '../../os/testing/until.ts';
import { createRequest } from '../../pki/authority.ts';
import { parseJoinToken } from '../../pki/join-token.ts';
import { replace, type TestApi } from '../testing/api-cluster.ts';
import { type Answer, setUp } from './testing/asking.ts';

type Asking = Awaited<ReturnType<typeof setUp>>;

/**
 * The order of operations: uploads first, then those that create, change and delete. A machine that joined and does not
 * run has no version.
 */
const order = (id: string): number =>
  id === 'finalizeCluster'
    ? 0
    : /^(create|put)/.test(id)
      ? id === 'putArtifact'
        ? 0
        : 1
      : id.startsWith('delete')
        ? 3
        : 2;
const OPERATIONS_IN_ORDER = Object.entries<Operation>(OPERATIONS)
  .filter(([, operation]) => operation.answerMedium !== 'event-stream' && operation.answerMedium !== 'upgrade')
  .sort(([a], [b]) => order(a) - order(b));
const NAMES: Partial<Record<ParameterName, string>> = {
  control: 'c9',
  vm: 'web1',
  host: 'h4',
  node: 's2',
  network: 'net2',
  mac: '52:54:00:00:00:99',
  image: 'img',
  sharedDisk: 'scratch',
  sharedDiskName: 'data',
  guestCluster: 'sql',
  token: 'ci',
};

test('every answer fits the schema of its operation', async (t) => {
  const { ask, cluster, token } = await setUp(t, {}, { hosts: 4, storageNodes: 3, controls: 3, hasLab: true });
  const content = Buffer.from('kernel');
  const sha256 = createHash('sha256').update(content).digest('hex');
  const names: Partial<Record<ParameterName, string>> = { ...NAMES, sha256 };
  let drainTask = '';

  const must = async (...asked: Parameters<typeof ask>): Promise<Answer> => {
    const answer = await ask(...asked);
    assert(answer.status < 300, `${asked[0]}: ${answer.text}`);
    return answer;
  };
  /** A task that an answer brings ends before the next request. */
  const ended = async ({ json }: Answer): Promise<void> => {
    const { id } = (json.task ?? json) as { id?: string };
    if (id?.startsWith('task-') !== true) return;
    names.task = id;
    await must(`GET /v1/tasks/${id}?wait=20`);
  };
  // The host never has a VM: it could not be removed otherwise.
  await must('PATCH /v1/hosts/h4', { cordoned: true });
  for (const name of ['web2', 'web3']) await ended(await must('POST /v1/vms', { name, image: 'tiny' }));
  const { json: joining } = await must('POST /v1/join-tokens', { role: 'host', name: 'h5' });
  const { secret } = parseJoinToken(String(joining.token));
  const { requestPem: csrPem } = await createRequest();
  const bodies = bodiesOf({ secret, csrPem, sha256, token });
  for (const [id, operation] of OPERATIONS_IN_ORDER) {
    names.disk = cluster.vms.get('web1')?.spec.disks[0]?.disk ?? '';
    names.node = id.includes('ControlNode') ? 'c2' : /rainStorage|StorageNodeDrain/.test(id) ? 's3' : 's2';
    names.vm = id === 'removeGuestClusterMember' ? 'web3' : 'web1';
    if (id === 'cancelTask') names.task = String((await must('POST /v1/vms/web1/migrate', {})).json.id);
    if (id === 'startVm') await ended(await must('POST /v1/vms/web1/stop', { mode: 'hard' }));
    if (id === 'resetVm') await ended(await must('POST /v1/vms/web1/start'));
    if (id === 'deleteStorageNode') await lose(cluster, 's2');
    // While the authority changes no control node joins.
    if (id.endsWith('UnknownVm')) names.unknownVm = forget(cluster, id);
    if (id === 'rotateAuthority') await joinControl(must, 'c9');
    if (id === 'endOtherSession') names.session = String((await must('POST /v1/session', { token })).json.id);
    if (id === 'undrainHost') await must(`GET /v1/tasks/${drainTask}?wait=20`);
    names.host = id === 'returnToHost' ? await drainedOnce(must) : (NAMES.host ?? '');
    if (id === 'startRoll') bodies['startRoll'] = await approvedRoll(must);
    if (id === 'reportRollWork') await verifying(must, names.roll ?? '');
    if (id === 'pauseDrain') names.drain = String((await must('POST /v1/hosts/h4/drain', {})).json.id);
    if (id === 'renewTie') names.debt = await signedDebt(must);
    const queries: Record<string, string> = {
      putArtifact: '?kind=kernel',
      deleteStorageNode: '?lost=true&confirmed=true',
    };
    const query = queries[id] ?? '';
    const path = operation.path.replaceAll(/\{(\w+)\}/g, (_all, name: ParameterName) => names[name] ?? '');
    const bytes = operation.bodyMedium === 'bytes' ? { headers: { 'content-type': 'application/octet-stream' } } : {};
    const body = operation.bodyMedium === 'bytes' ? content : bodies[id];
    const more = id === 'endSession' ? await browser(ask, token) : bytes;
    const answer = await ask(`${operation.method} ${path}${query}`, body, more);
    assert.equal(answer.status, operation.status, `${id}: ${answer.text}`);
    if (operation.answer !== null) assert(Value.Check(operation.answer, answer.json), `${id}: ${answer.text}`);
    if (operation.answerMedium === 'none') assert.equal(answer.text, '', id);
    if (id === 'returnToHost') await must(`GET /v1/tasks/${String(answer.json.task)}?wait=60`);
    if (id === 'startRoll') names.roll = String(answer.json.id);
    if (id === 'drainHost') [names.drain, drainTask] = [String(answer.json.id), String(answer.json.task)];
    await ended(answer);
    names.task ??= String((answer.json.task as { id?: string } | null)?.id);
  }
});

const ACCEPT = { owner: 'ann', reason: 'a licence', until: '2100-01-01T00:00:00Z' };

/** A VM that no record knows is seen, in a cluster that was restored. Returns its id. */
function forget({ sim, leader }: TestApi['cluster'], operation: string): string {
  const vm = parseVmId(operation === 'adoptUnknownVm' ? 'vm-00000000aaaa' : 'vm-00000000bbbb');
  const disk = parseDiskId(`disk-${vm.slice('vm-'.length)}`);
  const seen = { disk, node: parseStorageName('s1'), port: null, sizeBytes: 2 ** 26, generations: [] };
  const unknown = { vm, processes: [], disks: [seen], unheard: [] };
  const watch = sim.controller?.unknown ?? assert.fail('nobody leads');
  replace(watch, 'list', () => [unknown]);
  const store = leader.context?.store ?? assert.fail('the leader serves');
  Object.defineProperty(store, 'epoch', { value: { ...FIRST_EPOCH, number: 1 }, configurable: true });
  return vm;
}

/** A debt: a pin that somebody signed for. */
async function signedDebt(must: (route: string, body?: unknown) => Promise<Answer>): Promise<string> {
  await must('POST /v1/vms', { name: 'tied', image: 'tiny', start: false, pin: 'h1', accept: ACCEPT });
  const { text } = await must('GET /v1/ties');
  const { items } = JSON.parse(text) as { readonly items: readonly { readonly debt: string }[] };
  return items[0]?.debt ?? '';
}

/** A host that a drain has moved VMs from, in service again. */
async function drainedOnce(must: (route: string, body?: unknown) => Promise<Answer>): Promise<string> {
  const { items } = (await must('GET /v1/hosts')).json as {
    items?: readonly { name: string; vms: readonly string[] }[];
  };
  const host = items?.find(({ vms }) => vms.length > 0)?.name ?? assert.fail('no host has a VM');
  const { task } = (await must(`POST /v1/hosts/${host}/drain`, {})).json;
  await must(`GET /v1/tasks/${String(task)}?wait=60`);
  await must(`POST /v1/hosts/${host}/undrain`);
  return host;
}

/** A control node that joined, and whose server never began. */
async function joinControl(must: Asking['ask'], name: string): Promise<void> {
  const { json } = await must('POST /v1/join-tokens', { role: 'control', name });
  const { secret } = parseJoinToken(String(json.token));
  const { requestPem: csrPem } = await createRequest();
  const addresses = { control: '10.0.9.9' };
  const { json: joined } = await must('POST /v1/join', { token: secret, role: 'control', name, csrPem, addresses });
  assert.deepEqual(Object.keys(joined.control as object).sort(), ['adminTokenSha256', 'caKeyPem', 'members']);
}

/** The headers of a browser that has just logged in. */
async function browser(ask: Asking['ask'], token: string): Promise<{ readonly headers: Record<string, string> }> {
  const { headers } = await ask('POST /v1/session', { token });
  const cookie = String(headers['set-cookie']).split(';')[0] ?? '';
  return { headers: { cookie, authorization: '', origin: 'http://localhost:80' } };
}

type Must = (...asked: Parameters<Asking['ask']>) => Promise<Answer>;

/** A request that begins a roll over h4, once h4 is in service. */
async function approvedRoll(must: Must): Promise<object> {
  const isBack = async () => ((await must('GET /v1/hosts/h4')).json as unknown as Host).maintenance === null;
  await until('h4 is in service', isBack);
  const plan = (await must('POST /v1/maintenance-plan', { hosts: ['h4'] })).json as unknown as MaintenancePlan;
  const windows = ['Mon-Sun 00:00-24:00 UTC'];
  return { plan: approvedTextOf(plan), hash: plan.hash, verify: 'true', windows };
}

async function verifying(must: Must, roll: string): Promise<void> {
  await until('the host waits for its check', async () => {
    const { json } = await must(`GET /v1/rolls/${roll}`);
    return (json as unknown as Roll).hosts[0]?.state === 'verify';
  });
}

/** A body for each operation that takes JSON. */
function bodiesOf(known: {
  readonly secret: string;
  readonly csrPem: string;
  readonly sha256: string;
  readonly token: string;
}): Record<string, unknown> {
  const { secret, csrPem, sha256 } = known;
  return {
    adoptUnknownVm: { name: 'again', vcpus: 1, memoryBytes: 2 ** 28 },
    createVm: { name: 'web1', image: 'tiny', networks: ['lan'], disks: [{ sizeBytes: 1024 ** 3 }] },
    injectFault: { verb: 'restore', target: 'h1' },
    checkNewVm: { name: 'web9', image: 'tiny', networks: ['lan'] },
    checkVm: { memoryBytes: 1024 ** 3 },
    patchVm: { labels: { tier: 'web' }, antiAffinity: null },
    vmAddNic: { network: 'lan', mac: '52:54:00:00:00:99' },
    patchHost: { cordoned: true, rack: 'r1' },
    planHostDrain: { parallel: 4 },
    resumeRoll: { retry: true },
    reportRollWork: { host: 'h4', step: 'verify', by: 'test', outcome: 'begun' },
    planMaintenance: { hosts: ['h4'] },
    drainHost: { reason: 'new memory', change: 'CHG123' },
    renewTie: ACCEPT,
    createNetwork: { name: 'net2', cidr: '10.30.0.0/24', dhcp: true },
    patchNetwork: { metadata: false },
    putImage: { direct: { kernel: sha256 } },
    createSharedDisk: { name: 'scratch', sizeBytes: 1024 ** 2 },
    patchSharedDisk: { sizeBytes: 1024 ** 3 },
    attachSharedDisk: { vm: 'web1', lun: 3 },
    createGuestCluster: { name: 'sql', members: ['web2'], sharedDisks: [{ name: 'quorum', sizeBytes: 1024 ** 2 }] },
    patchGuestCluster: { maxDisturbed: 2 },
    addGuestClusterMember: { vm: 'web3' },
    addGuestClusterDisk: { name: 'data', sizeBytes: 1024 ** 3, blockBytes: 4096 },
    createToken: { name: 'ci' },
    actOnVms: { action: 'resume', vms: ['web1'] },
    beginSession: { token: known.token },
    vmConsoleTicket: { console: 'serial' },
    createJoinToken: { role: 'host', name: 'h6' },
    join: { token: secret, role: 'host', name: 'h5', csrPem, addresses: { control: '10.0.9.5' } },
  };
}

/** Ends a storage node, and waits until its leader knows. */
async function lose({ sim }: TestApi['cluster'], name: string): Promise<void> {
  const node = [...sim.storage.values()].find((each) => each.name === name);
  if (node === undefined) throw new Error(`no ${name}`);
  sim.powerOff(node.machine);
  await until(`${name} is silent`, () => sim.controller?.storageObserver.isSilent(node.name) === true);
}
