import assert from 'node:assert/strict';
import { test } from 'node:test';
import { present } from '../../../base/assert.ts';
import { CodedError } from '../../../base/errors.ts';
import { parseHostName, parseStorageName } from '../../../base/ids.ts';
import type { IdentityOrder, IssuedCertificate, MachineIdentity } from '../../../base/machine-identity.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import { AUTHORITIES, OLD_TRUSTED_MS } from '../../model/authorities.ts';
import { certificateFinding, isRenewalDue } from '../../model/certificate.ts';
import type { HostRecord, StorageRecord } from '../../model/cluster.ts';
import type { VmRecord } from '../../model/vm.ts';
import { VM } from '../../plan/testing/sample-records.ts';
import { removedCertificates } from '../../request/member-certificates.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { CertificateKeeper } from './certificate-keeper.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LIFE_MS = 90 * DAY_MS;

/**
 * Machines that answer and accept as those in production do, an authority that counts, and time that a test controls.
 */
class World {
  readonly clock = new SimClock();
  readonly store = new MemoryStore();
  readonly machines = new Map<string, MachineIdentity>();
  readonly silent = new Set<string>();
  /** Machines that answer and can keep nothing. */
  readonly full = new Set<string>();
  readonly given: (readonly [string, IdentityOrder])[] = [];
  /** Called while a certificate is made. */
  meanwhile: () => void = () => undefined;
  issuer = 'first';
  readonly keeper: CertificateKeeper;
  #serials = 0;

  /** `intervalMs`: between two rounds; the days of some tests are long. */
  constructor(intervalMs = 300_000) {
    const world = this;
    this.keeper = new CertificateKeeper({
      clock: this.clock,
      log: { info: () => undefined, warn: () => undefined },
      store: this.store,
      intervalMs,
      identities: {
        read: async ({ kind, name }) => {
          const id = `${kind}:${name}`;
          if (this.silent.has(id)) throw new CodedError('unavailable', `${id} does not answer.`);
          return present(this.machines.get(id), id);
        },
        give: async ({ kind, name }, order) => {
          const id = `${kind}:${name}`;
          if (this.silent.has(id)) throw new CodedError('unavailable', `${id} does not answer.`);
          this.given.push([id, order]);
          if (this.full.has(id)) throw new CodedError('failed', 'No space left on device.');
          const before = present(this.machines.get(id), id);
          const certificate =
            order.certPem === null ? before.certificate : (JSON.parse(order.certPem) as IssuedCertificate);
          const authorities = before.authorities?.concat(order.authority?.certPem ?? []);
          this.machines.set(id, { ...before, certificate, trust: order.trust.tag, authorities });
        },
      },
      certifier: {
        caPem: 'ca',
        get bundle() {
          return String(world.store.authorities.get(AUTHORITIES)?.value.version ?? 0);
        },
        get issuer() {
          return world.store.authorities.get(AUTHORITIES)?.value.issuing ?? world.issuer;
        },
        keyOf: (id) => ({ certPem: id, keyPem: 'key' }),
        certify: async () => {
          this.meanwhile();
          const issued = this.certificate();
          return { certPem: JSON.stringify(issued), issued };
        },
      },
    });
  }

  certificate(): IssuedCertificate {
    const now = this.clock.wallMs();
    return {
      serial: `S${++this.#serials}`,
      notBefore: now,
      notAfter: now + LIFE_MS,
      authority: this.store.authorities.get(AUTHORITIES)?.value.issuing ?? this.issuer,
    };
  }

  /** A host, by default with a certificate that was recorded when it joined. */
  addHost(name: string, { isRecorded = true } = {}): string {
    const id = `host:${name}`;
    const certificate = this.certificate();
    const value = { name, addresses: { control: '10.0.0.1' } } as unknown as HostRecord;
    this.store.put({ kind: 'host', id: parseHostName(name), value });
    if (isRecorded)
      this.store.put({ kind: 'certificate', id, value: { id, issued: [certificate], denied: [], removed: null } });
    this.machines.set(id, { certificate, requestPem: 'request', trust: null });
    return id;
  }

