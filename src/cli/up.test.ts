import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALL } from '../control/testing/api-cluster.ts';
import { imageCacheDir } from './builtin-images.ts';
import { fakeIo } from './testing/run-gp.ts';
import { testCluster } from './testing/test-cluster.ts';
import { FIRST_NETWORK, furnish } from './up.ts';

test('a first start makes the network, a second one leaves everything as it is', async (t) => {
  const { dir, backend } = await testCluster(t);
  await backend.networks.delete('lan', { ifMatch: null });
  const { io, ran } = fakeIo();
  await furnish(io, dir);
  const { name, cidr, dhcp, nat, revision } = backend.networks.get('lan');
  assert.deepEqual({ name, cidr, dhcp, nat }, FIRST_NETWORK);
  await furnish(io, dir);
  assert.equal(backend.networks.get('lan').revision, revision);
  assert.equal(ran.err, '');
});

test('a cluster whose image cannot be built is a cluster with a warning', async (t) => {
  const { dir, backend } = await testCluster(t);
  await backend.images.delete('tiny', { ifMatch: null });
  const { io, ran } = fakeIo({ env: { GP_CACHE_DIR: '/dev/null/cache' } });
  await furnish(io, dir);
  assert.match(ran.err, /gp: The image tiny could not be made: /);
  assert.deepEqual((await backend.images.list({}, CALL)).items, []);
});

test('builds are kept with the cluster unless they are to be shared', () => {
  assert.equal(imageCacheDir({ env: {}, cwd: '/home' }, '/srv/c'), '/srv/c/cache');
  assert.equal(imageCacheDir({ env: { GP_CACHE_DIR: 'shared' }, cwd: '/home' }, '/srv/c'), '/home/shared');
});
