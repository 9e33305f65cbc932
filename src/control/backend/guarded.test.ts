/** The guard of changes, with a leader that keeps its estate: a simulated cluster of three hosts of 4 GiB. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Tie } from '../../api/ties.ts';
import { present } from '../../base/assert.ts';
import { NeedsAcceptance, NobodyLeads, NoPlan } from '../../base/problem.ts';
import type { Admitted } from '../../core/request/basis.ts';
import { until } from '../../os/testing/until.ts';
import { CALL, replace, type TestApi, testApi } from '../testing/api-cluster.ts';
import { checkGuarded, guarded, signature } from './guarded.ts';

const GIB = 1024 ** 3;
const UNTIL = '2100-01-01T00:00:00Z';
const SIGNED = signature({ owner: 'ann', reason: 'a licence', until: UNTIL }, 'admin');
/** Two of these do not fit on one host. */
const LARGE = { image: 'tiny', memoryBytes: 3 * GIB } as const;

async function ties({ backend }: TestApi): Promise<readonly Tie[]> {
  return (await backend.ties.list({}, CALL)).items;
}

/** The number of VMs that run, once as many as are wanted do. */
async function untilRunning({ backend }: TestApi, names: readonly string[]): Promise<void> {
  await until(`${names.join()} run`, () => names.every((name) => backend.vms.get(name).verdict === 'running'));
}

test('a pin is refused with its reason and changes nothing, unless somebody signs: a debt, which can be renewed', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  const wish = { name: 'web1', image: 'tiny', start: false, pin: 'h1' } as const;
  await assert.rejects(backend.vms.create(wish), { code: 'needs-acceptance', message: /web1 is pinned to h1/ });
  assert.throws(() => backend.vms.get('web1'), { code: 'not-found' });
  const past = { ...SIGNED, until: 1 };
  await assert.rejects(backend.vms.create({ ...wish, accept: past }), { code: 'bad-input' });
  await assert.rejects(backend.vms.create({ ...wish, pin: 'h9' }), { code: 'not-found' });

  await backend.vms.create({ ...wish, accept: SIGNED });
  const [tie, ...others] = await ties(api);
  assert.deepEqual(others, []);
  assert.deepEqual([tie?.kind, tie?.owner, tie?.by, tie?.isDue], ['pin', 'ann', 'admin', false]);
  const renewed = await backend.ties.renew(tie?.debt ?? '', { ...SIGNED, owner: 'bob' });
  assert.deepEqual([renewed.debt, renewed.owner, renewed.since], [tie?.debt, 'bob', tie?.since]);
  await assert.rejects(backend.ties.renew('debt-000000000000', SIGNED), { code: 'not-found' });

  await backend.vms.patch('web1', { pin: null, ifMatch: null });
  assert.deepEqual(await ties(api), [], 'whoever takes the pin away owes nothing');
});

test('a date that no calendar has is bad input', () => {
  for (const until of ['2026-99-01T00:00:00Z', '2026-01-01T99:00:00Z'])
    assert.throws(() => signature({ owner: 'a', reason: 'b', until }, 'admin'), { code: 'bad-input' });
});