  addStorage(name: string): void {
    const value = { name, addresses: { control: '10.0.0.2' } } as unknown as StorageRecord;
    this.store.put({ kind: 'storage', id: parseStorageName(name), value });
    this.machines.set(`storage:${name}`, { certificate: this.certificate(), requestPem: 'request', trust: null });
  }

  addControl(name: string): void {
    this.store.put({ kind: 'control', id: name, value: { name, address: '10.0.0.3', startedAt: 1 } });
    const said = { certificate: this.certificate(), requestPem: 'request', trust: null, authorities: ['first'] };
    this.machines.set(`control:${name}`, said);
  }

  /** Begins to change the authority, as people do. */
  rotate(): void {
    const entry = (id: string) => ({ id, certPem: id, crossPem: null, notAfter: LIFE_MS });
    this.store.put({
      kind: 'authority',
      id: AUTHORITIES,
      value: {
        ...{ id: AUTHORITIES, version: 1, phase: 'trusting', issuing: 'first', oldRuns: null },
        authorities: [entry('first'), entry('second')],
        since: this.clock.wallMs(),
      },
    });
    this.keeper.wake();
  }

  get phase(): string | undefined {
    return this.store.authorities.get(AUTHORITIES)?.value.phase;
  }

  record(id: string) {
    return this.store.certificates.get(id)?.value;
  }

  async turn(ms: number): Promise<void> {
    await this.clock.run(this.clock.monotonicMs() + ms);
  }

  remove(name: string): void {
    const basis = { now: this.clock.wallMs(), records: { certificates: this.store.certificates } };
    this.store.put(removedCertificates(basis, { kind: 'host', name }, { by: 'ann' }));
    this.store.put({ kind: 'host', id: parseHostName(name), value: null });
  }
}

test('a certificate is renewed after two thirds of its life, and recorded before it is handed out', async () => {
  const world = new World(HOUR_MS);
  const id = world.addHost('h1');
  world.keeper.start();
  await world.turn(60_000);
  assert.deepEqual(
    world.given.map(([to, { certPem }]) => [to, certPem]),
    [[id, null]],
    'what to trust is told once, and nothing is renewed',
  );
  await world.turn(60 * DAY_MS - 2 * HOUR_MS);
  assert.equal(world.given.length, 1);
  await world.turn(4 * HOUR_MS);
  const renewed = present(world.machines.get(id), id).certificate;
  assert.equal(renewed.serial, 'S2');
  assert.deepEqual(
    world.record(id)?.issued.map(({ serial }) => serial),
    ['S1', 'S2'],
  );
  assert.deepEqual(world.keeper.findings(), []);
});

test('a machine that an older version certified is taken up, and one of another authority is renewed', async () => {
  const world = new World();
  const id = world.addHost('h1', { isRecorded: false });
  world.keeper.start();
  await world.turn(301_000);
  assert.deepEqual(
    world.record(id)?.issued.map(({ serial }) => serial),
    ['S1', 'S2'],
  );
  const before = present(world.machines.get(id), id);
  world.machines.set(id, { ...before, certificate: { ...before.certificate, authority: 'another' } });
  await world.turn(700_000);
  assert.equal(present(world.machines.get(id), id).certificate.authority, 'first');
  assert.ok(isRenewalDue({ ...before.certificate, notAfter: before.certificate.notBefore + 825 * DAY_MS }, 0));
});

test('a removed machine is denied by all others at once, and renewed by nobody', async () => {
  const world = new World(HOUR_MS);
  const id = world.addHost('h1');
  world.addHost('h2');
  world.addStorage('s1');
  world.keeper.start();
  await world.turn(60_000);
  world.given.length = 0;
  world.remove('h1');
  world.keeper.wake();
  await world.turn(100);
  assert.deepEqual(world.given.map(([to]) => to).sort(), ['host:h2', 'storage:s1']);
  for (const [, { trust }] of world.given)
    assert.deepEqual(trust.denied, { identities: [id], certificates: [{ id, serial: 'S1' }] });
  await world.turn(61 * DAY_MS);
  assert.equal(present(world.machines.get(id), id).certificate.serial, 'S1', 'it is not renewed');
  assert.deepEqual(world.record(id)?.issued, []);
  await world.turn(40 * DAY_MS);
  assert.equal(world.record(id)?.removed?.by, 'ann', 'its name is denied for as long as a certificate can last');
});

