import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { createRequest, keyOfRequest } from '../pki/authority.ts';
import { answerChallenges, isProved } from './join-proof.ts';

/** A port that is free on these addresses, as far as one can know. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('a machine proves that it has the key, at each of its addresses, and nobody else does', async () => {
  const [own, other] = [await createRequest(), await createRequest()];
  const [key, otherKey] = [await keyOfRequest(own.requestPem), await keyOfRequest(other.requestPem)];
  const port = await freePort();
  const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.1'];
  const proving = await answerChallenges({ addresses, port, keyPem: own.keyPem });
  const at = (host: string) => connect({ host, port });
  for (const address of addresses) assert.equal(await isProved(at(address), { address, key }), true);
  assert.equal(await isProved(at('127.0.0.1'), { address: '127.0.0.1', key: otherKey }), false, 'another key');
  // A machine that passes a challenge on to the machine at the real address gets a signature for that address only.
  assert.equal(await isProved(at('127.0.0.2'), { address: '127.0.0.1', key }), false, 'another address');
  await assert.rejects(answerChallenges({ addresses: ['127.0.0.1'], port, keyPem: own.keyPem }), {
    code: 'unavailable',
  });
  const idle = at('127.0.0.1')
    .on('error', () => undefined)
    .resume();
  await once(idle, 'connect');
  await proving.close();
  assert.equal(await isProved(at('127.0.0.1'), { address: '127.0.0.1', key }), false, 'nobody listens any more');
});

test('what is no challenge gets no answer, and what is no proof is none', async () => {
  const { requestPem, keyPem } = await createRequest();
  const key = await keyOfRequest(requestPem);
  const port = await freePort();
  const proving = await answerChallenges({ addresses: ['127.0.0.1'], port, keyPem });
  for (const words of ['\n', `${'0'.repeat(63)}\n`, 'x'.repeat(1_000), `groundplane join\n${'0'.repeat(64)}\n`]) {
    const socket = connect({ host: '127.0.0.1', port }).on('error', () => undefined);
    let said = '';
    socket.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    socket.write(words);
    await new Promise((resolve) => socket.once('close', resolve));
    assert.equal(said, '', JSON.stringify(words.slice(0, 20)));
  }
  await proving.close();
  const replies = ['', 'nonsense\n', `${'x'.repeat(2_000)}\n`];
  const liar = createServer(
    (socket: Socket) =>
      void socket
        .on('error', () => undefined)
        .resume()
        .end(replies.shift() ?? ''),
  ).listen(port, '127.0.0.1');
  await once(liar, 'listening');
  for (let count = replies.length; count > 0; count--)
    assert.equal(await isProved(connect({ host: '127.0.0.1', port }), { address: '127.0.0.1', key }), false);
  await new Promise((resolve) => liar.close(resolve));
});
