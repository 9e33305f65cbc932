/** Answers of the API that are read one by one; live/derived.ts says which changes make them old. */
import { queryOptions } from '@tanstack/react-query';
import { dataOf, http } from './client.ts';
import type { Tie, TiePage } from './types.ts';

const FRESH = { staleTime: Number.POSITIVE_INFINITY } as const;
/** For answers whose changes are not announced: they are read again when somebody looks again. */
const PASSING = { staleTime: 5_000 } as const;

/** The summary of the cluster. */
export const clusterQuery = queryOptions({
  ...{ queryKey: ['overview', 'cluster'], ...FRESH },
  queryFn: ({ signal }) => dataOf(http.GET('/v1/cluster', { signal })),
});

/** A VM with the observations behind its verdict. */
export const vmQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm', vm], ...PASSING },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/vms/{vm}', { params: { path: { vm } }, signal })),
  });

/** A host, with its drain blockers read anew. */
export const hostQuery = (host: string) =>
  queryOptions({
    ...{ queryKey: ['host', host], ...PASSING },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/hosts/{host}', { params: { path: { host } }, signal })),
  });

/** A drain with its moves. */
export const drainQuery = (drain: string) =>
  queryOptions({
    ...{ queryKey: ['drain', drain], ...PASSING },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/drains/{drain}', { params: { path: { drain } }, signal })),
  });

/** The result of draining a host now. */
export const drainPlanQuery = (host: string, parallel: number) =>
  queryOptions({
    ...{ queryKey: ['host', host, 'drain-plan', parallel], ...PASSING, retry: false },
    queryFn: ({ signal }) =>
      dataOf(http.POST('/v1/hosts/{host}/drain-plan', { params: { path: { host } }, body: { parallel }, signal })),
  });

/** The latest events of one VM, oldest first. */
export const vmEventsQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm', vm, 'events'], ...PASSING },
    queryFn: async ({ signal }) => {
      const query = { limit: 500 };
      const page = await dataOf(http.GET('/v1/vms/{vm}/events', { params: { path: { vm }, query }, signal }));
      return page.items;
    },
  });

/** The end of what a VM wrote to its serial console. */
export const vmLogQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm', vm, 'log'], ...PASSING, retry: false },
    queryFn: ({ signal }) =>
      dataOf(http.GET('/v1/vms/{vm}/log', { params: { path: { vm }, query: { lines: 200 } }, signal })),
  });

/** What the guest of a VM says of itself. */
export const vmGuestQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm', vm, 'guest'], ...PASSING, retry: false },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/vms/{vm}/guest', { params: { path: { vm } }, signal })),
  });

/** How often a VM's use of resources is read while its page is in sight, in ms. */
const FIGURES_MS = 2_000;

/** A VM's use of resources: counters, which no event announces. */
export const vmFiguresQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm-figures', vm], gcTime: 0, staleTime: 0, retry: false },
    ...{ refetchInterval: FIGURES_MS, refetchIntervalInBackground: false },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/vms/{vm}/figures', { params: { path: { vm } }, signal })),
  });

/** A guest cluster. */
export const guestClusterQuery = (guestCluster: string) =>
  queryOptions({
    ...{ queryKey: ['guest-cluster', guestCluster], ...PASSING },
    queryFn: ({ signal }) =>
      dataOf(http.GET('/v1/guest-clusters/{guestCluster}', { params: { path: { guestCluster } }, signal })),
  });

/** The most of a list that a settings page shows. */
const query = { limit: 1_000 };

/** All ties and debts. Their number is bounded: each object has a few at most. */
export const tiesQuery = queryOptions({
  ...{ queryKey: ['ties'], ...PASSING },
  queryFn: async ({ signal }) => {
    const ties: Tie[] = [];
    let after: string | null = null;
    do {
      const page: TiePage = await dataOf(
        http.GET('/v1/ties', { params: { query: after === null ? query : { ...query, after } }, signal }),
      );
      ties.push(...page.items);
      after = page.next;
    } while (after !== null);
    return ties;
  },
});

/** API tokens. */
export const tokensQuery = queryOptions({
  ...{ queryKey: ['tokens'], ...PASSING },
  queryFn: async ({ signal }) => (await dataOf(http.GET('/v1/tokens', { params: { query }, signal }))).items,
});

/** The sessions of everybody who is logged in. */
export const sessionsQuery = queryOptions({
  ...{ queryKey: ['sessions'], ...PASSING },
  queryFn: async ({ signal }) => (await dataOf(http.GET('/v1/sessions', { params: { query }, signal }))).items,
});

/** The actions that a VM allows now, and the reasons against the others. */
export const vmActionsQuery = (vm: string) =>
  queryOptions({
    ...{ queryKey: ['vm', vm, 'actions'], ...PASSING },
    queryFn: async ({ signal }) =>
      (await dataOf(http.GET('/v1/vms/{vm}/actions', { params: { path: { vm } }, signal }))).actions,
  });

/** The actions that a host allows now, and the reasons against the others. */
export const hostActionsQuery = (host: string) =>
  queryOptions({
    ...{ queryKey: ['host', host, 'actions'], ...PASSING },
    queryFn: async ({ signal }) =>
      (await dataOf(http.GET('/v1/hosts/{host}/actions', { params: { path: { host } }, signal }))).actions,
  });

/** The actions that a drain allows now, and the reasons against the others. */
export const drainActionsQuery = (drain: string) =>
  queryOptions({
    ...{ queryKey: ['drain', drain, 'actions'], ...PASSING },
    queryFn: async ({ signal }) =>
      (await dataOf(http.GET('/v1/drains/{drain}/actions', { params: { path: { drain } }, signal }))).actions,
  });

/** A roll with its hosts. */
export const rollQuery = (roll: string) =>
  queryOptions({
    ...{ queryKey: ['roll', roll], ...PASSING },
    queryFn: ({ signal }) => dataOf(http.GET('/v1/rolls/{roll}', { params: { path: { roll } }, signal })),
  });

/** The actions that a roll allows now, and the reasons against the others. */
export const rollActionsQuery = (roll: string) =>
  queryOptions({
    ...{ queryKey: ['roll', roll, 'actions'], ...PASSING },
    queryFn: async ({ signal }) =>
      (await dataOf(http.GET('/v1/rolls/{roll}/actions', { params: { path: { roll } }, signal }))).actions,
  });

/** The session of this browser. */
export const sessionQuery = queryOptions({
  ...{ queryKey: ['session'], ...PASSING },
  queryFn: ({ signal }) => dataOf(http.GET('/v1/session', { signal })),
});

/**
 * How often the lab is read while its page is in sight, in ms: the lab is no part of the cluster, which announces
 * nothing about it.
 */
const LAB_MS = 2_000;

/** The machines of a one-machine cluster and what may be done to them. */
export const labQuery = queryOptions({
  ...{ queryKey: ['lab'], retry: false, refetchInterval: LAB_MS, refetchIntervalInBackground: false },
  queryFn: ({ signal }) => dataOf(http.GET('/v1/lab', { signal })),
});