test('a machine that is removed while its certificate is made does not get it', async () => {
  const world = new World(HOUR_MS);
  const id = world.addHost('h1');
  world.keeper.start();
  await world.turn(60_000);
  world.given.length = 0;
  world.meanwhile = () => world.remove('h1');
  await world.turn(60 * DAY_MS);
  assert.deepEqual(world.given, []);
  assert.notEqual(world.record(id)?.removed, null);
  // A leader that lost the race for the record hands out nothing either.
  const other = new World(HOUR_MS);
  other.addHost('h1');
  other.keeper.start();
  await other.turn(60_000);
  other.given.length = 0;
  other.meanwhile = () => other.store.results.push('conflict');
  await other.turn(60 * DAY_MS + 4 * HOUR_MS);
  assert.ok(other.given.every(([, { certPem }]) => certPem === null || other.record('host:h1')?.issued.length === 2));
});

test('a machine whose record went away in another way is denied as well', async () => {
  const world = new World();
  const id = world.addHost('h1');
  world.keeper.start();
  await world.turn(60_000);
  world.store.put({ kind: 'host', id: parseHostName('h1'), value: null });
  await world.turn(301_000);
  assert.equal(world.record(id)?.removed?.by, 'the leader');
});

test('a certificate that could not be renewed is an alarm and an event that names its machine', async () => {
  const world = new World();
  world.addHost('h1');
  world.keeper.start();
  await world.turn(60_000);
  world.silent.add('host:h1');
  await world.turn(62 * DAY_MS);
  assert.match(world.keeper.findings()[0]?.message ?? '', /^The certificate of host h1 ends in 2[78] days/);
  assert.deepEqual(
    world.store.events.map(({ kind }) => kind),
    ['certificate-ending'],
  );
  world.silent.delete('host:h1');
  await world.turn(700_000);
  assert.deepEqual(world.keeper.findings(), []);
});

test('the key of the next authority goes to control nodes only, whatever other machines say', async () => {
  const world = new World();
  world.addHost('h1');
  world.addStorage('s1');
  world.addControl('c1');
  for (const id of ['host:h1', 'storage:s1'])
    world.machines.set(id, { ...present(world.machines.get(id), id), authorities: [] });
  world.keeper.start();
  await world.turn(60_000);
  world.rotate();
  await world.turn(400_000);
  const got = world.given.filter(([, { authority }]) => authority !== undefined).map(([id]) => id);
  assert.deepEqual(got, ['control:c1']);
});

test('a machine that cannot keep a certificate is given the same one again, less and less often, and hears of denials', async () => {
  const world = new World();
  const id = world.addHost('h1');
  world.addHost('h2');
  world.keeper.start();
  await world.turn(60_000);
  world.full.add(id);
  await world.turn(60 * DAY_MS);
  const certificatesOf = (): readonly (string | null)[] =>
    world.given.flatMap(([to, { certPem }]) => (to === id && certPem !== null ? [certPem] : []));
  world.given.length = 0;
  await world.turn(3 * 3_600_000);
  assert.equal(new Set(certificatesOf()).size, 1);
  assert.ok(certificatesOf().length <= 12, String(certificatesOf().length));
  assert.equal(world.record(id)?.issued.length, 2, 'the one that it has, and the one that it is to take');
  world.given.length = 0;
  world.remove('h2');
  world.keeper.wake();
  await world.turn(20_000);
  assert.deepEqual(
    world.given.map(([to]) => to),
    [id],
    'it is told at once who is denied, whether it can keep it or not',
  );
  world.full.clear();
  await world.turn(2 * 3_600_000);
  assert.equal(present(world.machines.get(id), id).certificate.serial, world.record(id)?.issued.at(-1)?.serial);
});

