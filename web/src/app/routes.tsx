/** Every page and its address. A page's code is loaded when somebody goes there. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet } from '@tanstack/react-router';
import { Problem } from '../ui/page.tsx';
import { parseSearch, searchText } from '../ui/search.ts';
import { Shell } from './shell.tsx';

const root = createRootRoute({ component: Outlet });
const shell = createRoute({ getParentRoute: () => root, id: 'shell', component: Shell });
const inShell = { getParentRoute: () => shell } as const;

const logIn = createRoute({
  ...{ getParentRoute: () => root, path: '/login' },
  component: lazyRouteComponent(() => import('../pages/log-in/log-in-page.tsx'), 'LogInPage'),
});
const pages = [
  createRoute({
    ...{ ...inShell, path: '/' },
    component: lazyRouteComponent(() => import('../pages/cluster/cluster-page.tsx'), 'ClusterPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/hosts' },
    component: lazyRouteComponent(() => import('../pages/hosts/hosts-page.tsx'), 'HostsPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/hosts/$host' },
    component: lazyRouteComponent(() => import('../pages/hosts/host-page.tsx'), 'HostPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/vms' },
    component: lazyRouteComponent(() => import('../pages/vms/vms-page.tsx'), 'VmsPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/vms/new' },
    component: lazyRouteComponent(() => import('../pages/vms/create-vm-page.tsx'), 'CreateVmPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/vms/$vm' },
    component: lazyRouteComponent(() => import('../pages/vms/vm-page.tsx'), 'VmPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/guest-clusters' },
    component: lazyRouteComponent(() => import('../pages/guest-clusters/guest-clusters-page.tsx'), 'GuestClustersPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/guest-clusters/$guestCluster' },
    component: lazyRouteComponent(() => import('../pages/guest-clusters/guest-cluster-page.tsx'), 'GuestClusterPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/maintenance' },
    component: lazyRouteComponent(() => import('../pages/maintenance/maintenance-page.tsx'), 'MaintenancePage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/maintenance/plan' },
    component: lazyRouteComponent(() => import('../pages/maintenance/plan-page.tsx'), 'PlanPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/maintenance/rolls' },
    component: lazyRouteComponent(() => import('../pages/maintenance/rolls-page.tsx'), 'RollsPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/maintenance/rolls/$roll' },
    component: lazyRouteComponent(() => import('../pages/maintenance/roll-page.tsx'), 'RollPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/maintenance/$drain' },
    component: lazyRouteComponent(() => import('../pages/maintenance/drain-page.tsx'), 'DrainPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/events' },
    component: lazyRouteComponent(() => import('../pages/events/events-page.tsx'), 'EventsPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/tasks' },
    component: lazyRouteComponent(() => import('../pages/tasks/tasks-page.tsx'), 'TasksPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/ties' },
    component: lazyRouteComponent(() => import('../pages/ties/ties-page.tsx'), 'TiesPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/storage' },
    component: lazyRouteComponent(() => import('../pages/storage/storage-page.tsx'), 'StoragePage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/networks' },
    component: lazyRouteComponent(() => import('../pages/networks/networks-page.tsx'), 'NetworksPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/storage/$node' },
    component: lazyRouteComponent(() => import('../pages/storage/storage-node-page.tsx'), 'StorageNodePage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/networks/$network' },
    component: lazyRouteComponent(() => import('../pages/networks/network-page.tsx'), 'NetworkPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/images' },
    component: lazyRouteComponent(() => import('../pages/images/images-page.tsx'), 'ImagesPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/images/$image' },
    component: lazyRouteComponent(() => import('../pages/images/image-page.tsx'), 'ImagePage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/faults' },
    component: lazyRouteComponent(() => import('../pages/faults/faults-page.tsx'), 'FaultsPage'),
  }),
  createRoute({
    ...{ ...inShell, path: '/settings' },
    component: lazyRouteComponent(() => import('../pages/settings/settings-page.tsx'), 'SettingsPage'),
  }),
] as const;

/** The router of the application. */
export const router = createRouter({
  routeTree: root.addChildren([logIn, shell.addChildren([...pages])]),
  parseSearch,
  stringifySearch: searchText,
  defaultErrorComponent: ({ error }) => <Problem error={error} />,
  defaultPreload: 'intent',
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
