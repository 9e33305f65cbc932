import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKillOrder, parseLaunchOrder, parseNetworkOrder } from '../../agent/orders.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseDiskId, parseGeneration, parseHostName, parseSha256 } from '../../base/ids.ts';
import { VERSION } from '../../base/version.ts';
import { killOrder, launchOrder, NIC, networkPlan, VM } from '../../core/agent/testing/fake-machine.ts';
import type { HostLink, LaunchOrder } from '../../core/ports/host-link.ts';
import { SimMachine, type SimProcess } from '../machines/sim-machine.ts';
import type { WireRequest, WireService } from '../network/wire.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { NO_HOST_TROUBLES } from './agent-machine.ts';
import { type HostedQemu, HostKernel } from './host-kernel.ts';
import { startAgent } from './sim-agent.ts';
import {
  ADDED_TO_ANSWERS,
  ADDED_TO_ORDERS,
  newerAgent,
  newerControl,
  olderAgent,
  olderControl,
} from './version-skew.ts';
import { agentService, hostLinkOver } from './wire.ts';

const H1 = parseHostName('h1');
const HOW = { deadlineMs: 1_000 };
const SHA = parseSha256('a'.repeat(64));

type Wrapper = (service: WireService) => WireService;
const AGENTS: Readonly<Record<string, Wrapper>> = { older: olderAgent, same: (service) => service, newer: newerAgent };
const CONTROLS: Readonly<Record<string, Wrapper>> = {
  older: olderControl,
  same: (service) => service,
  newer: (service) => newerControl(service, { needs: () => false }),
};
const PAIRS = Object.keys(AGENTS).flatMap((agent) => Object.keys(CONTROLS).map((control) => ({ agent, control })));

/** A host whose agent is of one version and whose controller of another; what it is told is kept in `requests`. */
class Host {
  readonly clock = new SimClock();
  readonly machine = new SimMachine('h1', this.clock);
  readonly requests: WireRequest[] = [];
  /** The generations whose streams are waited for. */
  readonly listening: number[] = [];
  readonly kernel: HostKernel;
  #process: SimProcess;
  #agent: WireService;