test('a machine for which there is no certificate hears all the same who is denied', async () => {
  const world = new World();
  const id = world.addHost('h1');
  world.addHost('h2');
  world.keeper.start();
  await world.turn(60_000);
  const issued = Array.from({ length: 64 }, () => world.certificate());
  world.store.put({ kind: 'certificate', id, value: { id, issued, denied: [], removed: null } });
  const said = present(world.machines.get(id), id);
  world.machines.set(id, { ...said, certificate: { ...said.certificate, authority: 'another' } });
  await world.turn(700_000);
  world.given.length = 0;
  world.remove('h2');
  world.keeper.wake();
  await world.turn(400_000);
  const told = world.given.filter(([to, { certPem }]) => to === id && certPem === null);
  assert.deepEqual(told[0]?.[1].trust.denied.identities, ['host:h2']);
});

test('what a machine says of its certificate denies nobody else, and counts for no longer than one can last', async () => {
  const world = new World();
  world.addControl('c1');
  const id = world.addHost('h1', { isRecorded: false });
  world.keeper.start();
  await world.turn(1_000);
  const stolen = present(world.machines.get('control:c1'), 'c1').certificate;
  assert.ok(world.record('control:c1')?.issued.some(({ serial }) => serial === stolen.serial));
  const say = (certificate: Partial<IssuedCertificate>): void => {
    const said = present(world.machines.get(id), id);
    world.machines.set(id, { ...said, certificate: { ...said.certificate, ...certificate } });
  };
  say({ serial: stolen.serial });
  await world.turn(700_000);
  assert.ok(!world.record(id)?.issued.some(({ serial }) => serial === stolen.serial), 'it is held by c1');
  say({ serial: 'F00D', notAfter: Number.MAX_SAFE_INTEGER });
  await world.turn(700_000);
  await world.turn(700_000);
  const said = present(
    world.record(id)?.issued.find(({ serial }) => serial === 'F00D'),
    'it can be denied',
  );
  assert.ok(said.notAfter <= world.clock.wallMs() + 91 * DAY_MS);
});

test('how much of a certificate’s life is left is said in words', () => {
  const certificate = { serial: 'S', notBefore: 0, notAfter: LIFE_MS, authority: 'first' };
  assert.equal(certificateFinding('host h1', certificate, 60 * DAY_MS), null);
  assert.match(certificateFinding('host h1', certificate, 91 * DAY_MS) ?? '', /has ended/);
});

const guest = (generation: number): VmRecord =>
  ({ id: VM, name: 'web', generation, phase: { kind: 'running' } }) as unknown as VmRecord;

test('the authority changes while machines run: trust, renew, drop; a machine that is silent holds it up and is named', async () => {
  const world = new World();
  world.addHost('h1');
  world.addStorage('s1');
  world.addControl('c1');
  world.addControl('c2');
  world.keeper.start();
  await world.turn(60_000);
  world.silent.add('host:h1');
  world.rotate();
  await world.turn(400_000);
  assert.equal(world.phase, 'trusting', 'nobody may be left behind');
  assert.deepEqual(world.keeper.rotationWaitsFor(), ['host h1 does not answer.']);
  assert.deepEqual(world.machines.get('control:c2')?.authorities, ['first', 'second'], 'the key is there already');
  assert.equal(world.machines.get('host:h1')?.certificate.authority, 'first');
  world.silent.delete('host:h1');
  world.store.put({ kind: 'vm', id: VM, value: guest(7) });
  await world.turn(1_200_000);
  assert.equal(world.phase, 'renewing');
  for (const [id, { certificate }] of world.machines) assert.equal(certificate.authority, 'second', id);
  await world.turn(OLD_TRUSTED_MS + 1_200_000);
  assert.equal(world.phase, 'renewing', 'a QEMU of before still runs');
  assert.deepEqual(world.keeper.rotationWaitsFor(), ['VM web has run since before: move it (gp vm migrate web).']);
  // Another leader continues where this one stopped.
  world.store.put({ kind: 'vm', id: VM, value: guest(8) });
  await world.turn(1_200_000);
  assert.equal(world.phase, 'steady');
  assert.deepEqual(
    world.store.events.map(({ kind }) => kind),
    ['authority', 'authority'],
  );
  await world.turn(1_200_000);
  assert.deepEqual(world.keeper.rotationWaitsFor(), []);
});
