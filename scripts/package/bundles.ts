/**
 * The programs of the package: each role's entry point as a bundle, with the code that several of them use in chunks
 * beside them. Guarantees: the same sources and packages give the same bytes, in whatever folder the clone is.
 */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

/** The entry points, by their places in src/ and in the package's lib/. */
const ENTRIES = ['cli/main', 'control/main', 'storage/main', 'agent/main', 'iscsi/main', 'install/configure-role'];
/** Files that are read beside the module that uses them: in a bundle that module is in a chunk. */
const BESIDE_CHUNKS = ['src/images/debian-customize.sh', 'src/images/guest-cluster-customize.sh'];

const COMMON = {
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  legalComments: 'none',
  logLevel: 'error',
  outExtension: { '.js': '.mjs' },
  // What npm packages in CommonJS require at run time.
  banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
} satisfies BuildOptions;

/** An npm package whose code is in the bundles. */
export interface Bundled {
  readonly name: string;
  readonly version: string;
  /** SPDX. */
  readonly license: string;
  /** The text of its licence; null if the package has none. */
  readonly text: string | null;
}

/** The programs report the version of the package. */
function versioned(version: string): Plugin {
  return {
    name: 'version',
    setup: (bundle) =>
      bundle.onLoad({ filter: /\/src\/base\/version\.ts$/ }, async ({ path }) => {
        const source = await readFile(path, 'utf8');
        const contents = source.replace(/(VERSION = )'[^']*'/, (_, before: string) => `${before}'${version}'`);
        return { contents, loader: 'ts' };
      }),
  };
}

/**
 * Writes lib/ and node_modules/ below `directory`, as programs of that version. Returns the npm packages that are in
 * them, by name.
 */
export async function writeBundles(
  root: string,
  { directory, version }: { readonly directory: string; readonly version: string },
): Promise<readonly Bundled[]> {
  const programs = await build({
    ...COMMON,
    plugins: [versioned(version)],
    absWorkingDir: root,
    entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
    outbase: 'src',
    outdir: join(directory, 'lib'),
    splitting: true,
    chunkNames: 'chunks/[hash]',
    metafile: true,
  });
  // `require` loads it when a text needs it (cli/table.ts), hence by its name.
  const widths = await build({
    ...COMMON,
    absWorkingDir: root,
    entryPoints: { index: 'string-width' },
    outdir: join(directory, 'node_modules/string-width'),
    metafile: true,
  });
  const manifest = { name: 'string-width', type: 'module', exports: './index.mjs' };
  await writeFile(join(directory, 'node_modules/string-width/package.json'), `${JSON.stringify(manifest)}\n`);
  for (const file of BESIDE_CHUNKS) {
    await mkdir(join(directory, 'lib/chunks'), { recursive: true });
    await cp(join(root, file), join(directory, 'lib/chunks', file.slice(file.lastIndexOf('/') + 1)));
  }
  await cp(join(root, 'guest'), join(directory, 'guest'), { recursive: true });
  const inputs = [...Object.keys(programs.metafile.inputs), ...Object.keys(widths.metafile.inputs)];
  return packagesOf(root, inputs);
}

async function packagesOf(root: string, inputs: readonly string[]): Promise<readonly Bundled[]> {
  const folders = new Set(
    inputs.flatMap((input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? []),
  );
  return Promise.all([...folders].sort().map((folder) => bundledOf(join(root, folder))));
}

/** Returns the name, version and licence of an npm package. */
export async function bundledOf(folder: string): Promise<Bundled> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Bundled;
  if (license === undefined) throw new Error(`The npm package ${name} names no licence.`);
  return { name, version, license, text: await licenceText(folder) };
}

async function licenceText(folder: string): Promise<string | null> {
  for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license', 'LICENCE', 'license.md']) {
    const text = await readFile(join(folder, file), 'utf8').catch(() => null);
    if (text !== null) return text;
  }
  return null;
}

/** Writes a file and the folders above it. */
export async function put(file: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content, { mode });
}
