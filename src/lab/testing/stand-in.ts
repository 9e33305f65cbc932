/**
 * A stand-in for a role's program in the lab's tests: listens where the role would, says who it is, and can be asked to
 * start a child that outlives it (as an agent starts QEMUs). If there is a join token it joins: it keeps the token as
 * its identity. If there is a file `hang` in its state directory, it removes that file and hangs.
 *   node stand-in.ts PORT…                listens on every address (etcd's place)
 *   node stand-in.ts PORT… --config FILE  also on the configuration's `apiSocket`, if it has one
 */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { startHeartbeat } from '../../os/heartbeat.ts';

const at = process.argv.indexOf('--config');
const file = at < 0 ? undefined : process.argv[at + 1];
interface Config {
  readonly name?: string;
  readonly [key: string]: unknown;
}
const config: Config = file === undefined ? {} : (JSON.parse(readFileSync(file, 'utf8')) as Config);
const stateDir = String(config['stateDir']);
if (existsSync(`${stateDir}/hang`)) {
  // Hangs once, before its first sign of life.
  rmSync(`${stateDir}/hang`);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
startHeartbeat();
const ports = process.argv.slice(2).map(Number).filter(Number.isInteger);
const name = config.name ?? process.argv.at(-1) ?? '';

// Answers each line: `who` with its name and pid, `child` by starting one, anything else with the same line.
function serve(socket: Socket): void {
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    const line = String(chunk).trim();
    if (line === 'child') spawn('sleep', ['86399'], { detached: true, stdio: 'ignore' }).unref();
    socket.write(line === 'who' ? `${name} ${process.pid}\n` : `${line}\n`);
  });
}

for (const port of ports) createServer(serve).listen(port, '0.0.0.0');
const join = config['join'] as { readonly tokenFile: string } | undefined;
if (join !== undefined && existsSync(join.tokenFile) && readdirSync(stateDir).length === 0)
  writeFileSync(`${stateDir}/identity`, readFileSync(join.tokenFile));
const apiSocket = config['apiSocket'];
if (typeof apiSocket === 'string') {
  rmSync(apiSocket, { force: true });
  createServer(serve).listen(apiSocket);
}
process.stdout.write(`${name} serves\n`);
