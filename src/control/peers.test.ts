import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseControlName } from '../base/ids.ts';
import type { CertificateRecord } from '../core/model/certificate.ts';
import type { ControlRecord } from '../core/model/cluster.ts';
import { PREFIX } from '../core/model/keys.ts';
import { Peers } from './peers.ts';
import type { Changed, ClusterStore } from './store/cluster-store.ts';
import { Table } from './store/table.ts';

const peer = (name: string) => ({ name: parseControlName(name), address: `10.0.0.${name.slice(1)}` });
const record = (name: string): ControlRecord => ({ ...peer(name), startedAt: 0 });
const certificates = (name: string, isRemoved: boolean): CertificateRecord => ({
  ...{ id: `control:${name}`, issued: [], denied: [] },
  removed: isRemoved ? { at: 1, by: 'ann' } : null,
});

function world() {
  const controls = new Table<ControlRecord>(PREFIX.control);
  const certs = new Table<CertificateRecord>(PREFIX.certificate);
  const listeners: ((changes: readonly Changed[]) => void)[] = [];
  const store = {
    ...{ controls, certificates: certs },
    onChange: (listener: (changes: readonly Changed[]) => void) => {
      listeners.push(listener);
      return () => undefined;
    },
  } as unknown as ClusterStore;
  return { controls, certs, listeners, peers: new Peers([peer('c1'), peer('c2'), peer('c3')], store) };
}

const names = (peers: Peers): readonly string[] => peers.list().map(({ name }) => name);

test('the configured nodes count until etcd says otherwise, and one that joined counts besides', () => {
  const { peers, controls } = world();
  assert.deepEqual(names(peers), ['c1', 'c2', 'c3']);
  controls.note('c4', record('c4'), 7);
  assert.deepEqual(names(peers), ['c1', 'c2', 'c3', 'c4']);
});

test('a node that was removed while this server was off does not count, until it joins again', () => {
  const { peers, controls, certs } = world();
  certs.note('control:c3', certificates('c3', true), 5);
  assert.deepEqual(names(peers), ['c1', 'c2']);
  controls.note('c3', record('c3'), 8);
  certs.note('control:c3', certificates('c3', false), 8);
  assert.deepEqual(names(peers), ['c1', 'c2', 'c3']);
});
