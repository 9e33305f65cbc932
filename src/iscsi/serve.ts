/**
 * `gp target serve`: one file as one logical unit, for every initiator, each initiator name one VM. The target of the
 * storage service without a cluster, for conformance tests and benchmarks. Guarantees: at its end no command runs any
 * more and everything acknowledged is on the disk.
 */
import { openLogicalUnit } from '../core/scsi/logical-unit.ts';
import { DeviceServer } from '../core/scsi/target.ts';
import { systemClock } from '../os/clock.ts';
import { FileStore } from './file-store.ts';
import { IscsiServer } from './server.ts';
import { openUnitFile } from './unit-file.ts';

/** The name of a target that is served alone. */
export const STANDALONE_TARGET = 'iqn.2026-11.org.groundplane:target';

/** What is served and where. */
export interface ServeOptions {
  readonly file: string;
  readonly sizeBytes: number;
  readonly blockBytes: 512 | 4096;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Connections that ended otherwise than by logging out. */
  readonly onClosed: (initiator: string | null, reason: string) => void;
}

/** A running target. */
export interface Serving {
  readonly port: number;
  /** Tells the initiators; resolves when all data is written out. */
  close(): Promise<void>;
}

/** Starts serving. Throws CodedError 'bad-input', 'conflict' (the port is in use) or 'failed'. */
export async function serveFile(options: ServeOptions): Promise<Serving> {
  const { file, sizeBytes, blockBytes, host, port, onClosed } = options;
  const store = await FileStore.open({ path: file, sizeBytes, blockBytes });
  try {
    const { uuid, reservations } = await openUnitFile(file);
    const identity = { uuid, targetName: STANDALONE_TARGET };
    const unit = await openLogicalUnit({ identity, backing: store, reservations });
    const target = new DeviceServer(new Map([[0, unit]]));
    const server = await IscsiServer.listen({
      host,
      port,
      targetsOf: () => [STANDALONE_TARGET],
      targetNamed: () => target,
      clock: systemClock,
      policyFor: () => ({ kind: 'open' }),
      onClosed,
    });
    const close = async (): Promise<void> => {
      await server.close();
      await store.close();
    };
    return { port: server.port, close };
  } catch (error) {
    await store.close();
    throw error;
  }
}
