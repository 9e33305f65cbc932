/** The lists of OpenStack that are read, by their names in the APIs. */
export const LISTS = [
  'servers',
  'flavors',
  'hypervisors',
  'services',
  'server_groups',
  'aggregates',
  'volumes',
  'volumeAttachments',
  'ports',
] as const;

/** The name of a list. */
export type List = (typeof LISTS)[number];
