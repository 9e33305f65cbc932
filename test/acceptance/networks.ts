/** Networks as guests see them: addresses, neighbours on other hosts, the outside, strangers, and a live migration. */
import assert from 'node:assert/strict';
import type { Network } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { OUTSIDE_ADDRESS } from '../../src/lab/shape.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, gpJson, untilSaid, vmOf } from './case.ts';
import { Guest } from './guest.ts';

const PINGS = 100;
const PING_EVERY_S = 0.1;
const PING_DEADLINE_MS = 120_000;

async function addressOf(cluster: StoryCluster, name: string): Promise<string> {
  return present((await vmOf(cluster, name)).nics[0]?.address, `address of ${name}`);
}

/** Creates VMs that run on given hosts: all others are cordoned in the meantime. */
async function createOn(cluster: StoryCluster, name: string, host: string, network: string): Promise<void> {
  const others = ['h1', 'h2', 'h3'].filter((one) => one !== host);
  for (const other of others) await gp(cluster, ['host', 'cordon', other]);
  try {
    await createTiny(cluster, name, ['--network', network]);
    assert.equal((await vmOf(cluster, name)).host, host);
  } finally {
    for (const other of others) await gp(cluster, ['host', 'uncordon', other]);
  }
}

async function using<T>(cluster: StoryCluster, vm: string, work: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await Guest.open(cluster, vm);
  try {
    return await work(guest);
  } finally {
    guest.close();
  }
}

/** The addresses that answer, all asked at once. */
async function reached(guest: Guest, addresses: readonly string[]): Promise<readonly string[]> {
  const { text } = await guest.run(
    `for a in ${addresses.join(' ')}; do (ping -c 3 -W 1 $a >/dev/null && echo reached $a) & done; wait`,
  );
  return [...text.matchAll(/^reached ([0-9.]+)$/gm)].map(([, address]) => address ?? '').sort();
}

const reach = (guest: Guest, address: string): Promise<{ text: string; status: number }> =>
  guest.run(`ping -c 4 -W 2 ${address}`);

const addresses: Case = {
  name: 'DHCP gives each guest the address that is reserved for it',
  async run(cluster) {
    await gp(cluster, ['network', 'create', 'other', '--cidr', '10.30.0.0/24', '--dhcp']);
    await createOn(cluster, 'n1', 'h1', 'lan');
    await createOn(cluster, 'n2', 'h2', 'lan');
    await createOn(cluster, 'n3', 'h2', 'other');
    const networks = await gpJson<readonly Network[]>(cluster, ['network', 'list']);
    for (const [name, network] of [
      ['n1', 'lan'],
      ['n2', 'lan'],
      ['n3', 'other'],
    ] as const) {
      const [, address] = await untilSaid(cluster, name, /groundplane-tiny net eth0 ([0-9.]+)\/24/);
      assert.equal(address, await addressOf(cluster, name));
      const reservations = networks.find((one) => one.name === network)?.reservations ?? [];
      assert.ok(
        reservations.some((one) => one.vm === name && one.address === address),
        JSON.stringify(reservations),
      );
      assert.equal(await using(cluster, name, async (guest) => (await guest.run('hostname')).text.trim()), name);
    }
  },
};

const neighbours: Case = {
  name: 'two guests on different hosts reach each other, the gateway and the outside; one of another network reaches none of them',
  async run(cluster) {
    const n1 = await addressOf(cluster, 'n1');
    const n2 = await addressOf(cluster, 'n2');
    const n3 = await addressOf(cluster, 'n3');
    await using(cluster, 'n1', async (guest) => {
      for (const address of [n2, '10.20.0.1', OUTSIDE_ADDRESS])
        assert.match((await reach(guest, address)).text, /[1-4] packets received/, address);
      assert.equal((await guest.run(`wget -q -O - http://${n2}/cgi-bin/generation`)).text.trim(), 'n2 1');
      assert.deepEqual(await reached(guest, [n3, '10.77.2.1', '10.77.0.11', '10.78.1.1']), [], 'seen from n1');
    });
    await using(cluster, 'n2', async (guest) => assert.equal((await reach(guest, n1)).status, 0));
    await using(cluster, 'n3', async (guest) => {
      assert.match((await reach(guest, '10.30.0.1')).text, /[1-4] packets received/);
      const strangers = [n1, n2, '10.20.0.1', OUTSIDE_ADDRESS, '10.77.2.2', '10.78.1.1'];
      assert.deepEqual(await reached(guest, strangers), [], 'seen from n3, which is on the same host as n2');
      // An address of the other network that somebody gives himself helps no more.
      await guest.run('ip address add 10.20.0.200/24 dev eth0');
      assert.deepEqual(await reached(guest, [n1, n2]), []);
    });
  },
};

