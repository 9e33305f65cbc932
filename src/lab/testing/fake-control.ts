/**
 * A control server for the lab's tests of joining: TLS with the node's credentials, the administrator's token, join
 * tokens, and lists in which every node that ever got a token is alive. `--config FILE`, as the real one.
 */

import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { readCredentials } from '../../pki/credentials.ts';
import { createJoinToken } from '../../pki/join-token.ts';
import { publicServerTlsOptions } from '../../pki/tls.ts';

interface Config {
  readonly address: string;
  readonly stateDir: string;
  readonly credentialsDir: string;
  readonly apiSocket: string;
  readonly adminTokenSha256: string;
}

const config = JSON.parse(readFileSync(process.argv.at(-1) ?? '', 'utf8')) as Config;
const credentials = await readCredentials(config.credentialsDir);
if (credentials === undefined) throw new Error('no credentials');
const { caPem } = credentials;
/** Lines of `role name`. */
const membersFile = join(config.stateDir, 'members');

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const answer = (status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const presented = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  if (createHash('sha256').update(presented).digest('hex') !== config.adminTokenSha256) return answer(401, {});
  const members = existsSync(membersFile) ? readFileSync(membersFile, 'utf8').trim().split('\n') : [];
  const named = (role: string, field: string): object => {
    const items = members
      .filter((line) => line.startsWith(`${role} `))
      .map((line) => ({ name: line.split(' ')[1], [field]: 'alive' }));
    return { items, next: null };
  };
  const path = request.url?.replace(/\?.*/, '');
  if (path === '/v1/hosts') return answer(200, named('host', 'agent'));
  if (path === '/v1/storage-nodes') return answer(200, named('storage', 'state'));
  if (request.method !== 'POST' || request.url !== '/v1/join-tokens') return answer(404, {});
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const { role, name } = JSON.parse(body) as { readonly role: string; readonly name: string };
  appendFileSync(membersFile, `${role} ${name}\n`);
  answer(200, { token: createJoinToken(caPem).token });
}

rmSync(config.apiSocket, { force: true });
for (const at of [{ path: config.apiSocket }, { host: config.address, port: 7440 }])
  createServer(publicServerTlsOptions(credentials), (request, response) => void serve(request, response)).listen(at);