  constructor() {
    this.kernel = new HostKernel({
      machine: this.machine,
      clock: this.clock,
      capacity: { memoryBytes: 2 ** 30, vcpus: 4, accelerator: 'tcg', cpuModels: ['baseline', 'EPYC'] },
      spawn: (): HostedQemu => ({
        process: this.machine.spawn('qemu'),
        open: async () => true,
        qmp: { answer: (line) => this.#answer(line) },
      }),
      onHarm: (what) => assert.fail(what),
    });
    [this.#process, this.#agent] = this.#start();
  }

  /** QEMU's part: it takes the stream of the incarnation that an object of it names. */
  async #answer(line: string): Promise<string> {
    const [, generation] = /"identity":"CN=incarnation:[^:]+:(\d+)"/.exec(line) ?? [];
    if (generation !== undefined) this.listening.push(Number(generation));
    return '{"return": {}}';
  }

  /** The agent is stopped, and one of another version starts. */
  replaceAgent(wrapper: Wrapper): void {
    this.#process.end();
    const [process, agent] = this.#start();
    this.#process = process;
    this.#agent = wrapper(agent);
  }

  /** A controller that speaks to whichever agent is there. */
  link(wrapper: Wrapper): HostLink {
    const service = wrapper((request) => {
      this.requests.push(request);
      return this.#agent(request);
    });
    return hostLinkOver((_host, request) => service(request));
  }

  /** Lets time pass until it is settled. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    promise.then(over, over);
    await this.clock.run(this.clock.monotonicMs() + 30_000, () => isOver);
    return promise;
  }

  #start(): [SimProcess, WireService] {
    const clock = this.machine.spawn('agent');
    const log = { info: () => undefined, warn: (message: string) => assert.fail(message) };
    const troubles = NO_HOST_TROUBLES;
    const probe = async () => ({ outcome: 'accepted', lateMs: 0 }) as const;
    const agent = startAgent({ name: H1, clock, kernel: this.kernel, random: new SimRandom(1), troubles, probe, log });
    return [clock, agentService(agent)];
  }
}

/** An order that says something in every field. */
const PEM = '-----BEGIN CERTIFICATE-----\nx';
function fullOrder(generation: number, changes: Partial<LaunchOrder> = {}): LaunchOrder {
  const plain = launchOrder(generation);
  const artifact = { sha256: SHA, sizeBytes: 10, from: [{ node: 's1', address: '10.0.0.1', port: 7_000 }] };
  return {
    ...plain,
    machine: { ...plain.machine, firmware: 'direct', kernel: artifact, initrd: artifact, append: 'quiet' },
    disks: [
      {
        disk: parseDiskId('disk-0123456789ab'),
        role: 'data',
        bus: 'virtio',
        readOnly: false,
        export: { address: '10.1.0.1', port: 30_000, name: 'g5', tlsName: 's1.storage' },
        patienceMs: 30_000,
      },
    ],
    nics: [NIC],
    credentials: { caPem: PEM, certPem: PEM, keyPem: PEM },
    network: {
      ...networkPlan(7),
      members: { controls: ['10.0.0.1'], storage: ['10.0.0.2'], hosts: ['10.0.0.3'] },
      networks: networkPlan(7).networks.map((network) => ({
        ...network,
        gateway: { address: '10.9.0.1', prefixLength: 24 },
        dhcp: [{ mac: NIC.mac, address: '10.9.0.2', hostname: 'web1' }],
        metadata: true,
      })),
      guests: [{ vm: VM, name: 'web1', vni: 7, address: '10.9.0.2', incarnation: 1, event: null }],
    },
    ...changes,
  };
}

for (const { agent, control } of PAIRS) {
  test(`agent ${agent}, controller ${control}: they understand each other`, async () => {
    const host = new Host();
    host.replaceAgent(AGENTS[agent] as Wrapper);
    const link = host.link(CONTROLS[control] as Wrapper);
    const do_ = <T>(promise: Promise<T>): Promise<T> => host.settled(promise);

    const { wallMs } = host.machine;
    const empty = await do_(link.report(H1, HOW));
    const knows = agent !== 'older' && control !== 'older';
    assert.deepEqual(empty, {
      host: 'h1',
      bootId: 'h1-boot-1',
      agentVersion: knows ? VERSION : 'unknown',
      qemuVersion: knows ? '7.2.0' : undefined,
      capacity: { memoryBytes: 2 ** 30, vcpus: 4, accelerator: 'tcg', cpuModels: knows ? ['baseline', 'EPYC'] : [] },
      incarnations: [],
      networkRevision: 0,
      wallMs: knows ? wallMs : undefined,
      acknowledgedNotices: undefined,
    });
    const launched = await do_(link.launch(H1, fullOrder(5), HOW));
    assert.equal(launched.already, false);
    const again = await do_(link.launch(H1, fullOrder(5), HOW));
    assert.deepEqual(again, { ...launched, already: knows });
    const { pid, startTicks } = launched;
    const report = await do_(link.report(H1, HOW));
    assert.deepEqual(report.incarnations, [{ vm: VM, generation: 5, slot: 3, pid, startTicks, incoming: false }]);
    assert.equal(report.networkRevision, 7);
    await do_(link.applyNetwork(H1, { ...fullOrder(5).network, revision: 8, term: fullOrder(5).term }, HOW));
    const { members = null, guests = [], ...plan } = fullOrder(5).network;
    const networks = plan.networks.map((network) => ({ ...network, metadata: knows }));
    const added = { members: knows ? members : null, guests: knows ? guests : [] };
    const inForce = { ...plan, ...added, networks, revision: 8, term: 5 };
    assert.deepEqual(host.kernel.network, inForce);
    await assert.rejects(do_(link.launch(H1, fullOrder(4), HOW)), { code: 'stale-order' });
    assert.deepEqual(await do_(link.kill(H1, killOrder([5]), HOW)), { killed: [5] });
    assert.deepEqual((await do_(link.report(H1, HOW))).incarnations, []);
  });
}

test('whether a destination listens is said by those who know; of the others nobody says so', async () => {
  for (const { agent, control } of PAIRS) {
    const host = new Host();
    host.replaceAgent(AGENTS[agent] as Wrapper);
    const link = host.link(CONTROLS[control] as Wrapper);
    const order = fullOrder(5, { incoming: true, receives: parseGeneration(4) });
    const knows = agent !== 'older' && control !== 'older';
    assert.equal((await host.settled(link.launch(H1, order, HOW))).listens, knows);
    assert.deepEqual(host.listening, knows ? [4] : []);
    assert.equal((await host.settled(link.launch(H1, order, HOW))).listens, false);
  }
});

test('what is launched under one version is found and ended under every other', async () => {
  const host = new Host();
  const link = host.link((service) => service);
  host.replaceAgent(olderAgent);
  const launched = await host.settled(link.launch(H1, fullOrder(5), HOW));
  for (const wrapper of [newerAgent, olderAgent, (service: WireService) => service]) {
    host.replaceAgent(wrapper);
    assert.equal((await host.settled(link.report(H1, HOW))).incarnations[0]?.pid, launched.pid);
    assert.equal((await host.settled(link.launch(H1, fullOrder(5), HOW))).pid, launched.pid);
  }
  host.replaceAgent(newerAgent);
  assert.deepEqual(await host.settled(link.kill(H1, killOrder([5]), HOW)), { killed: [5] });
});

test('an order that needs what the next version brings is refused as a whole by all others', async () => {
  for (const [name, wrapper] of Object.entries(AGENTS)) {
    const host = new Host();
    host.replaceAgent(wrapper);
    const link = host.link((service) => newerControl(service, { needs: () => true }));
    const launching = host.settled(link.launch(H1, fullOrder(5), HOW));
    if (name === 'newer') assert.equal((await launching).already, false);
    else await assert.rejects(launching, { code: 'unsupported', message: /needs future-feature/ });
    assert.equal(host.kernel.running.length, name === 'newer' ? 1 : 0);
    // It can be ended all the same, whether it was started or not: a kill needs nothing.
    await host.settled(link.kill(H1, killOrder([5]), HOW));
    assert.equal(host.kernel.running.length, 0);
  }
});

/** The paths of all fields of a JSON value, outermost first; arrays are passed through. */
function pathsOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap(pathsOf))];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([field, inner]) => [
    field,
    ...pathsOf(inner).map((path) => `${field}.${path}`),
  ]);
}

