/** How many objects a page of a list has. A module without schemas, because the client loads it. */

/** At most. */
export const PAGE_ITEMS_MAX = 1_000;
/** Where the request does not say. */
export const PAGE_ITEMS_DEFAULT = 100;
