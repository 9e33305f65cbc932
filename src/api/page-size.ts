/** Page sizes of lists. This module has no schemas, because the client loads it. */

/** The most objects that one page can have. */
export const PAGE_ITEMS_MAX = 1_000;
/** Objects per page if the request does not give a limit. */
export const PAGE_ITEMS_DEFAULT = 100;
