import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName } from '../../base/ids.ts';
import type { EventRecord } from '../model/cluster.ts';
import { ClusterIndex } from '../model/cluster-index.ts';
import { host, hostRecord, incarnation, VM, vmRecord } from '../plan/testing/sample-records.ts';
import type { Basis } from './basis.ts';
import { lostVms } from './lost-host.ts';

const OTHER = 'vm-000000000002' as typeof VM;
const event = (at: number, kind: string, on: HostName, more: Partial<EventRecord> = {}): EventRecord => ({
  ...{ at, kind, vm: VM, vmName: 'web1', host: on, generation: 1, message: `${kind}.` },
  ...more,
});

function basis(events: readonly EventRecord[], index: ClusterIndex): Basis {
  const table = new Map(events.map((value, n) => [String(n), { value, revision: 1 }]));
  return { records: { events: table }, index } as unknown as Basis;
}

test('what happened to the VMs of a lost host: restarted, waiting, deleted; those that left before are not named', () => {
  const index = new ClusterIndex();
  index.setVm(VM, vmRecord({ kind: 'running', incarnation: incarnation(2, 2) }, { name: 'web1' }));
  index.setVm(OTHER, vmRecord({ kind: 'running', incarnation: incarnation(1, 1) }, { id: OTHER, name: 'db1' }));
  const gone = { vm: 'vm-000000000003' as typeof VM, vmName: 'old' };
  const away = { vm: 'vm-000000000004' as typeof VM, vmName: 'away' };
  const events = [
    event(1, 'running', host(1)),
    event(1, 'running', host(1), gone),
    event(1, 'running', host(1), away),
    event(2, 'migrated', host(3), away),
    event(10_000, 'lost', host(2), { message: 'h1 was silent. Generation 2 starts on h2.' }),
    event(10_000, 'lost', host(2), { ...gone, message: 'h1 was silent.' }),
    event(11_000, 'lost', host(2), { ...away, message: 'h3 was silent.' }),
  ];
  const lost = hostRecord(1, { quarantine: { since: 10_000, reason: 'lost with web1' } });
  assert.deepEqual(lostVms(basis(events, index), lost), [
    { vm: 'db1', what: 'it is still recorded on h1 (running), and starts elsewhere once a host can take it' },
    { vm: 'web1', what: 'h1 was silent. Generation 2 starts on h2. Now it is running on h2, generation 2.' },
    { vm: 'old', what: 'h1 was silent. Now it is deleted.' },
  ]);
});
