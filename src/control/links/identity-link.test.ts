import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import type { Term } from '../../base/ids.ts';
import type { IdentityOrder } from '../../base/machine-identity.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import { createIdentityLink } from './identity-link.ts';

const ORDER: IdentityOrder = {
  term: 1 as Term,
  certPem: null,
  trust: { tag: 't', caPem: 'ca', denied: { identities: [], certificates: [] } },
  authority: { certPem: 'next', keyPem: 'secret' },
};

/** A link to machines that all give the same answer, and the requests that were sent to them. */
function linkTo(answer: unknown) {
  const sent: unknown[] = [];
  const record = (name: string) => ({ value: { name, address: '10.0.0.1', addresses: { control: '10.0.0.1' } } });
  const snapshot = {
    hosts: new Map([['h1', record('h1')]]),
    storage: new Map([['s1', record('s1')]]),
    controls: new Map([['c1', record('c1')]]),
  } as unknown as Pick<Snapshot, 'hosts' | 'storage' | 'controls'>;
  const call = async (request: { body?: unknown; parse: (value: unknown, at: string) => unknown }) => {
    if (request.body !== undefined) sent.push(request.body);
    return request.parse(answer, '');
  };
  return { link: createIdentityLink({ to: () => ({ call }) } as never, snapshot), sent };
}

test('the key of an authority is sent to control nodes only, and only they are heard about authorities', async () => {
  const certificate = { serial: 'A1', notBefore: 0, notAfter: 1, authority: 'first' };
  const { link, sent } = linkTo({ certificate, requestPem: 'request', trust: null, authorities: [] });
  const options = { deadlineMs: 1_000 };
  for (const machine of [
    { kind: 'host', name: 'h1' },
    { kind: 'storage', name: 's1' },
  ] as const) {
    await assert.rejects(
      link.give(machine, ORDER, options),
      (error: unknown) => error instanceof CodedError && error.code === 'bad-input',
    );
    assert.equal((await link.read(machine, options)).authorities, undefined);
  }
  assert.deepEqual(sent, []);
  await link.give({ kind: 'control', name: 'c1' }, ORDER, options);
  assert.deepEqual(sent, [ORDER]);
  assert.deepEqual((await link.read({ kind: 'control', name: 'c1' }, options)).authorities, []);
});
