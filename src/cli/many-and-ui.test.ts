/** `gp` on many VMs at once, and what it does for browsers and VNC viewers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { connect } from 'node:net';
import { test } from 'node:test';
import { until } from '../os/testing/until.ts';
import { testCluster } from './testing/test-cluster.ts';

const words = (line: string): string[] => line.split(' ');

test('gp vm vnc: a viewer on this machine sees the display; a VM without one is refused', async (t) => {
  const { gp } = await testCluster(t);
  assert.equal((await gp(words('vm create web1 --image tiny --display vga'))).code, 0);
  assert.equal((await gp(words('vm create web2 --image tiny'))).code, 0);
  assert.match((await gp(words('vm show web1'))).out, /^Display: +vga$/m);
  const without = await gp(words('vm vnc web2'));
  assert.deepEqual([without.code, without.out], [5, '']);
  const leave = new AbortController();
  let said = '';
  const running = gp(words('vm vnc web1'), { signal: leave.signal, onOut: (text) => (said += text) });
  await until('it says where', () => said.includes('\n'));
  const viewer = connect(said.trim().split(' ')[1] ?? '');
  const [version] = (await once(viewer, 'data')) as [Buffer];
  assert.equal(version.toString(), 'RFB 003.008\n');
  leave.abort();
  await running;
  await assert.rejects(access(said.trim().split(' ')[1] ?? ''));
});

test('several VMs are one request and one task; of each that refuses it is said why', async (t) => {
  const { gp, cluster } = await testCluster(t);
  for (const name of ['web1', 'web2', 'web3'])
    assert.equal((await gp(words(`vm create ${name} --image tiny${name === 'web3' ? ' --no-start' : ''}`))).code, 0);
  const stopped = await gp(words('vm stop web1 web2 --hard'));
  assert.deepEqual([stopped.code, stopped.out], [0, 'web1 stopped\nweb2 stopped\n'], stopped.err);
  const started = await gp(words('vm start web1 web3'));
  assert.deepEqual([started.code, started.out], [0, 'web1 started\nweb3 started\n'], started.err);
  const paused = await gp(words('vm pause web1 web2'));
  assert.deepEqual([paused.code, paused.out], [1, 'web1 paused\n']);
  assert.match(paused.err, /^gp: web2: web2 is not running\./);
  assert.equal((await gp(words('vm stop web1 none'))).code, 4);
  assert.equal((await gp(words('vm delete web1 web2 web3'))).code, 0);
  assert.equal(cluster.vms.size, 0);
});

test('gp ui: a link that logs a browser in once, and what the browser should say of the certificate', async (t) => {
  const { gp, apiUrl, backend } = await testCluster(t);
  const { out } = await gp(['ui']);
  assert(out.startsWith(`${apiUrl}/login#gp_link_`), out);
  const link = out.trim().split('#')[1] ?? '';
  const from = { address: '127.0.0.1', agent: 'test' };
  assert.equal((await backend.sessions.beginSession({ link }, from)).session.name, 'admin');
  await assert.rejects(backend.sessions.beginSession({ link }, from), { code: 'unauthorized' });
  assert.match((await gp(['ui', '--fingerprint'])).out, /^([0-9A-F]{2}:){31}[0-9A-F]{2}\n$/);
});
