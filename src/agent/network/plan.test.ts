import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetworkName } from '../../base/ids.ts';
import type { NetworkOnHost, NetworkPlan } from '../../core/ports/host-link.ts';
import { dhcpConfiguration, dhcpHosts } from './dhcp.ts';
import { planLinks } from './link-plan.ts';
import { cidrOf, overlaps, rangeOf } from './names.ts';
import type { Link, Observed } from './observed.ts';
import { ruleScript } from './rules.ts';

const ENDPOINT = { address: '10.79.0.1', device: 'ovl0' };
const TAP = { device: 'gpt3n0', vni: 100, mac: '02:00:00:00:00:01', uid: 600_003 };
const LAN: NetworkOnHost = {
  name: parseNetworkName('lan'),
  vni: 100,
  peers: ['10.79.0.2', '10.79.0.3'],
  gateway: { address: '10.0.0.1', prefixLength: 24 },
  nat: true,
  dhcp: [{ mac: TAP.mac, address: '10.0.0.2', hostname: 'web1' }],
};
const plan = (...networks: NetworkOnHost[]): NetworkPlan => ({ revision: 1, networks, drop: ['10.79.0.9'] });

function link(device: string, changes: Partial<Link> = {}): Link {
  return { device, mtu: 1450, mac: '02:67:70:00:00:01', master: null, up: true, kind: null, tunnel: null, ...changes };
}
function observed(...links: Link[]): Observed {
  const all = [link('ovl0', { mtu: 1500 }), ...links];
  return { links: new Map(all.map((l) => [l.device, l])), addresses: [], forwarding: [], defaultDevice: null };
}
const complete: Observed = {
  ...observed(
    link('gpb100', { kind: 'bridge' }),
    link('gpx100', { master: 'gpb100', kind: 'vxlan', tunnel: { local: '10.79.0.1', device: 'ovl0' } }),
    link('gpt3n0', { master: 'gpb100', kind: 'tun' }),
  ),
  addresses: [{ device: 'gpb100', address: '10.0.0.1', prefixLength: 24 }],
  forwarding: [
    { device: 'gpx100', mac: '00:00:00:00:00:00', peer: '10.79.0.2' },
    { device: 'gpx100', mac: '00:00:00:00:00:00', peer: '10.79.0.3' },
    { device: 'gpx100', mac: '02:00:00:00:00:07', peer: '10.79.0.3' },
  ],
};

test('from nothing to a network', () => {
  assert.deepEqual(planLinks(plan(LAN), [TAP], { observed: observed(), endpoint: ENDPOINT }), {
    ip: [
      'link add gpb100 address 02:67:70:00:00:01 mtu 1450 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set gpb100 addrgenmode none up',
      'link add gpx100 mtu 1450 type vxlan id 100 dstport 4789 local 10.79.0.1 dev ovl0 ttl 64',
      'link set gpx100 addrgenmode none master gpb100 up',
      'address add 10.0.0.1/24 dev gpb100',
      'tuntap add dev gpt3n0 mode tap user 600003 vnet_hdr',
      'link set gpt3n0 addrgenmode none mtu 1450 master gpb100 up',
    ],
    flood: [
      'fdb append 00:00:00:00:00:00 dev gpx100 dst 10.79.0.2 self permanent',
      'fdb append 00:00:00:00:00:00 dev gpx100 dst 10.79.0.3 self permanent',
    ],
    forget: [],
  });
});

test('nothing is done where nothing is to do', () => {
  const nothing = { ip: [], flood: [], forget: [] };
  assert.deepEqual(planLinks(plan(LAN), [TAP], { observed: complete, endpoint: ENDPOINT }), nothing);
});

