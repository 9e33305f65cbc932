/**
 * Builds the web interface (web/) into the folder dist beside its sources, where they changed since the last time.
 * Guarantees: the folder is always complete: the build goes to a folder beside it, which two renames put into place;
 * every file that compresses well is also stored compressed, so that no control node compresses anything; build.json
 * names the sources by their hash.
 * Exit status: 0 the interface is built; 1 it could not be built.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { root } from './lib/steps.ts';

/** The files that the build reads. */
const SOURCES = [
  'web',
  'src/api',
  'src/base',
  'src/client',
  'src/core/model',
  'src/core/maintenance/approved-text.ts',
  'src/cli/maintenance',
  'src/cli/units.ts',
  'package-lock.json',
];
const NOT_SOURCES = new Set(['dist', 'node_modules', '.vite']);
const WEB = join(root, 'web');
const BUILT = join(WEB, 'dist');
const COMPRESSED = /\.(html|js|css|svg|json|wasm|map|txt)$/;
/** Smaller files travel in one packet anyway. */
const COMPRESSED_BYTES_MIN = 1_024;
const HASH_CHARS = 12;

function* filesOf(path: string): Generator<string> {
  if (statSync(path).isFile()) {
    yield path;
    return;
  }
  for (const name of readdirSync(path).sort()) if (!NOT_SOURCES.has(name)) yield* filesOf(join(path, name));
}

function hashOfSources(): string {
  const hash = createHash('sha256');
  for (const source of SOURCES)
    for (const file of filesOf(join(root, source)))
      hash.update(`${file.slice(root.length)}\0`).update(readFileSync(file));
  return hash.digest('hex').slice(0, HASH_CHARS);
}

function builtFrom(): string | undefined {
  const file = join(BUILT, 'build.json');
  if (!existsSync(file)) return undefined;
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { readonly build: string }).build;
  } catch {
    return undefined;
  }
}

/** Writes FILE.br and FILE.gz beside each file that becomes smaller. */
function compress(dir: string): void {
  for (const file of filesOf(dir)) {
    const content = readFileSync(file);
    if (!COMPRESSED.test(file) || content.length < COMPRESSED_BYTES_MIN) continue;
    const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
    writeFileSync(`${file}.br`, brotliCompressSync(content, { params }));
    writeFileSync(`${file}.gz`, gzipSync(content, { level: constants.Z_BEST_COMPRESSION }));
  }
}

function build(hash: string): number {
  const beside = join(WEB, `dist-${process.pid}`);
  const before = join(WEB, `dist-old-${process.pid}`);
  try {
    const vite = join(root, 'node_modules/vite/bin/vite.js');
    const args = [vite, 'build', '--logLevel', 'warn', '--outDir', beside, '--emptyOutDir'];
    const { status } = spawnSync(process.execPath, args, { cwd: WEB, stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) return 1;
    compress(beside);
    writeFileSync(join(beside, 'build.json'), `${JSON.stringify({ build: hash })}\n`);
    if (existsSync(BUILT)) renameSync(BUILT, before);
    renameSync(beside, BUILT);
    return 0;
  } finally {
    for (const dir of [beside, before]) rmSync(dir, { recursive: true, force: true });
  }
}

const hash = hashOfSources();
if (builtFrom() !== hash) {
  const startedMs = performance.now();
  const status = build(hash);
  if (status !== 0) {
    console.error('build-web: the web interface could not be built; everything else works without it.');
    process.exit(1);
  }
  console.error(`web interface built in ${Math.round((performance.now() - startedMs) / 1_000)} s`);
}