const migration: Case = {
  name: 'an address survives a live migration; the gateway answers on the new host',
  async run(cluster, say) {
    const address = await addressOf(cluster, 'n2');
    await using(cluster, 'n1', async (guest) => {
      const pinging = guest.run(`ping -i ${PING_EVERY_S} -c ${PINGS} -W 2 ${address}`, PING_DEADLINE_MS);
      await guest.waitFor(/seq=5 /, PING_DEADLINE_MS, 'the first pings');
      await gp(cluster, ['vm', 'migrate', 'n2', '--to', 'h3']);
      const { text } = await pinging;
      const received = new Set([...text.matchAll(/seq=(\d+) /g)].map(([, seq]) => Number(seq)));
      const lost = Array.from({ length: PINGS }, (_, seq) => seq).filter((seq) => !received.has(seq));
      say(`live migration: ${lost.length} of ${PINGS} pings, ${PING_EVERY_S} s apart, were lost`);
      assert.ok(received.has(PINGS - 1) || received.has(PINGS - 2), `the last pings were lost: ${text.slice(-400)}`);
    });
    const { host, generation, nics } = await vmOf(cluster, 'n2');
    assert.deepEqual([host, generation, nics[0]?.address], ['h3', 2, address]);
    await using(cluster, 'n2', async (guest) => {
      for (const to of ['10.20.0.1', OUTSIDE_ADDRESS, await addressOf(cluster, 'n1')])
        assert.match((await reach(guest, to)).text, /[1-4] packets received/, `${to} from the new host`);
    });
    await deleteVms(cluster, ['n1', 'n2', 'n3']);
    await gp(cluster, ['network', 'delete', 'other']);
  },
};

const cards: Case = {
  name: 'a card that is added to, or taken from, a VM that runs comes and goes with its next start, not with a move',
  async run(cluster) {
    const cardsOf = (guest: Guest): Promise<string> =>
      guest.run('ls /sys/class/net').then(({ text }) =>
        text
          .split(/\s+/)
          .filter((each) => /^eth/.test(each))
          .join(),
      );
    await gp(cluster, ['network', 'create', 'second', '--cidr', '10.31.0.0/24', '--dhcp']);
    await createTiny(cluster, 'n9', ['--network', 'lan']);
    const { stdout } = await gp(cluster, ['vm', 'add-nic', 'n9', 'second,address=10.31.0.40']);
    assert.match(stdout, /second {2}[0-9a-f:]+ {2}10\.31\.0\.40 {2}from the next start on/);
    await gp(cluster, ['vm', 'migrate', 'n9']);
    assert.equal(await using(cluster, 'n9', cardsOf), 'eth0', 'the machine that moved has what it had');
    const restart = async (): Promise<void> => {
      await gp(cluster, ['vm', 'stop', 'n9', '--hard']);
      await gp(cluster, ['vm', 'start', 'n9']);
    };
    await restart();
    const { nics } = await vmOf(cluster, 'n9');
    assert.deepEqual(
      nics.map(({ network, state }) => `${network} ${state}`),
      ['lan attached', 'second attached'],
    );
    assert.equal(await using(cluster, 'n9', cardsOf), 'eth0,eth1');
    await gp(cluster, ['vm', 'remove-nic', 'n9', nics[0]?.mac ?? '']);
    await restart();
    assert.equal(await using(cluster, 'n9', cardsOf), 'eth0');
    await untilSaid(cluster, 'n9', /groundplane-tiny net eth0 10\.31\.0\.40\/24/);
    await deleteVms(cluster, ['n9']);
    await gp(cluster, ['network', 'delete', 'second']);
  },
};

export const networks: readonly Case[] = [addresses, neighbours, migration, cards];
