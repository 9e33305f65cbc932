import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../../base/errors.ts';
import type { HostName } from '../../../base/ids.ts';
import type { StorageRecord } from '../../model/cluster.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import {
  diskRecord,
  host,
  hostRecord,
  incarnation,
  node,
  seenHost,
  VM,
  vmRecord,
} from '../../plan/testing/sample-records.ts';
import type { ProbeResult } from '../../ports/probe-result.ts';
import { DiskPaths } from './disk-paths.ts';

const [H1, H2, H3] = [host(1), host(2), host(3)];
type Met = ProbeResult['outcome'] | 'no answer';

/** Three hosts, a disk on s1 and one on s2; `met`: the result of each host's agent at each node. */
function pathsOf(met: (from: HostName, address: string) => Met, silent: readonly HostName[] = []) {
  const index = new ClusterIndex();
  for (const n of [1, 2, 3]) index.setHost(host(n), hostRecord(n));
  index.setVm(VM, vmRecord({ kind: 'running', incarnation: incarnation(1) }));
  const asked: string[] = [];
  const storage = new Map(
    [1, 2].map((n) => {
      const value: StorageRecord = { name: node(n), addresses: { control: '', storage: `at s${n}` }, joinedAt: 0 };
      return [node(n), { value, revision: 1 }] as const;
    }),
  );
  const second = diskRecord({
    id: 'disk-000000000002' as ReturnType<typeof diskRecord>['id'],
    node: node(2),
    port: 30_007,
  });
  const paths = new DiskPaths({
    hosts: {
      probe: async (from, { address, port }) => {
        asked.push(`${from} ${address}:${port}`);
        const outcome = met(from, address);
        if (outcome === 'no answer') throw new CodedError('not-found', 'There is no POST /v1/probe here.');
        return { outcome, lateMs: 0 };
      },
    },
    snapshot: {
      storage,
      disks: new Map([diskRecord(), second].map((value) => [value.id, { value, revision: 1 }])),
      disksOf: () => [diskRecord(), second],
    },
    index,
    observer: { see: (name) => seenHost(Number(name.slice(1)), { agent: silent.includes(name) ? 'silent' : 'alive' }) },
  });
  const seen = () => [H1, H2, H3].map((name) => paths.see(VM, name));
  return { paths, asked, seen };
}

test('where the host reaches every disk, no other host is asked', async () => {
  const { paths, asked, seen } = pathsOf(() => 'accepted');
  assert.deepEqual(seen(), ['unknown', 'unknown', 'unknown']);
  await paths.tryFor(VM, H1);
  assert.deepEqual(asked, ['h1 at s1:30000', 'h1 at s2:30007']);
  assert.deepEqual(seen(), ['open', 'unknown', 'unknown']);
  paths.forget(VM);
  assert.deepEqual(seen(), ['unknown', 'unknown', 'unknown']);
});

test('one disk’s port out of reach closes the path, whatever else answers, and others are tried whose agents are alive', async () => {
  for (const closed of ['silent', 'refused'] as const) {
    const { paths, seen } = pathsOf(
      (from, address) => (from === H1 && address === 'at s2' ? closed : 'accepted'),
      [H2],
    );
    await paths.tryFor(VM, H1);
    assert.deepEqual(seen(), ['closed', 'unknown', 'open']);
  }
});

test('an agent that is older, does not answer, or was not scheduled in time, says nothing', async () => {
  for (const nothing of ['no answer', 'void'] as const) {
    const { paths, asked, seen } = pathsOf(() => nothing);
    await paths.tryFor(VM, H1);
    assert.deepEqual([asked.length, seen()], [2, ['unknown', 'unknown', 'unknown']]);
  }
});

test('whether the disks of a storage node are served is said by the agents of hosts whose VMs use them', async () => {
  const { paths, asked } = pathsOf((_from, address) => (address === 'at s1' ? 'accepted' : 'refused'));
  assert.deepEqual([await paths.isServed(node(1)), await paths.isServed(node(2))], [true, false]);
  assert.deepEqual(asked, ['h1 at s1:30000', 'h1 at s2:30007']);
  assert.equal(await paths.isServed(node(3)), null, 'nothing is there');
  assert.equal(await pathsOf(() => 'no answer').paths.isServed(node(1)), null);
  assert.equal(await pathsOf(() => 'accepted', [H1]).paths.isServed(node(1)), null);
});
