/**
 * The web interface, as files: what `npm run build:web` made. Guarantees: no page of this server runs a script, takes a
 * style or talks to anybody but this server (Content-Security-Policy), and no other site frames it; files whose names
 * carry a hash of their content are kept by browsers for ever, pages are asked for anew each time; a path that is
 * neither a file nor the API's gets the interface, which has paths of its own.
 * These files need no token: they hold no secret, and a person needs them to log in.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../../base/errors.ts';

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');
/**
 * The policy for the consoles' document alone: xterm.js makes style elements of its own. That document shows only a
 * guest's output.
 */
const CONSOLE_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'");
/** Answers of the API are no pages. */
const API_POLICY = "default-src 'none'; frame-ancestors 'none'";
const PAGE = 'index.html';
const CONSOLE_PAGE = 'console.html';
/** Folder of the files whose names carry a hash of their content. */
const HASHED = 'assets';
const KEPT = 'public, max-age=31536000, immutable';
const ASKED_ANEW = 'no-cache';
/** The file with which a build describes itself: `{"build": …}`. */
const BUILD_FILE = 'build.json';

/** The folder to which the interface is built: beside the sources, or in an installed package beside the bundles. */
export const WEB_DIR = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../../web/dist' : '../../web', import.meta.url),
);

/** The folder of the interface. */
export interface WebFiles {
  /** Absolute path of the folder with what was built. */
  readonly dir: string;
  /** Groundplane's version. */
  readonly version: string;
}

/** Headers that every answer has. */
const ALWAYS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

/**
 * Serves the interface beside the API. Every answer names the build, so that a page that was loaded before an upgrade
 * of the server can offer to reload itself.
 */
export function serveWebFiles(app: FastifyInstance, { dir, version }: WebFiles): void {
  app.addHook('onSend', async (_request, reply, payload) => {
    reply.headers({ ...ALWAYS, 'groundplane-build': buildOf({ dir, version }) });
    if (!reply.hasHeader('content-security-policy')) reply.header('content-security-policy', API_POLICY);
    return payload;
  });
  void app.register(fastifyStatic, {
    root: dir,
    preCompressed: true,
    dotfiles: 'ignore',
    cacheControl: false,
    setHeaders,
  });
}

/** The text that clients compare: the server's version and, if there is one, the interface's build. */
export function buildOf({ dir, version }: WebFiles): string {
  const known = BUILDS.get(dir);
  const now = performance.now();
  if (known !== undefined && now - known.atMs < BUILD_KEPT_MS) return known.text;
  const text = `${version}${builtIn(dir)}`;
  BUILDS.set(dir, { text, atMs: now });
  return text;
}

/** How long the build is remembered, in ms: a new build is noticed while the server runs. */
const BUILD_KEPT_MS = 5_000;
const BUILDS = new Map<string, { readonly text: string; readonly atMs: number }>();

function builtIn(dir: string): string {
  try {
    const { build } = JSON.parse(readFileSync(join(dir, BUILD_FILE), 'utf8')) as { readonly build?: unknown };
    return typeof build === 'string' && /^[0-9a-f]{1,64}$/.test(build) ? `+${build}` : '';
  } catch {
    // The interface is not built, or just being built.
    return '';
  }
}

function setHeaders(reply: FastifyReply, path: string): void {
  const isHashed = path.includes(`/${HASHED}/`);
  void reply.headers({
    'cache-control': isHashed ? KEPT : ASKED_ANEW,
    'content-security-policy': path.includes(`/${CONSOLE_PAGE}`) ? CONSOLE_POLICY : POLICY,
  });
}

/** Whether the interface, not the API, answers a path for which there is no route or file. */
export function isPageOfWeb({ method, url, headers }: FastifyRequest): boolean {
  const path = url.split('?')[0] ?? '/';
  if (method !== 'GET' && method !== 'HEAD') return false;
  if (/^\/(v1|metrics|healthz)(\/|$)/.test(path)) return false;
  // A file that is missing is missing: an old page that asks for an old script must not get a page.
  return !/\.[a-z0-9]+$/i.test(path) && (headers.accept ?? '*/*').match(/text\/html|\*\/\*/) !== null;
}

/** Answers with the interface's page. CodedError 'unavailable' where it was not built. */
export function sendPage(reply: FastifyReply, dir: string): FastifyReply {
  if (existsSync(join(dir, PAGE))) return reply.sendFile(PAGE);
  throw new CodedError('unavailable', 'The web interface has not been built here.', {
    advice: 'Build it with "npm run build:web"; the API and "gp" work without it.',
  });
}
