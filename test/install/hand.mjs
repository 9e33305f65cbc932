/**
 * Runs a command on another machine, for tests without a secure shell. `hand.mjs serve ADDRESS` there; `hand.mjs
 * ADDRESS COMMAND…` here prints the command's output and ends with its status.
 */
import { execFile } from 'node:child_process';
import { createServer, request } from 'node:http';

const PORT = 9_000;
const [address = '', ...rest] = process.argv.slice(2);

function serve(host) {
  const obey = async (asked, answer) => {
    let body = '';
    for await (const chunk of asked) body += chunk;
    const [program, ...argv] = JSON.parse(body);
    const env = { PATH: process.env.PATH, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
    execFile(program, argv, { env, maxBuffer: 2 ** 24 }, (error, stdout, stderr) =>
      answer.end(JSON.stringify({ code: error === null ? 0 : 1, output: stdout + stderr })),
    );
  };
  createServer((asked, answer) => void obey(asked, answer)).listen(PORT, host);
}

function call(host, argv) {
  const print = async (answer) => {
    let body = '';
    for await (const chunk of answer) body += chunk;
    const { code, output } = JSON.parse(body);
    process.stdout.write(output);
    process.exitCode = code;
  };
  const asked = request({ host, port: PORT, method: 'POST' }, (answer) => void print(answer));
  asked.end(JSON.stringify(argv));
}

if (address === 'serve') serve(rest[0]);
else call(address, rest);