test('the VM after which no host could be drained or lost is refused; what it would have cost is named', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  for (const name of ['a', 'b']) await backend.vms.create({ ...LARGE, name });
  await untilRunning(api, ['a', 'b']);
  await assert.rejects(backend.vms.create({ ...LARGE, name: 'c' }), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'needs-acceptance');
    assert.match(error.message, /h[123] could not be drained: .*h[123] could not be lost/s);
    assert(error instanceof NeedsAcceptance);
    const { ties: bound, broken, moreBroken } = error.acceptance;
    assert.deepEqual([bound, broken.length, moreBroken], [[], 6, 0]);
    assert.match(broken[0]?.because[0] ?? '', /^[abc]: h[123]: /);
    const { explanation } = error;
    assert.match(explanation?.about ?? '', /^h[123] could not be (drained|lost) any more$/);
    assert.equal(explanation?.isComplete, true);
    assert(explanation?.ways.some(({ what }) => what === 'if c is stopped'));
    assert.match(error.advice ?? '', /It would be possible .*if c is stopped.*sign for it/);
    return true;
  });
  await backend.vms.create({ ...LARGE, name: 'c', start: false });
  await assert.rejects(backend.vms.start('c'), { code: 'needs-acceptance' });
  await backend.vms.start('c', { accept: SIGNED });
  await untilRunning(api, ['c']);
  await assert.rejects(backend.drains.start('h1', {}, CALL), (error: Error) => {
    assert(error instanceof NoPlan);
    assert.deepEqual(error.hosts, ['h1']);
    assert.match(error.advice ?? '', /^Nothing was changed\. .* It would be possible .*GiB more on any of h2, h3/);
    assert.equal(error.explanation?.vms[0]?.hosts.flatMap(({ hosts }) => hosts).length, 3, 'every host is named');
    return true;
  });
  const [debt] = await ties(api);
  assert.equal(debt?.kind, 'room');
  const costs = async (): Promise<Tie['costs'] | undefined> => (await ties(api))[0]?.costs;
  await until('its cost is known', async () => (await costs())?.undrainable.length === 3);
  assert.deepEqual(await costs(), {
    ...{ undrainable: ['h1', 'h2', 'h3'], unlosable: ['h1', 'h2', 'h3'], vms: (await costs())?.vms },
  });
});

test('of two that are fine alone and not together, asked for at once, one is refused', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  await backend.vms.create({ ...LARGE, name: 'a' });
  await untilRunning(api, ['a']);
  const outcomes = await Promise.allSettled(['b', 'c'].map((name) => backend.vms.create({ ...LARGE, name })));
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? String(outcome.reason.code) : 'made'));
  assert.deepEqual(codes.sort(), ['made', 'needs-acceptance']);
});

test('a group that would have a member on every host is refused its last one, also when all are asked for at once', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  const wish = { image: 'tiny', antiAffinity: 'web' } as const;
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((name) => backend.vms.create({ ...wish, name })));
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? String(outcome.reason.code) : 'made'));
  assert.deepEqual(codes.sort(), ['made', 'made', 'needs-acceptance']);
});

test('a guest cluster that needs every host is refused, when it is declared and when a member comes', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  for (const name of ['a', 'b', 'c']) await backend.vms.create({ name, image: 'tiny', start: false });
  const all = { name: 'sql', members: ['a', 'b', 'c'] };
  await assert.rejects(backend.guestClusters.create(all), { code: 'needs-acceptance', message: /3 members/ });
  await backend.guestClusters.create({ ...all, members: ['a', 'b'] });
  const third = { vm: 'c', ifMatch: null };
  await assert.rejects(backend.guestClusters.addMember('sql', third), { code: 'needs-acceptance' });
  await backend.guestClusters.addMember('sql', { ...third, accept: SIGNED });
  assert.deepEqual(
    (await ties(api)).map(({ kind, owner, about }) => [kind, owner, about.name]),
    [['guest-cluster', 'ann', 'sql']],
  );
});

test('the first VM of a cluster with one host is nobody’s debt: nothing could ever go anywhere', async (t) => {
  const api = await testApi(t, { hosts: 1 });
  for (const name of ['a', 'b']) await api.backend.vms.create({ name, image: 'tiny' });
  await untilRunning(api, ['a', 'b']);
  assert.deepEqual(await ties(api), []);
});

test('one VM that is created and many that are started at once are judged one after the other', async (t) => {
  const api = await testApi(t);
  const { backend } = api;
  await backend.vms.create({ ...LARGE, name: 'a' });
  await untilRunning(api, ['a']);
  await backend.vms.create({ ...LARGE, name: 'b', start: false });
  const begun = await backend.vms.act({ action: 'start', vms: ['b'] });
  const [outcome] = await Promise.allSettled([backend.vms.create({ ...LARGE, name: 'c' })]);
  const created = outcome.status === 'rejected' ? String(outcome.reason.code) : 'made';
  await until('the task ends', async () => (await backend.tasks.get(begun.id, 0, CALL)).state !== 'running');
  const { items } = await backend.tasks.listVms(begun.id, {}, CALL);
  const started = items.map(({ state }) => (state === 'succeeded' ? 'made' : 'needs-acceptance'));
  assert.deepEqual([created, ...started].sort(), ['made', 'needs-acceptance']);
});

