/** The steps that take a machine out of its cluster, and their order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { present } from '../base/assert.ts';
import type { ApiClient } from '../client/client.ts';
import { leaveSteps } from './leave.ts';
import { parseMachineConfig } from './machine-config.ts';

const machine = parseMachineConfig(
  'name: m1\nnetworks: { control: 10.0.0.11 }\ncontrol: {}\nstorage: {}\nhost: {}\n',
  'machine.yaml',
);

/** A cluster with these names in its lists. */
function clusterWith(lists: Readonly<Record<string, readonly string[]>>): ApiClient {
  const list = async (path: string) => (lists[path] ?? []).map((name) => ({ name }));
  return { http: {}, list } as unknown as ApiClient;
}

test('the control node goes last: a host or storage node that is refused leaves the machine in its cluster', () => {
  const steps = leaveSteps(machine, { client: clusterWith({}), endsCluster: false }).map(({ does }) => does);
  assert.deepEqual(steps.slice(0, 3), [
    'take host m1 out of the cluster',
    'take storage m1 out of the cluster',
    'take control m1 out of the cluster',
  ]);
});

test('a machine may end its role of a control node alone, if it has another one', async () => {
  const control = (config: typeof machine) =>
    leaveSteps(config, { client: null, endsCluster: false, onlyControl: true });
  assert.deepEqual(
    control(machine).map(({ does }) => does),
    [
      'end the control service',
      'end the etcd service',
      'remove the packet filter of a control node',
      'remove its files in /var/lib/groundplane, and take the role out of /etc/groundplane/machine.yaml',
    ],
  );
  const last = present(control(machine).at(-1), 'a step');
  assert.equal(await last.isDone(), false, 'the files are gone, and the role still stands in the configuration');
  const { storage, host, ...alone } = machine;
  assert.throws(() => control(alone), { code: 'conflict' });
  const { control: _, ...other } = machine;
  assert.throws(() => control(other), { code: 'not-found' });
});

test('a cluster ends with its last machine only, and without VMs', async () => {
  const first = (lists: Readonly<Record<string, readonly string[]>>) =>
    present(leaveSteps(machine, { client: clusterWith(lists), endsCluster: true })[0], 'a step');
  await first({ '/v1/hosts': ['m1'], '/v1/storage-nodes': ['m1'], '/v1/control-nodes': ['m1'] }).do();
  for (const [lists, named] of [
    [{ '/v1/hosts': ['m1', 'm2'] }, /still has m2/],
    [{ '/v1/storage-nodes': ['s1'] }, /still has s1/],
    [{ '/v1/control-nodes': ['m1', 'c2'] }, /still has c2/],
    [{ '/v1/vms': ['web1'] }, /still has VM web1/],
  ] as const)
    await assert.rejects(first(lists).do(), named);
});
