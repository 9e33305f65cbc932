import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration, parseHostName } from '../base/ids.ts';
import type { Controller, ControllerPorts } from '../core/loop/controller.ts';
import { NO_IDENTITIES } from '../core/loop/testing/no-identities.ts';
import { keyOf } from '../core/model/keys.ts';
import type { VmRecord } from '../core/model/vm.ts';
import type { Log } from '../core/ports/log.ts';
import { SILENT_GUESTS } from '../core/ports/testing/silent-guests.ts';
import { startProxy } from '../etcd/testing/etcd-cluster.ts';
import { systemClock } from '../os/clock.ts';
import { randomHex } from '../os/random.ts';
import { until } from '../os/testing/until.ts';
import { createBackend } from './backend/backend.ts';
import { noCrashPoint } from './crash-point.ts';
import { leadForEver } from './leadership.ts';
import { startBackend } from './testing/backend.ts';
import { etcdOfFile } from './testing/etcd-of-file.ts';
import { type RunningStore, vmRecord } from './testing/records.ts';

const etcd = etcdOfFile();

const never = (): Promise<never> => Promise.reject(new Error('nothing is to be asked'));

/** Ports of a cluster without hosts: nothing is ever called, but the clock. */
const ports: Omit<ControllerPorts, 'store' | 'lead'> = {
  clock: systemClock,
  randomHex,
  log: { info: () => undefined, warn: () => undefined },
  files: { copy: () => ({ done: never(), cancel: () => undefined }), remove: never },
  hosts: { report: never, launch: never, kill: never, applyNetwork: never, probe: never },
  storage: {
    report: never,
    fence: never,
    grant: never,
    revoke: never,
    createDisk: never,
    deleteDisk: never,
    createSharedDisk: never,
    deleteSharedDisk: never,
    diskFacts: never,
  },
  guestAgents: SILENT_GUESTS,
  qmp: {
    observe: async () => ({ kind: 'unknown' }),
    cont: never,
    halt: never,
    reset: never,
    powerDown: never,
    quit: never,
    listen: never,
    send: never,
    allowPause: never,
    dirtyRate: never,
    blockFigures: never,
    machineFacts: never,
    activate: never,
    cancelSend: never,
    plug: never,
    unplug: never,
    sharedDisks: never,
    onEvent: () => undefined,
    certificateEndsAt: () => null,
    forget: () => undefined,
  },
  ...NO_IDENTITIES,
  paths: { list: () => [], probe: never },
  reach: { self: 'c1', peers: () => [], tryFrom: never },
  credentials: { issue: never, targetSecret: never },
  storageTlsName: (name) => name,
  crashPoint: noCrashPoint,
};

type Leading = { readonly term: number; readonly controller: Controller } | null;

/** A candidate whose changes of state can be waited for. */
class Candidate {
  readonly running: RunningStore;
  readonly lines: string[] = [];
  readonly #stop = new AbortController();
  readonly #campaigning: Promise<void>;
  readonly #waiting = new Set<() => void>();
  leading: Leading = null;

  constructor(name: string, running: RunningStore) {
    this.running = running;
    const log: Log = { info: (line) => this.lines.push(line), warn: (line) => this.lines.push(line) };
    this.#campaigning = leadForEver({
      etcd: running.client,
      store: running.store,
      log,
      value: JSON.stringify({ name, address: '127.0.0.1' }),
      ports: { ...ports, log },
      signal: this.#stop.signal,
      onLead: (leading) => {
        this.leading = leading;
        for (const look of [...this.#waiting]) look();
      },
    });
  }