function withoutField(value: unknown, path: string): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutField(item, path));
  if (typeof value !== 'object' || value === null) return value;
  const [field = '', ...rest] = path.split('.');
  const entries = Object.entries(value).filter(([name]) => rest.length > 0 || name !== field);
  return Object.fromEntries(
    entries.map(([name, inner]) => [name, name === field ? withoutField(inner, rest.join('.')) : inner]),
  );
}

/** The fields without which `take` takes the value all the same. */
async function dispensable(value: unknown, take: (value: unknown) => unknown): Promise<readonly string[]> {
  await take(value);
  const found: string[] = [];
  for (const path of new Set(pathsOf(value))) {
    try {
      await take(withoutField(value, path));
      found.push(path);
    } catch (error) {
      assert(error instanceof CodedError && error.code === 'bad-input', messageOf(error));
    }
  }
  return found;
}

test('every field of a report and an answer but these is evidence: without it, it counts for nothing', async () => {
  const host = new Host();
  const launched = await host.settled(host.link((service) => service).launch(H1, fullOrder(5), HOW));
  const answering = (answer: unknown): HostLink => host.link(() => async () => answer);
  const link = host.link((service) => service);
  const found = [
    ...(await dispensable(await link.report(H1, HOW), (answer) => answering(answer).report(H1, HOW))),
    ...(await dispensable(launched, (answer) => answering(answer).launch(H1, fullOrder(5), HOW))),
    ...(await dispensable({ killed: [5] }, (answer) => answering(answer).kill(H1, killOrder([5]), HOW))),
  ];
  assert.deepEqual(found, [...ADDED_TO_ANSWERS]);
});

test('every field of an order but these is intent: without it nothing is done', async () => {
  const found = [
    ...(await dispensable({ ...fullOrder(5), needs: [], incoming: true, receives: 4 }, (order) =>
      parseLaunchOrder(order, ''),
    )),
    ...(await dispensable(killOrder([5]), (order) => parseKillOrder(order, ''))),
    ...(await dispensable({ ...fullOrder(5).network, term: 5 }, (order) => parseNetworkOrder(order, ''))),
  ];
  assert.deepEqual(found, [...ADDED_TO_ORDERS]);
});