test('a peer that leaves is forgotten, with what was learned about it', () => {
  const { ip, flood, forget } = planLinks(plan({ ...LAN, peers: ['10.79.0.2', '10.79.0.4'] }), [TAP], {
    observed: complete,
    endpoint: ENDPOINT,
  });
  assert.deepEqual(ip, []);
  assert.deepEqual(flood, ['fdb append 00:00:00:00:00:00 dev gpx100 dst 10.79.0.4 self permanent']);
  assert.deepEqual(forget, [
    'fdb delete 00:00:00:00:00:00 dev gpx100 dst 10.79.0.3 self',
    'fdb delete 02:00:00:00:00:07 dev gpx100 dst 10.79.0.3 self',
  ]);
});

test('what bears our names and is not in the plan goes; nothing else does', () => {
  const extra = observed(link('gpb7'), link('gpx7'), link('gpt9n1'), link('eth0'), link('gpbridge'), link('gpt1'));
  const { ip } = planLinks(plan(), [], { observed: extra, endpoint: ENDPOINT });
  assert.deepEqual(ip, ['link delete gpb7', 'link delete gpx7', 'link delete gpt9n1']);
});

test('a tunnel of another address is made anew, with its flood list', () => {
  const { ip, flood } = planLinks(plan(LAN), [TAP], {
    observed: complete,
    endpoint: { ...ENDPOINT, address: '10.79.0.8' },
  });
  assert.equal(ip[0], 'link delete gpx100');
  assert.equal(flood.length, 2);
});

test('rules: one transaction that replaces, drops tunnels, and keeps guests from the underlay', () => {
  const script = ruleScript(plan(LAN), { taps: [TAP], underlay: ['10.77.0.0/16'], onlyGuests: true });
  for (const family of ['bridge', 'inet', 'arp'])
    assert.match(script, new RegExp(`^delete table ${family} groundplane$`, 'm'));
  assert.match(script, /set dropped \{\n {4}type ipv4_addr\n {4}elements = \{ 10\.79\.0\.9 \}/);
  assert.match(script, /ip daddr \{ 169\.254\.0\.0\/16, 10\.77\.0\.0\/16 \} drop/);
  assert.match(script, /elements = \{ "gpt3n0" \. 02:00:00:00:00:01 \}/);
  assert.match(script, /elements = \{ "gpt3n0" : jump member100 \}/);
  assert.match(script, /iifname "gpt\*" oifname "gpx\*" meta mark set 0x67707431/);
  assert.match(script, /ip saddr 10\.0\.0\.0\/24 oifname != "gpb\*" masquerade/);
  const closed = ruleScript(plan({ ...LAN, nat: false, dhcp: null }), { taps: [], underlay: [], onlyGuests: false });
  assert.doesNotMatch(closed, /masquerade|udp dport \{/);
});

test('DHCP: reservations and nothing else', () => {
  const options = { runDir: '/run/gp', dropsRoot: true, mtu: 1450, nameServers: ['9.9.9.9'] };
  assert.match(dhcpConfiguration(LAN, '/d', options), /^dhcp-range=10\.0\.0\.0,static,255\.255\.255\.0,infinite$/m);
  assert.match(dhcpConfiguration(LAN, '/d', options), /^dhcp-option=option:dns-server,9\.9\.9\.9$/m);
  const closed = dhcpConfiguration({ ...LAN, nat: false }, '/d', options);
  assert.match(closed, /^dhcp-option=option:router$/m);
  assert.match(closed, /^dhcp-option=option:dns-server$/m);
  assert.equal(dhcpHosts(LAN.dhcp ?? []), '02:00:00:00:00:01,10.0.0.2,web1\n');
});

test('ranges', () => {
  assert.deepEqual(rangeOf({ address: '10.1.2.200', prefixLength: 26 }), {
    network: '10.1.2.192',
    netmask: '255.255.255.192',
  });
  assert.equal(cidrOf({ address: '192.168.5.1', prefixLength: 16 }), '192.168.0.0/16');
  assert(overlaps({ address: '10.77.0.1', prefixLength: 16 }, { address: '10.77.3.1', prefixLength: 24 }));
  assert(!overlaps({ address: '10.77.0.1', prefixLength: 16 }, { address: '10.78.0.1', prefixLength: 16 }));
});
