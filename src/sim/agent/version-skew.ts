/**
 * Agents and controllers of the version before and of the one after this, as far as their words differ
 * (docs/decisions/0011-versions-side-by-side.md). Each wraps an agent's service: `olderAgent` and `newerAgent` what it
 * is, `olderControl` and `newerControl` who talks to it. Guarantees: nothing but fields and features differs; the
 * decisions are this version's.
 */
import { isRecord } from '../../rpc/parse.ts';
import type { WireRequest, WireService } from '../network/wire.ts';

/** A feature that this version does not have and the next one does. */
const FUTURE_FEATURE = 'future-feature';

/**
 * The fields without which words of an older version come: all that have a default. A path names fields from the
 * outside in; arrays are passed through.
 */
export const ADDED_TO_ANSWERS = [
  'agentVersion',
  'qemuVersion',
  'capacity.cpuModels',
  'wallMs',
  'acknowledgedNotices',
  'already',
  'listens',
] as const;
export const ADDED_TO_ORDERS = [
  'network.networks.metadata',
  'network.members',
  'network.guests',
  'needs',
  'receives',
  'reason',
  'networks.metadata',
  'members',
  'guests',
] as const;

/** What the next version says in every object. */
const UNKNOWN = { futureField: { some: ['value', 1, null] } };

/**
 * An agent of the version before: it does not know the newest fields of orders, and does not say the newest of answers.
 */
export function olderAgent(service: WireService): WireService {
  return async (request) => {
    // `needs` it knows: that is what makes all other additions possible.
    const orders = ADDED_TO_ORDERS.filter((field) => field !== 'needs');
    return without(await service(withBody(request, (body) => without(body, orders))), ADDED_TO_ANSWERS);
  };
}

/** An agent of the version after: it has FUTURE_FEATURE, and says more than anybody here knows. */
export function newerAgent(service: WireService): WireService {
  return async (request) => withMore(await service(withBody(request, withoutFuture)));
}

/** A controller of the version before. */
export function olderControl(service: WireService): WireService {
  return async (request) =>
    without(await service(withBody(request, (body) => without(body, ADDED_TO_ORDERS))), ADDED_TO_ANSWERS);
}

/** A controller of the version after; its launches need FUTURE_FEATURE where `needs` says so. */
export function newerControl(service: WireService, { needs }: { readonly needs: () => boolean }): WireService {
  return (request) =>
    service(
      withBody(request, (body) => {
        const more = withMore(body);
        const isLaunch = request.path === '/v1/launch' && isRecord(more);
        return isLaunch && needs() ? { ...more, needs: [FUTURE_FEATURE] } : more;
      }),
    );
}

function withBody(request: WireRequest, change: (body: unknown) => unknown): WireRequest {
  return request.body === undefined ? request : { ...request, body: change(request.body) };
}

function withoutFuture(body: unknown): unknown {
  if (!isRecord(body) || !Array.isArray(body['needs'])) return body;
  return { ...body, needs: body['needs'].filter((feature) => feature !== FUTURE_FEATURE) };
}

/** A copy with unknown fields in every object. */
function withMore(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withMore);
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([field, inner]) => [field, withMore(inner)]);
  return { ...Object.fromEntries(entries), ...UNKNOWN };
}

/** A copy without the fields at these paths. */
function without(value: unknown, paths: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => without(item, paths));
  if (!isRecord(value)) return value;
  const kept = Object.entries(value).filter(([field]) => !paths.includes(field));
  const entries = kept.map(([field, inner]) => {
    const inside = paths.filter((path) => path.startsWith(`${field}.`)).map((path) => path.slice(field.length + 1));
    return [field, inside.length > 0 ? without(inner, inside) : inner];
  });
  return Object.fromEntries(entries);
}
