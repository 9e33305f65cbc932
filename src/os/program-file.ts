/** The places of the project's programs: sources in a clone, bundles in an installed package, in the same folders. */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Returns the file of a program. `path`: relative to the module whose `import.meta.url` is `from`, without an extension,
 * which is the same for all programs of a clone or a package.
 */
export function programFile(path: string, from: string): string {
  return fileURLToPath(new URL(`${path}${extname(fileURLToPath(from))}`, from));
}

/** Whether this is an installed package: bundles, without sources and without the files that only a clone has. */
export function isPackaged(from: string): boolean {
  return extname(fileURLToPath(from)) !== '.ts';
}
