import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EtcdMemberOptions, etcdCommand, leaseTtlSecondsMin } from './member.ts';

const OPTIONS: EtcdMemberOptions = {
  name: 'c1',
  dataDir: '/var/lib/gp/etcd',
  clientAddresses: ['10.0.0.1:2379', '127.0.0.1:2379'],
  peerAddress: '10.0.0.1:2380',
  initialCluster: [
    { name: 'c1', peerAddress: '10.0.0.1:2380' },
    { name: 'c2', peerAddress: '[fd00::2]:2380' },
  ],
  clusterToken: 't',
  tls: {
    caFile: 'ca',
    certFile: 'c',
    keyFile: 'k',
    peerCaFile: 'pca',
    peerCertFile: 'pc',
    peerKeyFile: 'pk',
    clientName: 'n',
    peerName: 'm',
  },
};

test('the shortest lease follows from the election timeout', () => {
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 100, electionMs: 1000 }), 2);
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 100, electionMs: 1300 }), 2);
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 100, electionMs: 1400 }), 3);
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 100, electionMs: 600 }), 1);
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 100, electionMs: 700 }), 1);
  assert.equal(leaseTtlSecondsMin({ heartbeatMs: 50, electionMs: 700 }), 2);
});

test('a member asks for certificates on both sides, keeps pings and syncs to disk', () => {
  const { argv, env, leaseTtlSecondsMin: ttl } = etcdCommand(OPTIONS);
  for (const flag of [
    '--client-cert-auth=true',
    '--peer-client-cert-auth=true',
    '--client-cert-allowed-hostname=n',
    '--peer-cert-allowed-hostname=m',
    '--grpc-keepalive-min-time=1s',
    '--initial-cluster=c1=https://10.0.0.1:2380,c2=https://[fd00::2]:2380',
    '--listen-client-urls=https://10.0.0.1:2379,https://127.0.0.1:2379',
  ]) {
    assert.ok(argv.includes(flag), flag);
  }
  assert.ok(!argv.some((flag) => flag.includes('fsync') || flag.includes('http://')));
  assert.deepEqual([env, ttl], [{}, 2]);
  assert.deepEqual(etcdCommand({ ...OPTIONS, arch: 'arm64' }).env, { ETCD_UNSUPPORTED_ARCH: 'arm64' });
});

test('values that would split the options are refused', () => {
  const bad: Partial<EtcdMemberOptions>[] = [
    { name: 'a,b' },
    { name: 'c3' },
    { peerAddress: '10.0.0.9:2380' },
    { clientAddresses: [] },
    { clientAddresses: ['10.0.0.1'] },
    { clientAddresses: ['a:1,https://evil:2'] },
    { heartbeatMs: 300 },
    { electionMs: 60_000 },
  ];
  for (const change of bad)
    assert.throws(() => etcdCommand({ ...OPTIONS, ...change }), { code: 'bad-input' }, JSON.stringify(change));
});
