/** The answers to guests: the requests are those that azure-events-az in resource-agents 4.12 was seen to send. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmId } from '../../base/ids.ts';
import { noticeEventId, noticeIncarnation } from '../model/move-notice.ts';
import type { MetadataGuest } from '../ports/host-link.ts';
import { HostGuests } from './host-guests.ts';
import { answerMetadata, type MetadataAnswer, type MetadataRequest } from './metadata-answer.ts';

const VM = 'vm-0000000000b1' as VmId;
const ID = noticeEventId(VM, { number: 1 });
const GUEST: MetadataGuest = {
  vm: VM,
  name: 'sql1',
  vni: 5_000,
  address: '10.20.0.10',
  incarnation: 2,
  event: { id: ID, state: 'scheduled', notBefore: Date.parse('2026-11-30T18:29:47Z') },
};
const OTHER: MetadataGuest = { ...GUEST, name: 'sql2', address: '10.20.0.11', incarnation: 1, event: null };

function ask(guest: MetadataGuest, more: Partial<MetadataRequest> = {}, guests = known()): MetadataAnswer {
  const url = '/metadata/scheduledevents?api-version=2019-08-01';
  return answerMetadata(guests, guest, { method: 'GET', url, headers: { metadata: 'true' }, body: '', ...more });
}

function known(): HostGuests {
  const guests = new HostGuests();
  guests.planned({ networks: [], guests: [GUEST, OTHER] });
  return guests;
}

test('a guest is told its own event in the shape of Azure', () => {
  assert.deepEqual(ask(GUEST), {
    status: 200,
    json: {
      DocumentIncarnation: 2,
      Events: [
        {
          EventId: '00000000-0000-8000-8001-0000000000b1',
          EventType: 'Freeze',
          ResourceType: 'VirtualMachine',
          Resources: ['sql1'],
          EventStatus: 'Scheduled',
          NotBefore: 'Mon, 30 Nov 2026 18:29:47 GMT',
          Description: 'The virtual machine is about to be moved to another host.',
          EventSource: 'Platform',
          DurationInSeconds: -1,
        },
      ],
    },
  });
  const started = { ...GUEST, event: { id: ID, state: 'started', notBefore: 0 } } as const;
  const { Events: [event] = [] } = ask(started).json as { Events?: Record<string, unknown>[] };
  assert.deepEqual([event?.['EventStatus'], event?.['NotBefore']], ['Started', '']);
  assert.deepEqual(ask(OTHER).json, { DocumentIncarnation: 1, Events: [] });
});

test('a guest is told who it is', () => {
  const { json } = ask(GUEST, { url: '/metadata/instance?api-version=2019-08-01' });
  assert.equal((json as { compute: { name: string } }).compute.name, 'sql1');
});

test('an acknowledgement is noted once, for the guest’s own event alone', () => {
  const guests = known();
  const post = (guest: MetadataGuest, ...ids: string[]): number =>
    ask(guest, { method: 'POST', body: JSON.stringify({ StartRequests: ids.map((EventId) => ({ EventId })) }) }, guests)
      .status;
  assert.equal(post(OTHER, ID), 400);
  assert.equal(post(GUEST, 'another'), 400);
  assert.equal(post(GUEST, ID, 'another'), 400);
  assert.deepEqual(guests.acknowledged, []);
  assert.equal(post(GUEST, ID), 200);
  assert.equal(post(GUEST, ID), 200);
  assert.deepEqual(guests.acknowledged, [ID]);
  guests.planned({ networks: [], guests: [{ ...GUEST, incarnation: 3 }] });
  assert.deepEqual(guests.acknowledged, [ID]);
  // An event that the plan no longer names is over.
  guests.planned({ networks: [], guests: [{ ...GUEST, incarnation: 4, event: null }] });
  assert.deepEqual(guests.acknowledged, []);
});

test('what is no request of a guest’s own software is refused', () => {
  const start = { method: 'POST', body: '{}' };
  const rows: readonly (readonly [number, Partial<MetadataRequest>])[] = [
    [400, { headers: {} }],
    [400, { headers: { metadata: 'false' } }],
    [400, { headers: { metadata: 'true', 'x-forwarded-for': '10.0.0.1' } }],
    [400, { url: '/metadata/scheduledevents' }],
    [400, { url: '/metadata/scheduledevents?api-version=' }],
    [400, { url: '/metadata/scheduledevents?api-version=2011-01-01' }],
    [400, { url: '/metadata/scheduledevents?api-version=latest' }],
    [404, { url: '/metadata/identity?api-version=2019-08-01' }],
    [404, { url: '/?api-version=2019-08-01' }],
    [404, { url: '/metadata/../etc/passwd?api-version=2019-08-01' }],
    [405, { method: 'DELETE' }],
    [405, { method: 'POST', url: '/metadata/instance?api-version=2019-08-01' }],
    [400, start],
    [400, { ...start, body: 'null' }],
    [400, { ...start, body: '{"StartRequests":' }],
    [400, { ...start, body: '{"StartRequests": [1]}' }],
    [400, { ...start, body: '{"StartRequests": []}' }],
    [400, { ...start, body: JSON.stringify({ StartRequests: Array(17).fill({ EventId: ID }) }) }],
  ];
  for (const [status, more] of rows) assert.equal(ask(GUEST, more).status, status, JSON.stringify(more));
});

test('guests are found by network and address', () => {
  const guests = known();
  assert.equal(guests.find(5_000, '10.20.0.11')?.name, 'sql2');
  assert.equal(guests.find(5_001, '10.20.0.11'), null);
  guests.planned({ networks: [] });
  assert.equal(guests.find(5_000, '10.20.0.11'), null);
});

test('the number of what a guest is shown grows with each change, and an event’s id is a UUID of its own', () => {
  const shown = [1, 2, 3].flatMap((number) =>
    (['scheduled', 'started', 'over'] as const).map((state) => noticeIncarnation({ number, state })),
  );
  assert.deepEqual([noticeIncarnation(undefined), ...shown], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.match(ID, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  const ids = [1, 2, 0xfff, 0x1000, 2 ** 52].map((number) => noticeEventId(VM, { number }));
  assert.equal(new Set(ids).size, ids.length);
});
