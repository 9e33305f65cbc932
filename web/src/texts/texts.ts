/** Every text of the interface that does not come from the API, in one place. */
export const TEXTS = {
  product: 'Groundplane',
  live: {
    connecting: 'Connecting…',
    live: 'Live',
    lost: 'Connection lost. What you see is as of then; trying again…',
    'logged-out': 'Logged out',
    outdated: 'Groundplane was upgraded.',
    reload: 'Reload',
  },
} as const;
