/**
 * Writes openapi.json and the client's types, both made of src/api. `--check` writes nothing and fails if one of them
 * is out of date. Run: node scripts/generate-openapi.ts [--check]
 */
import { readFile, writeFile } from 'node:fs/promises';
import openapiTypes, { astToString } from 'openapi-typescript';
import { buildOpenApi } from '../src/api/openapi.ts';

const ROOT = new URL('..', import.meta.url);
const NOTICE = '/** Generated from openapi.json by scripts/generate-openapi.ts: change src/api instead. */\n';

/** What both files must contain, by path relative to the root. */
export async function generatedFiles(): Promise<ReadonlyMap<string, string>> {
  const { version } = JSON.parse(await readFile(new URL('package.json', ROOT), 'utf8')) as { readonly version: string };
  const document = buildOpenApi(version);
  const types = await openapiTypes(JSON.parse(JSON.stringify(document)) as Parameters<typeof openapiTypes>[0], {
    alphabetize: true,
  });
  return new Map([
    ['openapi.json', `${JSON.stringify(document, null, 2)}\n`],
    ['src/client/generated/schema.d.ts', NOTICE + astToString(types)],
  ]);
}

/** Paths of the generated files that differ from the committed ones. */
export async function outdatedFiles(): Promise<readonly string[]> {
  const outdated: string[] = [];
  for (const [path, content] of await generatedFiles()) {
    const committed = await readFile(new URL(path, ROOT), 'utf8').catch(() => '');
    if (committed !== content) outdated.push(path);
  }
  return outdated;
}

async function main(): Promise<void> {
  if (process.argv.includes('--check')) {
    const outdated = await outdatedFiles();
    for (const path of outdated) console.error(`${path} is out of date: run node scripts/generate-openapi.ts`);
    process.exitCode = outdated.length === 0 ? 0 : 1;
    return;
  }
  for (const [path, content] of await generatedFiles()) await writeFile(new URL(path, ROOT), content);
}

if (import.meta.main) await main();