  /** Resolves when it leads (or does not); fails after 15 s. */
  async until(state: 'leads' | 'follows'): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not within 15 s: ${state}: ${this.lines.join(', ')}`)), 15_000);
      const look = (): void => {
        if ((this.leading !== null) !== (state === 'leads')) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopping'));
    await this.#campaigning;
    await this.running.close();
  }
}

test('one leads, the other follows; the one that stops hands over at once, with a higher term', async () => {
  const one = new Candidate('c1', await etcd.follow());
  await one.until('leads');
  const term = one.leading?.term ?? 0;
  const other = new Candidate('c2', await etcd.follow());
  const startedAt = performance.now();
  await one.stop();
  await other.until('leads');
  assert.ok((other.leading?.term ?? 0) > term);
  assert.ok(performance.now() - startedAt < 1_900, 'resigned: nobody waits for the lease');
  assert.equal(one.leading, null);
  await other.stop();
});

test('a leader that etcd cannot hear any more is replaced, and finds out itself', async () => {
  const proxy = await startProxy(etcd.address);
  const cut = new Candidate('c1', await etcd.follow({ endpoints: [proxy.address] }));
  await cut.until('leads');
  const other = new Candidate('c2', await etcd.follow());
  const lost = cut.until('follows');
  proxy.freeze();
  await other.until('leads');
  await lost;
  assert.ok(cut.lines.includes('no longer leading'));
  await Promise.all([cut.stop(), other.stop()]);
  await proxy.close();
});

test('a leader whose key was deleted writes nothing more, and leads again', async () => {
  const one = new Candidate('c1', await etcd.follow());
  await one.until('leads');
  const { client, store } = one.running;
  const [before] = (await client.list('/gp/election/')).entries;
  const lost = one.until('follows');
  await client.txn({ compare: [], success: [{ delete: before?.key ?? '' }] });
  const vm = vmRecord(1);
  const guard = { key: before?.key ?? '', createRevision: before?.createRevision ?? 0 };
  const outcome = await store.transact([{ key: keyOf.vm(vm.id), value: vm, expect: 0 }], guard);
  assert.deepEqual(outcome, { kind: 'guard-failed' });
  assert.equal(await client.get(keyOf.vm(vm.id)), undefined);
  await lost;
  await one.until('leads');
  await one.stop();
});

test('a leadership that cannot begin is given up, so that the next attempt finds the way free', async () => {
  const running = await etcd.follow();
  const catchUp = running.store.catchUp.bind(running.store);
  let failures = 1;
  running.store.catchUp = () => (failures-- > 0 ? Promise.reject(new Error('etcd was away')) : catchUp());
  const one = new Candidate('c1', running);
  await one.until('leads');
  assert.deepEqual(one.lines, ['campaign failed', 'leading']);
  assert.equal((await running.client.list('/gp/election/')).entries.length, 1);
  await one.stop();
  assert.deepEqual((await checkElection()).entries, []);
});

test('records that break a rule are reported by the leader: log, event, alarm and metric, until they keep it', async (t) => {
  const one = new Candidate('c1', await etcd.follow());
  t.after(() => one.stop());
  await one.until('leads');
  const { store, client } = one.running;
  const { context } = await startBackend(one.running);
  const backend = createBackend({ ...context, leading: () => one.leading });
  const alarms = async (): Promise<readonly string[]> =>
    (await backend.cluster.get()).alarms.flatMap(({ kind, about, message }) =>
      kind === 'rule-broken' ? [`${about}: ${message}`] : [],
    );
  const look = { deadlineMs: 20_000, signal: new AbortController().signal, what: 'The report' };
  const reported = (): true | undefined =>
    [...store.events.values()].some(({ value }) => value.kind === 'rule-broken') || undefined;
  // Somebody puts two VMs on one slot of h1, past every control node.
  const at = (n: number): VmRecord => {
    const incarnation = { generation: parseGeneration(1), host: parseHostName('h1'), slot: 0 };
    return vmRecord(n, { generation: parseGeneration(1), phase: { kind: 'running', incarnation }, intent: 'running' });
  };
  for (const n of [1, 2])
    await client.txn({ compare: [], success: [{ put: keyOf.vm(at(n).id), value: JSON.stringify(at(n)) }] });
  await store.waitFor(reported, look);
  const said = /^h1: The records break rule C1-hosts-have-room: vm1 and vm2 share slot 0 of h1\./;
  assert.match((await alarms()).join(), said);
  assert.ok(one.lines.includes('the records break a rule'));
  const metric = (await backend.cluster.metrics()).find(({ name }) => name.endsWith('alarms'));
  assert.deepEqual(
    metric?.samples.filter(({ labels }) => labels?.['kind'] === 'rule-broken').map(({ value }) => value),
    [1],
  );
  await client.txn({ compare: [], success: [{ delete: keyOf.vm(at(2).id) }] });
  await until('the alarm about h1 ends', async () => !said.test((await alarms()).join()));
});

async function checkElection() {
  const running = await etcd.follow();
  const listing = await running.client.list('/gp/election/');
  await running.close();
  return listing;
}
