/**
 * The process of a storage node that serves its shared disks: `node main.ts --config FILE`. It is started by the
 * storage service and outlives it; it ends when it is killed, and acknowledged writes are then in the kernel.
 * Guarantees: it serves no initiator before it was given a state over its control socket; a change of reservations that
 * was acknowledged is in etcd. Exit status 1: it could not start (the last line of its log says why).
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { TARGET_SECRET_KEY } from '../core/model/keys.ts';
import type { Log } from '../core/ports/log.ts';
import type { TargetUnit } from '../core/ports/target-backend.ts';
import { CacheKeeper } from '../core/scsi/cache-keeper.ts';
import { openLogicalUnit } from '../core/scsi/logical-unit.ts';
import { EtcdClient } from '../etcd/client.ts';
import { systemClock } from '../os/clock.ts';
import { readJsonFile } from '../os/files.ts';
import { createLog } from '../os/log.ts';
import { readCredentials } from '../pki/credentials.ts';
import { targetSecret } from '../pki/target-secret.ts';
import { unitUuid } from '../pki/unit-identity.ts';
import { openObject, parseJson, text } from '../rpc/parse.ts';
import { CachedWritesFile } from './cached-writes-file.ts';
import { parseTargetConfig, type TargetConfig } from './config.ts';
import type { ControlOrder } from './control-protocol.ts';
import { ControlSocket } from './control-socket.ts';
import { EtcdReservations } from './etcd-reservations.ts';
import { FileStore } from './file-store.ts';
import { type OpenUnit, SharedTarget } from './shared-target.ts';

/**
 * All shared disks of a cluster have this target name, whichever VM's target shows them: a guest sees one path to one
 * disk.
 */
const PORT_NAME = 'iqn.2026-11.org.groundplane:disks';
/** A grant waits so long for its disks to be open. */
const READY_MS = 3_000;
const KEY_RETRY_MS = 1_000;
const ETCD_DEADLINE_MS = 4_000;
/** How often it looks for renewed credentials. */
const RENEWAL_MS = 60_000;

const parseKey = openObject({ key: text({ charsMax: 44, pattern: /^[A-Za-z0-9+/]{43}=$/ }) });

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) throw new CodedError('bad-input', 'Usage: main.ts --config FILE');
  const config = parseTargetConfig(await readJsonFile(values.config), 'configuration');
  const log = createLog({ component: 'target', name: config.name });
  const credentials = config.identityDir === undefined ? undefined : await readCredentials(config.identityDir);
  const serverName = config.etcdServerName;
  const etcd = new EtcdClient({
    endpoints: config.etcdEndpoints,
    ...(credentials === undefined
      ? {}
      : { tls: { ...credentials, ...(serverName === undefined ? {} : { serverName }) } }),
    deadlineMsDefault: ETCD_DEADLINE_MS,
  });
  const { identityDir } = config;
  if (identityDir !== undefined) setInterval(() => void renewFrom(identityDir, etcd, serverName), RENEWAL_MS).unref();
  let key: Uint8Array | null = null;
  const target = await SharedTarget.listen({
    host: config.host,
    port: config.port,
    clock: systemClock,
    log,
    open: (unit) => openUnit(unit, { config, etcd, log }),
    secretOf: (account) => (key === null ? null : targetSecret(key, account)),
  });
  await ControlSocket.listen(config.socket, (order) => carryOut(order, target));
  log.info('listening', { host: config.host, port: target.port });
  key = await readKey(etcd, log);
  target.secretsKnown();
}

/** Takes credentials that the storage service wrote since. A half-written directory is read again a minute later. */
async function renewFrom(identityDir: string, etcd: EtcdClient, serverName: string | undefined): Promise<void> {
  const credentials = await readCredentials(identityDir).catch(() => undefined);
  if (credentials === undefined || credentials.certPem === etcd.certPem) return;
  etcd.renew({ ...credentials, ...(serverName === undefined ? {} : { serverName }) });
}

function carryOut(order: ControlOrder, target: SharedTarget): Promise<unknown> {
  switch (order.kind) {
    case 'state':
      return Promise.resolve(target.state);
    case 'apply':
      return target.apply(order.state);
    case 'ready':
      return target.ready(order.vm, READY_MS);
    case 'sessions':
      return Promise.resolve(target.sessions());
  }
}

async function openUnit(
  { disk, sizeBytes, blockBytes }: TargetUnit,
  { config, etcd, log }: { readonly config: TargetConfig; readonly etcd: EtcdClient; readonly log: Log },
): Promise<OpenUnit> {
  const directory = join(config.disksDir, disk);
  const store = await FileStore.open({ path: join(directory, 'disk.raw'), sizeBytes, blockBytes });
  try {
    const reservations = new EtcdReservations({ etcd, disk, clock: systemClock });
    const identity = { uuid: unitUuid(disk), targetName: PORT_NAME };
    const cached = await CacheKeeper.open(new CachedWritesFile(directory, { disk, log }), config.bootId);
    const unit = await openLogicalUnit({ identity, backing: store, reservations, cached });
    return { unit, grow: (bytes) => store.grow(bytes), close: () => store.close() };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** A control node makes the key once: until then no initiator can log in. */
async function readKey(etcd: EtcdClient, log: Log): Promise<Uint8Array> {
  for (let hasSaid = false; ; await sleep(systemClock, KEY_RETRY_MS)) {
    try {
      const found = await etcd.get(TARGET_SECRET_KEY);
      if (found !== undefined)
        return Buffer.from(parseKey(parseJson(found.value, TARGET_SECRET_KEY), TARGET_SECRET_KEY).key, 'base64');
      if (!hasSaid) log.warn('the key of the accounts is not in etcd yet');
    } catch (error) {
      if (!hasSaid) log.warn('the key of the accounts cannot be read yet', { reason: messageOf(error) });
    }
    hasSaid = true;
  }
}

await main().catch((error: unknown) => {
  createLog({ component: 'target', name: '' }).warn('cannot run', { reason: messageOf(error) });
  process.exit(1);
});
