import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseGeneration, parseVmId } from '../base/ids.ts';
import { AUTHORITIES, type AuthoritiesRecord } from '../core/model/authorities.ts';
import { certificatesIn, createAuthority, createRequest } from '../pki/authority.ts';
import { ClusterAuthority } from './cluster-authority.ts';

let work = '';
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'groundplane-authority-'));
});
after(() => rm(work, { recursive: true }));

async function opened(where: string, made: Awaited<ReturnType<typeof createAuthority>>): Promise<ClusterAuthority> {
  const directory = await mkdtemp(join(work, where));
  await writeFile(join(directory, 'ca-cert.pem'), made.certPem);
  await writeFile(join(directory, 'ca-key.pem'), made.keyPem);
  return ClusterAuthority.open(directory);
}

test('two control nodes change their authority: keys are kept, certificates carry the way back, old keys go', async () => {
  const first = await createAuthority({ clusterName: 'lab', daysValid: 10 });
  const c1 = await opened('c1', first);
  const c2 = await opened('c2', first);
  const vm = parseVmId('vm-0123456789ab');
  assert.equal(certificatesIn((await c1.issueIncarnation(vm, parseGeneration(1))).certPem).length, 1);
  const { present, next } = await c1.makeNext();
  const record: AuthoritiesRecord = {
    ...{ id: AUTHORITIES, version: 1, phase: 'trusting', issuing: present.id, since: 1, oldRuns: null },
    authorities: [present, next],
  };
  for (const node of [c1, c2]) node.follow(record);
  assert.equal(c2.issuer, present.id);
  assert.equal(certificatesIn(c2.caPem).length, 2, 'both are trusted');
  assert.equal(c2.pinPem, first.certPem);
  const renewing = { ...record, version: 2, phase: 'renewing', issuing: next.id } as const;
  c2.follow(renewing);
  const { requestPem } = await createRequest();
  const lacking = (error: unknown): boolean =>
    error instanceof CodedError && /is not at this control node/.test(error.message);
  await assert.rejects(c2.certify({ kind: 'host', name: 'h1' }, requestPem, '10.0.0.1'), lacking);
  const key = c1.keyOf(next.id);
  assert.ok(key !== null);
  await c2.take(key);
  assert.deepEqual(c2.ids, [present.id, next.id]);
  const { certPem, issued } = await c2.certify({ kind: 'control', name: 'c2' }, requestPem, '10.0.0.2');
  assert.equal(issued.authority, next.id);
  const [own, cross] = certificatesIn(certPem).map((pem) => new X509Certificate(pem));
  assert.ok(own?.verify(new X509Certificate(next.certPem).publicKey));
  assert.ok(cross?.ca && cross.verify(new X509Certificate(first.certPem).publicKey), 'the old one has signed the next');
  assert.match(own?.subjectAltName ?? '', /IP Address:10.0.0.2/);
  c2.follow({ ...renewing, version: 3, phase: 'steady', authorities: [next] });
  await c2.settled();
  assert.deepEqual(c2.ids, [next.id]);
  const directory = join(work, (await readdir(work)).find((name) => name.startsWith('c2')) ?? '');
  assert.deepEqual((await readdir(directory)).sort(), ['ca-cert.pem', 'ca-key.pem']);
  assert.equal((await ClusterAuthority.open(directory)).issuer, next.id);
  // A server that was killed before it settled finds both keys again.
  const c1Directory = join(work, (await readdir(work)).find((name) => name.startsWith('c1')) ?? '');
  assert.deepEqual((await ClusterAuthority.open(c1Directory)).ids, [present.id, next.id]);
});
