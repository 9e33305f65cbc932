/** `--accept`, `--pin` and `gp ties`, against the API of a simulated cluster of three hosts of 4 GiB. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tie } from '../api/ties.ts';
import { testCluster } from './testing/test-cluster.ts';

const words = (line: string): string[] => line.split(' ');
const SIGN = ['--accept', '--owner', 'ann', '--reason', 'a licence', '--until', '2100-01-31'];

test('gp vm create --pin: refused without --accept, and a debt with it, which gp ties shows and renews', async (t) => {
  const { gp } = await testCluster(t);
  const create = words('vm create web1 --image tiny --no-start --pin h1');
  const refused = await gp(create);
  assert.deepEqual([refused.code, refused.out], [5, '']);
  assert.match(refused.err, /web1 is pinned to h1/);
  assert.match(refused.err, /--accept --owner WHO --reason WHY --until DATE/);
  assert.equal((await gp(words('vm show web1'))).code, 4, 'nothing was created');

  const created = await gp([...create, ...SIGN]);
  assert.equal(created.code, 0, created.err);
  const [tie] = JSON.parse((await gp(words('ties -o json'))).out) as readonly Tie[];
  assert.deepEqual([tie?.owner, tie?.reason, tie?.until], ['ann', 'a licence', '2100-01-31T23:59:59.000Z']);
  assert.match((await gp(words('ties'))).out, /^debt-[0-9a-f]{12} +vm web1 +web1 is pinned to h1 +ann +.*2100-01-31/m);
  const renew = [
    'ties',
    'renew',
    tie?.debt ?? '',
    '--owner',
    'bob',
    '--reason',
    'still',
    '--until',
    '2101-01-31T23:59:59.000Z',
  ];
  const renewed = await gp(renew);
  assert.equal(renewed.code, 0, renewed.err);
  assert.match((await gp(words('ties'))).out, /bob +.*2101-01-31/);
  assert.equal((await gp(words('ties renew debt-000000000000 --owner b --reason c --until 2101-01-31'))).code, 4);

  assert.equal((await gp(words('vm set web1 --no-pin'))).code, 0);
  assert.equal((await gp(words('ties -o json'))).out.trim(), '[]');
});

test('half a signature is bad input, and so is a date that has passed or is none', async (t) => {
  const { gp } = await testCluster(t);
  const create = words('vm create web1 --image tiny --no-start --pin h1');
  for (const wrong of [
    ['--accept'],
    ['--accept', '--owner', 'ann', '--reason', 'why'],
    ['--owner', 'ann', '--reason', 'why', '--until', '2100-01-01'],
    ['--accept', '--owner', 'ann', '--reason', 'why', '--until', '2001-01-01'],
    ['--accept', '--owner', 'ann', '--reason', 'why', '--until', '2100-02-30'],
    ['--accept', '--owner', 'ann', '--reason', 'why', '--until', 'tomorrow'],
    ['--accept', '--owner', '', '--reason', 'why', '--until', '2100-01-01'],
    ['--accept', '--owner', 'a\nb', '--reason', 'why', '--until', '2100-01-01'],
  ]) {
    const { code, err } = await gp([...create, ...wrong]);
    assert.equal(code, 2, `${wrong.join(' ')}: ${err}`);
  }
  assert.equal((await gp(words('vm show web1'))).code, 4, 'nothing was created');
});

test('gp vm start of one and of many, and gp guest-cluster create and add-member, are refused or signed for', async (t) => {
  const { gp } = await testCluster(t);
  for (const name of ['a', 'b', 'c']) {
    const { code, err } = await gp(words(`vm create ${name} --image tiny --memory 3G --no-start`));
    assert.equal(code, 0, err);
  }
  assert.equal((await gp(words('vm start a b'))).code, 0);
  const refused = await gp(words('vm start c'));
  assert.equal(refused.code, 5);
  assert.match(refused.err, /could not be drained/);
  const started = await gp([...words('vm start c'), ...SIGN]);
  assert.equal(started.code, 0, started.err);
  assert.match((await gp(words('ties'))).out, /^debt-[0-9a-f]{12} +vm c +start of c +ann /m);

  const all = words('guest-cluster create sql --members a,b,c');
  assert.equal((await gp(all)).code, 5);
  assert.equal((await gp(words('guest-cluster create sql --members a,b'))).code, 0);
  assert.equal((await gp(words('guest-cluster add-member sql c'))).code, 5);
  const added = await gp([...words('guest-cluster add-member sql c'), ...SIGN]);
  assert.equal(added.code, 0, added.err);
  assert.match((await gp(words('ties'))).out, /guest-cluster sql +.*3 members/);
});
