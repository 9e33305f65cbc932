/**
 * The answers of the metadata service, in the format of Azure's Instance Metadata Service as far as `azure-events-az`
 * of Debian's package `resource-agents` 4.12 and agents like it need it. Pure.
 *   GET  /metadata/instance?api-version=DATE          who the guest is
 *   GET  /metadata/scheduledevents?api-version=DATE   what is about to happen to it
 *   POST /metadata/scheduledevents?api-version=DATE   {"StartRequests": [{"EventId": ID}]}: it may happen now
 * Guarantees: every request needs `Metadata: true` and no `X-Forwarded-For`, so that neither a page in a browser nor a
 * proxy in the guest can be made to ask; the answer depends on the guest that asks alone.
 * Sources: learn.microsoft.com, "Azure Instance Metadata Service" and "Scheduled Events for Linux VMs" (2020-07-01).
 */
import type { MetadataGuest } from '../ports/host-link.ts';
import { type HostGuests, UnknownEvent } from './host-guests.ts';

/** A request as far as the answer depends on it; names of headers in lower case. */
export interface MetadataRequest {
  readonly method: string;
  /** Path and query as the guest wrote them. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

export interface MetadataAnswer {
  readonly status: 200 | 400 | 404 | 405;
  readonly json: unknown;
}

/** Events that one request acknowledges: a guest is told of one event at a time. */
const START_REQUESTS_MAX = 16;
/** The first version with what is answered here. */
const VERSION_MIN = '2017-08-01';

/** Answers a request of a guest, and notes what it acknowledges. */
export function answerMetadata(guests: HostGuests, guest: MetadataGuest, request: MetadataRequest): MetadataAnswer {
  const { method, url, headers } = request;
  if (headers['metadata'] !== 'true') return refusal('The header "Metadata: true" is missing.');
  if (headers['x-forwarded-for'] !== undefined) return refusal('Requests through a proxy are not served.');
  const [path = '', query = ''] = url.split('?', 2);
  const answer = answerOf(path.toLowerCase().replace(/\/$/, ''));
  if (answer === null) return { status: 404, json: { error: 'Not found' } };
  const version = /(?:^|&)api-version=([^&]*)/.exec(query)?.[1];
  if (version === undefined || !/^\d{4}-\d\d-\d\d$/.test(version) || version < VERSION_MIN)
    return refusal(`The query must have api-version=DATE, ${VERSION_MIN} or later, such as 2020-07-01.`);
  if (method === 'GET') return { status: 200, json: answer(guest) };
  if (method !== 'POST' || answer !== scheduledEvents) return { status: 405, json: { error: 'Method not allowed' } };
  return start(guests, guest, request.body);
}

function answerOf(path: string): ((guest: MetadataGuest) => unknown) | null {
  if (path === '/metadata/instance') return instance;
  return path === '/metadata/scheduledevents' ? scheduledEvents : null;
}

function instance({ name, vm, address }: MetadataGuest): unknown {
  return {
    compute: { name, vmId: vm, provider: 'Groundplane' },
    network: { interface: [{ ipv4: { ipAddress: [{ privateIpAddress: address, publicIpAddress: '' }] } }] },
  };
}

function scheduledEvents({ name, incarnation, event }: MetadataGuest): unknown {
  return {
    DocumentIncarnation: incarnation,
    Events:
      event === null
        ? []
        : [
            {
              EventId: event.id,
              EventType: 'Freeze',
              ResourceType: 'VirtualMachine',
              Resources: [name],
              EventStatus: event.state === 'scheduled' ? 'Scheduled' : 'Started',
              // RFC 9110, section 5.6.7: GMT.
              NotBefore: event.state === 'scheduled' ? new Date(event.notBefore).toUTCString() : '',
              Description: 'The virtual machine is about to be moved to another host.',
              EventSource: 'Platform',
              DurationInSeconds: -1,
            },
          ],
  };
}

function start(guests: HostGuests, guest: MetadataGuest, body: string): MetadataAnswer {
  const ids = startRequests(body);
  if (ids === null) return refusal('The body must be {"StartRequests": [{"EventId": "..."}]}.');
  try {
    guests.acknowledge(guest, ids);
  } catch (error) {
    if (error instanceof UnknownEvent) return refusal(error.message);
    throw error;
  }
  return { status: 200, json: {} };
}

/** The events that a body names; null: it names none in the right form. */
function startRequests(body: string): readonly string[] | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return null;
  }
  const requests = propertyOf(parsed, 'StartRequests');
  if (!Array.isArray(requests) || requests.length === 0 || requests.length > START_REQUESTS_MAX) return null;
  const ids = requests.map((request: unknown) => propertyOf(request, 'EventId'));
  return ids.every((id): id is string => typeof id === 'string' && id.length <= 100) ? ids : null;
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function refusal(message: string): MetadataAnswer {
  return { status: 400, json: { error: `Bad request. ${message}` } };
}