async function startMany(
  t: TestContext,
  accept: typeof SIGNED | null,
): Promise<{ readonly api: TestApi; readonly states: readonly (readonly [string, string])[] }> {
  const api = await testApi(t);
  const { backend } = api;
  await backend.vms.create({ ...LARGE, name: 'a' });
  await untilRunning(api, ['a']);
  for (const name of ['b', 'c']) await backend.vms.create({ ...LARGE, name, start: false });
  const begun = await backend.vms.act({ action: 'start', vms: ['b', 'c'], ...(accept === null ? {} : { accept }) });
  await until('the task ends', async () => (await backend.tasks.get(begun.id, 0, CALL)).state !== 'running');
  const { items } = await backend.tasks.listVms(begun.id, {}, CALL);
  return { api, states: items.map(({ state, message }) => [state, message] as const) };
}

test('of many VMs that are started by one request, those that would break something are refused, and no others', async (t) => {
  const { api, states } = await startMany(t, null);
  assert.deepEqual(states.map(([state]) => state).sort(), ['failed', 'succeeded']);
  assert.match(states.find(([state]) => state === 'failed')?.[1] ?? '', /could not be drained/);
  assert.deepEqual(await ties(api), []);
});

test('many VMs are started by one request that is signed: the debt is in the record of the VM that made it', async (t) => {
  const { api, states } = await startMany(t, SIGNED);
  assert.deepEqual(
    states.map(([state]) => state),
    ['succeeded', 'succeeded'],
  );
  assert.deepEqual(
    (await ties(api)).map(({ kind, owner }) => [kind, owner]),
    [['room', 'ann']],
  );
  const { backend } = api;
  await assert.rejects(backend.vms.act({ action: 'stop', vms: ['a'], accept: SIGNED }), { code: 'bad-input' });
});

test('a request on many that is cancelled while its starts are judged stays cancelled, and starts nothing', async (t) => {
  const api = await testApi(t);
  const { backend, cluster } = api;
  for (const name of ['a', 'b']) await backend.vms.create({ image: 'tiny', name, start: false });
  const estate = present(cluster.leader.context?.leading(), 'leader').controller.estate;
  let judged: (() => void) | undefined;
  const asked = new Promise<void>((begun) => {
    estate.judge = () => {
      begun();
      return new Promise((resolve) => {
        judged = () => resolve([]);
      });
    };
  });
  const task = await backend.vms.act({ action: 'start', vms: ['a', 'b'] });
  await asked;
  await backend.tasks.cancel(task.id);
  judged?.();
  const ended = await backend.tasks.get(task.id, 5_000, CALL);
  assert.equal(ended.state, 'cancelled');
  for (const name of ['a', 'b']) assert.equal(backend.vms.get(name).verdict, 'stopped');
});

test('a node that lost the lead writes no guarded change, and checks none: nobody judges there', async (t) => {
  const api = await testApi(t);
  const context = present(api.cluster.leader.context, 'context');
  const leader = present(context.leading(), 'leader');
  let leads = true;
  replace(context, 'leading', () => (leads ? leader : null));
  const asked = { accept: undefined, what: 'creation of a', done: 'created' } as const;
  let decided = 0;
  const decide = (): Admitted<null> => {
    decided += 1;
    return { changes: [], result: null };
  };
  const estate = leader.controller.estate;
  const turn = Promise.withResolvers<void>();
  const before = estate.inTurn(() => turn.promise);
  const waiting = guarded(context, asked, decide);
  leads = false;
  turn.resolve();
  await before;
  await assert.rejects(waiting, NobodyLeads);
  await assert.rejects(guarded(context, asked, decide), NobodyLeads);
  await assert.rejects(checkGuarded(context, { ...asked, signal: CALL.signal }, decide), NobodyLeads);
  assert.equal(decided, 1, 'only the check decides, and writes nothing');
});
