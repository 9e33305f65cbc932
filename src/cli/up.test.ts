import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageCacheDir } from './builtin-images.ts';
import { fakeCluster } from './testing/fake-cluster.ts';
import { fakeIo } from './testing/run-gp.ts';
import { FIRST_NETWORK, furnish } from './up.ts';

const CALL = { principal: { name: 'test' }, signal: new AbortController().signal };

test('a first start makes the network, a second one leaves everything as it is', async (t) => {
  const { dir, backend } = await fakeCluster(t);
  await backend.deleteNetwork('lan', { ifMatch: null }, CALL);
  const { io, ran } = fakeIo();
  await furnish(io, dir);
  const { name, cidr, dhcp, nat, revision } = await backend.getNetwork('lan', CALL);
  assert.deepEqual({ name, cidr, dhcp, nat }, FIRST_NETWORK);
  await furnish(io, dir);
  assert.equal((await backend.getNetwork('lan', CALL)).revision, revision);
  assert.equal(ran.err, '');
});

test('a cluster whose image cannot be built is a cluster with a warning', async (t) => {
  const { dir, backend } = await fakeCluster(t);
  await backend.deleteImage('tiny', { ifMatch: null }, CALL);
  const { io, ran } = fakeIo({ env: { GP_CACHE_DIR: '/dev/null/cache' } });
  await furnish(io, dir);
  assert.match(ran.err, /gp: The image tiny could not be made: /);
  assert.equal(backend.images.size, 0);
});

test('builds are kept with the cluster unless they are to be shared', () => {
  assert.equal(imageCacheDir({ env: {}, cwd: '/home' }, '/srv/c'), '/srv/c/cache');
  assert.equal(imageCacheDir({ env: { GP_CACHE_DIR: 'shared' }, cwd: '/home' }, '/srv/c'), '/home/shared');
});
