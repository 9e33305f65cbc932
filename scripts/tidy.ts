/** Checks the whole clone against the tidy rules (scripts/tidy/rules.ts). Exit code 1 where something is found. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkTidy, findingLine } from './tidy/check-tidy.ts';
import { EXCEPTIONS } from './tidy/exceptions.ts';
import { knownNames } from './tidy/names.ts';
import { RULES } from './tidy/rules.ts';
import { sourceOf } from './tidy/source.ts';

const root = join(import.meta.dirname, '..');
const PATTERNS = [
  '*.{md,cjs,mjs,ts}',
  '.dependency-cruiser.cjs',
  '{src,scripts,test,bench,bin,scenarios,docs,formal,guest,web,.ci}/**/*.{ts,tsx,css,mjs,cjs,md,sh,pml}',
  '.ci/run',
];

const paths = globSync(PATTERNS, {
  cwd: root,
  exclude: (name) => /(^|\/)(node_modules|generated|results|dist)$/.test(name),
});
const sources = [...new Set(paths)].sort().map((path) => sourceOf(path, readFileSync(join(root, path), 'utf8')));
const everyFile = globSync(['*', '.*', '{src,scripts,test,bench,bin,scenarios,docs,formal,guest,web,.ci}/**/*'], {
  cwd: root,
  exclude: (name) => /(^|\/)(node_modules|dist|[.]git)$/.test(name),
});
const known = knownNames(sources, everyFile);
const findings = checkTidy(sources, { rules: RULES, exceptions: EXCEPTIONS, known });
for (const finding of findings) console.log(findingLine(finding));
console.log(`${sources.length} files, ${findings.length} findings`);
process.exitCode = findings.length > 0 ? 1 : 0;
