/**
 * Chooses where the compiled code of a cluster's programs is kept: beside the packages, for all clusters of a user who
 * may write there (the code of `gp` itself is there, too), else in the cluster's own directory. Node keeps an entry for
 * each source and checks it against the source's text; it replaces entries whole, so that clusters side by side disturb
 * nobody.
 */

import { accessSync, constants, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { LabLayout } from './layout.ts';

const BESIDE_PACKAGES = fileURLToPath(new URL('../../node_modules/.cache/groundplane', import.meta.url));

/** The directory for NODE_COMPILE_CACHE of everything that runs in a cluster. `shared`: the one that is preferred. */
export function codeCacheDir({ cacheDir }: Pick<LabLayout, 'cacheDir'>, shared: string = BESIDE_PACKAGES): string {
  try {
    mkdirSync(shared, { recursive: true });
    accessSync(shared, constants.R_OK | constants.W_OK | constants.X_OK);
    return shared;
  } catch {
    return cacheDir;
  }
}
