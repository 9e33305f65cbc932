/** The web interface as files, and the headers of everything that the server answers. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { assertProblem, setUp } from './testing/asking.ts';

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

async function built(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'gp-web-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await mkdir(join(dir, 'assets'));
  await writeFile(join(dir, 'index.html'), '<!doctype html><title>Groundplane</title>');
  await writeFile(join(dir, 'console.html'), '<!doctype html><title>Console</title>');
  await writeFile(join(dir, 'assets/main-abc.js'), 'plain');
  await writeFile(join(dir, 'assets/main-abc.js.br'), brotliCompressSync('brotli'));
  await writeFile(join(dir, 'assets/main-abc.js.gz'), gzipSync('gzip'));
  await writeFile(join(dir, 'build.json'), '{"build":"0123abcd"}');
  await writeFile(join(dir, '.secret'), 'hidden');
  return dir;
}

async function web(t: TestContext) {
  const { server, ...rest } = await setUp(t, { webDir: await built(t) });
  const get = async (url: string, headers: Record<string, string> = {}) => {
    const { statusCode, body, headers: answered } = await server.app.inject({ method: 'GET', url, headers });
    return { status: statusCode, body, headers: answered as Record<string, string | undefined> };
  };
  return { ...rest, server, get };
}

test('pages are asked for anew, hashed files are kept, compressed as the browser likes', async (t) => {
  const { get } = await web(t);
  for (const path of ['/', '/index.html', '/vms/web1', '/hosts?sort=name', '/login']) {
    const page = await get(path);
    assert.deepEqual([page.status, page.headers['cache-control']], [200, 'no-cache'], path);
    assert.match(page.body, /<title>Groundplane/);
    assert.equal(page.headers['content-security-policy'], POLICY);
  }
  const plain = await get('/assets/main-abc.js');
  assert.deepEqual([plain.body, plain.headers['cache-control']], ['plain', 'public, max-age=31536000, immutable']);
  const encodings = { br: 'br', gzip: 'gzip', 'gzip, br': 'br' };
  for (const [accepted, encoding] of Object.entries(encodings)) {
    const file = await get('/assets/main-abc.js', { 'accept-encoding': accepted });
    assert.equal(file.headers['content-encoding'], encoding);
    assert.match(String(file.headers['vary']), /accept-encoding/i);
    assert.match(String(file.headers['content-type']), /javascript/);
  }
});

test('every answer has the headers that keep browsers strict, and names the build', async (t) => {
  const { get } = await web(t);
  for (const path of ['/', '/assets/main-abc.js', '/healthz', '/v1/vms', '/v1/none', '/v1/openapi.json']) {
    const { headers } = await get(path);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.equal(headers['referrer-policy'], 'no-referrer');
    assert.equal(headers['cross-origin-resource-policy'], 'same-origin');
    assert.match(String(headers['content-security-policy']), /frame-ancestors 'none'/);
    assert.equal(headers['groundplane-build'], '1.2.3+0123abcd');
    assert.equal(headers['access-control-allow-origin'], undefined);
  }
  const page = await get('/console.html');
  assert.equal(
    page.headers['content-security-policy'],
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),
  );
});

test('what is missing is missing: the API, files, hidden files and what lies outside', async (t) => {
  const { get, ask } = await web(t);
  for (const path of ['/v1/none', '/v1', '/metrics/x', '/assets/old.js', '/.secret', '/../package.json'])
    assertProblem(await ask(`GET ${path}`), 'not-found');
  for (const path of ['/%2e%2e/package.json', '/assets/..%2f..%2f..%2fetc%2fpasswd', '/assets/%00'])
    assert.doesNotMatch((await get(path)).body, /root:|dependencies/, path);
  assertProblem(await ask('POST /vms'), 'not-found');
  assertProblem(await ask('GET /vms', undefined, { headers: { accept: 'application/json' } }), 'not-found');
});

test('a server whose interface was not built says how to build it, and serves the API', async (t) => {
  const { ask } = await setUp(t, { webDir: '/nonexistent' });
  const page = await ask('GET /');
  assertProblem(page, 'unavailable');
  assert.match(page.text, /npm run build:web/);
  assert.equal((await ask('GET /v1/vms')).status, 200);
});
