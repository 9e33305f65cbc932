/** Page sizes of lists. This module has no schemas, because the client loads it. */

/** The most objects that one page can have. */
export const PAGE_ITEMS_MAX = 1_000;
/** Objects per page if the request does not give a limit. */
export const PAGE_ITEMS_DEFAULT = 100;

/** The most rows of a page of an overview: about 0.5 MB of JSON, some milliseconds of work. */
export const ROWS_MAX = 5_000;
