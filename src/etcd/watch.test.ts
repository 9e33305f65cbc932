/** A watch that one member denies, against a fake member: real ones lag too briefly for a test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { type MethodDefinition, Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { EtcdClient } from './client.ts';
import {
  KV,
  RangeResponseSchema,
  Watch,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from './generated/rpc_pb.js';

function definition<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
  isStream: boolean,
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: isStream,
    responseStream: isStream,
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

interface Member {
  readonly client: EtcdClient;
  /** The number of requested watches. */
  watches(): number;
  stop(): void;
}

/** Denies the first `denials` watches, then sends one event; lets every client read, or none. */
async function startMember(denials: number, mayRead: boolean): Promise<Member> {
  let watches = 0;
  const server = new Server();
  server.addService(
    { range: definition(KV.method.range, false), watch: definition(Watch.method.watch, true) },
    {
      range: (
        _call: unknown,
        answer: (error: object | null, value?: MessageShape<typeof RangeResponseSchema>) => void,
      ) => {
        if (mayRead) answer(null, create(RangeResponseSchema, { header: { revision: 9n } }));
        else answer({ code: status.PERMISSION_DENIED, details: 'etcdserver: permission denied' });
      },
      watch: (stream: ServerDuplexStream<WatchRequest, WatchResponse>) => {
        stream.on('data', ({ requestUnion }: WatchRequest) => {
          if (requestUnion.case !== 'createRequest') return;
          watches += 1;
          if (watches <= denials) {
            const cancelReason = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
            stream.write(create(WatchResponseSchema, { watchId: -1n, created: true, canceled: true, cancelReason }));
            return;
          }
          const kv = { key: Buffer.from('/gp/a'), value: Buffer.from('1'), modRevision: 9n };
          stream.write(create(WatchResponseSchema, { created: true }));
          stream.write(create(WatchResponseSchema, { events: [{ kv }] }));
        });
        stream.on('end', () => stream.end());
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    const done = (error: Error | null, bound: number): void => (error === null ? resolve(bound) : reject(error));
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), done);
  });
  const client = new EtcdClient({ endpoints: [`127.0.0.1:${port}`] });
  const stop = (): void => {
    client.close();
    server.forceShutdown();
  };
  return { client, watches: () => watches, stop };
}

test('a watch that a lagging member denies is asked for again when the prefix may be read', async () => {
  const member = await startMember(2, true);
  const stop = new AbortController();
  const keys: string[] = [];
  const losses: unknown[] = [];
  try {
    await member.client.watch('/gp/', {
      fromRevision: 9,
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
      onDisconnected: (error) => losses.push(error),
      onEvents: (events) => {
        for (const event of events) keys.push(event.key);
        stop.abort();
      },
    });
  } finally {
    member.stop();
  }
  assert.deepEqual([keys, member.watches(), losses.length], [['/gp/a'], 3, 2]);
});

test('a watch is refused when reading the prefix is refused too', async () => {
  const member = await startMember(1, false);
  try {
    const watching = member.client.watch('/gp/', {
      fromRevision: 9,
      signal: AbortSignal.timeout(20_000),
      onEvents: () => assert.fail(),
    });
    await assert.rejects(watching, { code: 'forbidden' });
  } finally {
    member.stop();
  }
  assert.equal(member.watches(), 1);
});
